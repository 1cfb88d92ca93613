package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
)

const someID = "01234567-89ab-7def-8123-456789abcdef"

// serveEntries serves a log of n entries, newest first, in pages.
func (g *gateway) serveEntries(t *testing.T, n int) *[]*auditv1.ListEntriesRequest {
	t.Helper()
	var asked []*auditv1.ListEntriesRequest
	g.on(t, "POST /v1/audit/entries:list", func(w http.ResponseWriter, r *http.Request) {
		request := new(auditv1.ListEntriesRequest)
		if !take(t, r, request) {
			return
		}
		asked = append(asked, request)
		next := n - 1
		if request.GetPageToken() != "" {
			_, err := fmt.Sscan(request.GetPageToken(), &next)
			noError(t, err)
		}
		page := &auditv1.ListEntriesResponse{}
		for ; next >= 0 && len(page.Entries) < int(request.GetPageSize()); next-- {
			event := &auditv1.Event{
				EventTime: timestamppb.New(epoch.Add(time.Duration(next) * time.Second)), Username: "dr.smith",
				Action: accessv1.Action_ACTION_READ, PatientId: someID, Outcome: auditv1.Outcome_OUTCOME_OK,
			}
			page.Entries = append(page.Entries, &auditv1.Entry{Seq: int64(next), Event: event, Line: evidence.Line(event)})
		}
		if next >= 0 {
			page.NextPageToken = fmt.Sprint(next)
		}
		answer(w, page)
	})
	return &asked
}

func TestDH38_ListPrintsTheLinesOfTheLog(t *testing.T) {
	g := signedIn(t)
	asked := g.serveEntries(t, 1201)
	got := g.run(t, "", "audit", "list", "--limit", "0")
	require.Zero(t, got.code, got.err)
	lines := strings.Split(strings.TrimSuffix(got.out, "\n"), "\n")
	require.Len(t, lines, 1201)
	require.Equal(t, "13:04:22 READ dr.smith→patient/"+someID+" [OK]", lines[1200])
	require.Len(t, *asked, 3)

	got = g.run(t, "", "audit", "list", "--long", "--limit=1")
	require.Equal(t, "1200 2026-11-21T13:24:22.123456Z 13:24:22 READ dr.smith→patient/"+someID+" [OK]\n", got.out)
	require.Contains(t, got.err, "there are more")
	require.Equal(t, int32(1), (*asked)[3].GetPageSize())

	got = g.run(t, "", "audit", "list", "--limit=700")
	require.Equal(t, 700, strings.Count(got.out, "\n"), "a limit holds across pages")
}

func TestListFilters(t *testing.T) {
	g := signedIn(t)
	asked := g.serveEntries(t, 1)
	got := g.run(t, "", "audit", "list", "--patient", "patients/"+someID, "--user", strings.ToUpper(someID),
		"--action", "sign-in", "--outcome", "denied", "--from", "2026-11-21", "--to", "2026-11-21T13:00:00+01:00",
		"--by-session", someID, "--device", "devices/"+someID, "--address", "192.0.2.0/24", "--risk", "high", "--service", "auth",
		"--method", "/carekeep.auth.v1.AuthService/SignIn")
	require.Zero(t, got.code, got.err)
	r := (*asked)[0]
	require.Equal(t, someID, r.GetSessionId())
	require.Equal(t, someID, r.GetDeviceId())
	require.Equal(t, "192.0.2.0/24", r.GetNetwork())
	require.Equal(t, auditv1.Risk_RISK_HIGH, r.GetMinRisk())
	require.Equal(t, accessv1.Service_SERVICE_AUTH, r.GetService())
	require.Equal(t, "/carekeep.auth.v1.AuthService/SignIn", r.GetMethod())
	require.Equal(t, someID, r.GetPatientId())
	require.Equal(t, someID, r.GetUserId())
	require.Equal(t, accessv1.Action_ACTION_SIGN_IN, r.GetAction())
	require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, r.GetOutcome())
	require.Equal(t, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), r.GetFromTime().AsTime())
	require.Equal(t, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), r.GetToTime().AsTime())

	require.Zero(t, g.run(t, "", "audit", "list", "--from", "36h").code)
	require.WithinDuration(t, time.Now().Add(-36*time.Hour), (*asked)[1].GetFromTime().AsTime(), time.Minute)

	for want, args := range map[string][]string{
		`--patient: "smith" is not like patients/`: {"--patient", "smith"},
		`--user: "patients/`:                       {"--user", "patients/" + someID},
		"--action: \"peek\" is none of READ":       {"--action", "peek"},
		"--outcome: \"good\" is none of OK":        {"--outcome", "good"},
		"--from: a time is like":                   {"--from", "yesterday"},
		"--risk: \"odd\" is none of LOW, MEDIUM":   {"--risk", "odd"},
		"--limit: -1 is negative":                  {"--limit=-1"},
	} {
		got := g.run(t, "", append([]string{"audit", "list"}, args...)...)
		require.NotZero(t, got.code)
		require.Contains(t, got.err, want)
	}
	require.Len(t, *asked, 2, "what is wrong is not sent")
}

func TestARateLimitIsWaitedOut(t *testing.T) {
	g := signedIn(t)
	var calls atomic.Int32
	g.on(t, "POST /v1/audit/entries:list", func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			fail(w, http.StatusTooManyRequests, errs.New(errs.KindLimited, "RATE_LIMITED", "too many").WithRetry(time.Millisecond))
			return
		}
		answer(w, &auditv1.ListEntriesResponse{})
	})
	got := g.run(t, "", "audit", "list")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "too many requests; waiting")
	require.EqualValues(t, 2, calls.Load())
}
