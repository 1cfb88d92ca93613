package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/detect"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// detections connects to a replica as the gateway does.
func (s *suite) detections(r *replica) auditv1.DetectionServiceClient {
	s.t.Helper()
	conn, err := identity(s.t, "gateway").Dial(r.server.Addr().String(), accessv1.Service_SERVICE_AUDIT)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return auditv1.NewDetectionServiceClient(conn)
}

// found waits until a practice has so many detections, newest first.
func found(t *testing.T, client auditv1.DetectionServiceClient, practice uuid.UUID, n int) []*auditv1.Detection {
	t.Helper()
	var list []*auditv1.Detection
	require.Eventually(t, func() bool {
		page, err := client.ListDetections(as(t, practice, everything...), &auditv1.ListDetectionsRequest{PageSize: 500})
		require.NoError(t, err)
		list = page.GetDetections()
		return len(list) >= n
	}, patience, often)
	require.Len(t, list, n)
	return list
}

// wrong is a sign-in with a wrong password.
func wrong(mods ...func(*auditv1.Event)) *auditv1.Event {
	return event(append([]func(*auditv1.Event){of("auth"), func(e *auditv1.Event) {
		e.Action, e.Outcome, e.Reason = accessv1.Action_ACTION_SIGN_IN, auditv1.Outcome_OUTCOME_DENIED, "WRONG_PASSWORD"
		e.Method, e.PatientId, e.Risk = "/carekeep.auth.v1.AuthService/SignIn", "", auditv1.Risk_RISK_MEDIUM
	}}, mods...)...)
}

func wrongs(n int) []*auditv1.Event {
	events := make([]*auditv1.Event, n)
	for i := range events {
		events[i] = wrong()
	}
	return events
}

func decoy(mods ...func(*auditv1.Event)) *auditv1.Event {
	return event(append([]func(*auditv1.Event){func(e *auditv1.Event) {
		e.Reason, e.Risk = "DECOY_TOUCHED", auditv1.Risk_RISK_CRITICAL
		e.SessionId, e.DeviceId = "0194c9a0-0000-7000-8000-0000000000e1", "0194c9a0-0000-7000-8000-0000000000d1"
	}}, mods...)...)
}

// From the act to the row, through broker, log and rules, with real servers: at most 5 s. It is in the list
// of detections, in the list of alerts, and in the log.
func TestDH37_DTD11_DMD17_DC10_AnAlertFiresWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	auth, records := s.producer("auth"), s.producer("records")
	records.await(records.send(event(), event()))
	auth.send(wrongs(10)...)
	records.send(decoy())
	client := s.detections(r)
	list := found(t, client, practiceA, 2)
	byRule := map[string]*auditv1.Detection{}
	for _, d := range list {
		byRule[d.GetRuleId()] = d
	}
	touched, forced := byRule["HONEYPATIENT"], byRule["BRUTE_FORCE"]
	require.Equal(t, auditv1.Risk_RISK_CRITICAL, touched.GetRisk())
	require.Equal(t, []string{"end_sessions", "freeze_user"}, touched.GetActions())
	require.Equal(t, patient1.String(), touched.GetPatientId())
	require.Equal(t, drSmith.String(), touched.GetUserId())
	require.Equal(t, "0194c9a0-0000-7000-8000-0000000000d1", touched.GetDeviceId())
	require.Equal(t, "0194c9a0-0000-7000-8000-0000000000e1", touched.GetSessionId())
	require.Equal(t, "192.0.2.7", touched.GetAddress())
	require.EqualValues(t, 9, forced.GetSeq()-forced.GetFirstSeq(), "it names the ten attempts")

	entries := map[int64]*auditv1.Entry{}
	var told []*auditv1.Event
	for _, e := range whole(t, s, r) {
		entries[e.GetSeq()] = e
		if e.GetEvent().GetAction() == accessv1.Action_ACTION_ALERT {
			told = append(told, e.GetEvent())
		}
	}
	for _, d := range list {
		act := entries[d.GetSeq()].GetEvent().GetEventTime().AsTime()
		require.Less(t, d.GetCreateTime().AsTime().Sub(act), 5*time.Second, d.GetRuleId())
	}
	require.Len(t, told, 2)
	for _, e := range told {
		d := byRule[e.GetReason()]
		require.Equal(t, "detections/"+d.GetDetectionId(), e.GetResource())
		require.Equal(t, auditService, e.GetService())
		require.Equal(t, d.GetRisk(), e.GetRisk())
	}
	alerts, err := s.client(r).ListAlerts(as(t, practiceA, everything...), &auditv1.ListAlertsRequest{})
	require.NoError(t, err)
	var reasons []string
	for _, a := range alerts.GetAlerts() {
		reasons = append(reasons, a.GetReason())
		if d := byRule[a.GetReason()]; d != nil {
			require.Contains(t, a.GetLine(), d.GetDetectionId())
			require.Equal(t, d.GetRisk(), a.GetRisk())
		}
	}
	require.ElementsMatch(t, []string{"BRUTE_FORCE", "DECOY_TOUCHED"}, reasons, "what is an alert by itself is not a second one")
	require.NoError(t, s.verify().Err())
}

// whole is the log of practice A.
func whole(t *testing.T, s *suite, r *replica) []*auditv1.Entry {
	t.Helper()
	return list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{})
}

// A practice sees neither the detections of another nor those of none.
func TestDMD06_DetectionsAreSeenByTheirPractice(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	records := s.producer("records")
	records.send(decoy(), decoy(practice(practiceB), func(e *auditv1.Event) { e.UserId = officer.String() }), decoy(func(e *auditv1.Event) { e.PracticeId, e.UserId = "", "" }))
	client := s.detections(r)
	for own, user := range map[uuid.UUID]string{practiceA: drSmith.String(), practiceB: officer.String(), uuid.Nil: ""} {
		list := found(t, client, own, 1)
		require.Equal(t, user, list[0].GetUserId())
	}
	var n int
	require.ErrorContains(t, s.as("audit_app").QueryRow(context.Background(), "SELECT count(*) FROM detections").Scan(&n), "carekeep.practice")
}

// What fires again within the quiet time is counted, and told with the next.
func TestDC10_ARepetitionIsNoSecondAlert(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	records := s.producer("records")
	client := s.detections(r)
	records.await(records.send(decoy(), decoy(), decoy()))
	found(t, client, practiceA, 1)
	s.shift.Store(int64(11 * time.Minute))
	records.await(records.send(decoy()))
	require.Eventually(t, func() bool {
		var n int
		require.NoError(t, s.as("").QueryRow(context.Background(), "SELECT count(*) FROM detections WHERE rule = 'HONEYPATIENT'").Scan(&n))
		return n == 2
	}, patience, often)
	s.shift.Store(0) // or caller tokens have expired
	list := found(t, client, practiceA, 2)
	require.EqualValues(t, 3, list[0].GetCount())
	require.EqualValues(t, 1, list[0].GetFirstSeq())
}

// Nine failures before the writer dies and one after: the next writer has counted the nine. And what
// was told before is not told again, nor forgotten.
func TestDH37_AFailoverForgetsNothing(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	first := s.writer()
	auth, records := s.producer("auth"), s.producer("records")
	auth.await(auth.send(wrongs(9)...))
	records.await(records.send(decoy()))
	found(t, s.detections(first), practiceA, 1)
	second := s.start()
	first.stop()
	require.Eventually(t, second.appender.Writing, patience, often)
	auth.await(auth.send(wrong()))
	records.await(records.send(decoy()))
	list := found(t, s.detections(second), practiceA, 2)
	require.Equal(t, "BRUTE_FORCE", list[0].GetRuleId())
	require.EqualValues(t, 0, list[0].GetFirstSeq())
}

// What is appended while nobody detects is looked at later, and before anything newer.
func TestNoEntryIsMissed(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	records := s.producer("records")
	records.await(records.send(event()))
	r.stop()
	// As if the process before had died after its last append: the cursor lies behind.
	s.tamper("UPDATE detection_cursor SET seq = 0, rules = ''")
	records.publish(uuid.Must(uuid.NewV7()), batch(t, decoy()))
	r = s.writer()
	found(t, s.detections(r), practiceA, 1)
	require.Eventually(t, func() bool {
		var seq int64
		require.NoError(t, s.as("").QueryRow(context.Background(), "SELECT seq FROM detection_cursor").Scan(&seq))
		return seq >= 2
	}, patience, often)
}

// A process that died between the event and the row leaves no second event: its successor makes the same.
func TestADeathBetweenEventAndRowLeavesOne(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	records := s.producer("records")
	records.await(records.send(decoy()))
	found(t, s.detections(r), practiceA, 1)
	r.stop()
	s.tamper("DELETE FROM detections", "UPDATE detection_cursor SET seq = 0")
	r = s.writer()
	found(t, s.detections(r), practiceA, 1)
	told := 0
	for _, e := range whole(t, s, r) {
		if e.GetEvent().GetReason() == "HONEYPATIENT" {
			told++
		}
	}
	require.Equal(t, 1, told)
}

// Two that believe to detect do not both move on.
func TestTheCursorMovesOnce(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	log := store.NewDetect(s.pool())
	require.NoError(t, log.Advance(context.Background(), 0, 5, nil))
	require.ErrorIs(t, log.Advance(context.Background(), 0, 5, []store.Detection{{
		ID: uuid.New(), Rule: "X", Risk: 1, Count: 1, Actions: []string{}, Time: time.Now(),
	}}), store.ErrCursor)
	var n int
	require.NoError(t, s.as("").QueryRow(context.Background(), "SELECT count(*) FROM detections").Scan(&n))
	require.Zero(t, n)
}

const ownRules = `version: 1
rules:
  - {id: LOOKED, title: Somebody looked, risk: LOW, on: [READ], when: 'outcome == "OK"', by: patient_id, quiet: 1h}
`

// A file is taken when it changes. One that is not valid leaves the rules as they were, and is an alert
// of the platform by itself.
func TestRulesAreReadAgainAndABadFileIsAnAlert(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(file, []byte(ownRules), 0o600))
	s.rules = config.Path(file)
	r := s.writer()
	client := s.detections(r)
	records := s.producer("records")
	records.await(records.send(event()))
	require.Equal(t, "LOOKED", found(t, client, practiceA, 1)[0].GetRuleId())

	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(ownRules, "outcome ==", "outcome =>", 1)), 0o600))
	require.Equal(t, "RULES_REFUSED", found(t, client, uuid.Nil, 1)[0].GetRuleId())
	records.await(records.send(event(func(e *auditv1.Event) { e.PatientId = officer.String() })))
	found(t, client, practiceA, 2)
	rules, err := client.ListRules(as(t, uuid.Nil, everything...), &auditv1.ListRulesRequest{})
	require.NoError(t, err)
	require.Contains(t, rules.GetProblem(), "line 3: rule LOOKED: when:")
	rules, err = client.ListRules(as(t, practiceA, everything...), &auditv1.ListRulesRequest{})
	require.NoError(t, err)
	require.Empty(t, rules.GetProblem(), "the operator's file is not a practice's business")
	require.Equal(t, "LOOKED", rules.GetRules()[len(rules.GetRules())-1].GetRuleId())

	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(ownRules, "LOOKED", "SEEN", 1)), 0o600))
	require.Equal(t, []string{"DISABLED_CONTROL", "RULES_REFUSED"}, rulesOf(found(t, client, uuid.Nil, 2)), "other rules are a control that changed")
	records.await(records.send(event()))
	require.Equal(t, []string{"SEEN", "LOOKED", "LOOKED"}, rulesOf(found(t, client, practiceA, 3)))
}

func rulesOf(list []*auditv1.Detection) (ids []string) {
	for _, d := range list {
		ids = append(ids, d.GetRuleId())
	}
	return ids
}

func TestDetectionsPageAndFilter(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	records := s.producer("records")
	client := s.detections(r)
	var events []*auditv1.Event
	for range 4 {
		id := uuid.NewString()
		device := func(e *auditv1.Event) { e.Reason, e.Action = "DEVICE_NEW", accessv1.Action_ACTION_DEVICE_CHANGE }
		events = append(events, decoy(func(e *auditv1.Event) { e.UserId = id }), event(device, func(e *auditv1.Event) { e.UserId = id }))
	}
	records.send(events...)
	all := found(t, client, practiceA, len(events))
	var paged []*auditv1.Detection
	req := &auditv1.ListDetectionsRequest{PageSize: 3}
	for {
		page, err := client.ListDetections(as(t, practiceA, everything...), req)
		require.NoError(t, err)
		paged = append(paged, page.GetDetections()...)
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	require.Equal(t, rulesOf(all), rulesOf(paged))
	for i := range all {
		require.Equal(t, all[i].GetDetectionId(), paged[i].GetDetectionId())
	}
	page, err := client.ListDetections(as(t, practiceA, everything...), &auditv1.ListDetectionsRequest{RuleId: "NEW_DEVICE", PageSize: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"NEW_DEVICE", "NEW_DEVICE"}, rulesOf(page.GetDetections()))
	_, err = client.ListDetections(as(t, practiceA, everything...), &auditv1.ListDetectionsRequest{PageToken: page.GetNextPageToken()})
	require.Equal(t, "PAGE_TOKEN_INVALID", errs.ReasonOf(err), "a token of other filters")
	page, err = client.ListDetections(as(t, practiceA, everything...), &auditv1.ListDetectionsRequest{UserId: events[0].GetUserId()})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"HONEYPATIENT", "NEW_DEVICE"}, rulesOf(page.GetDetections()))
	_, err = client.ListDetections(as(t, practiceA), &auditv1.ListDetectionsRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

// A dry run says what would have been found in the practice, and stores nothing.
func TestRulesAreTestedOnHistory(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	auth, records := s.producer("auth"), s.producer("records")
	client := s.detections(r)
	auth.await(auth.send(wrongs(12)...))
	records.await(records.send(event(), event(practice(practiceB)), event()))
	found(t, client, practiceA, 1)
	got, err := client.TestRules(as(t, practiceA, everything...), &auditv1.TestRulesRequest{Rules: []byte(ownRules)})
	require.NoError(t, err)
	require.True(t, got.GetComplete())
	totals := map[string][2]int64{}
	for _, total := range got.GetTotals() {
		totals[total.GetRuleId()] = [2]int64{total.GetDetections(), total.GetHeld()}
	}
	require.Equal(t, map[string][2]int64{"BRUTE_FORCE": {1, 3}, "LOOKED": {1, 2}}, totals)
	require.Equal(t, []string{"BRUTE_FORCE", "LOOKED"}, rulesOf(got.GetDetections()))
	require.EqualValues(t, 9, got.GetDetections()[0].GetSeq())
	found(t, client, practiceA, 1)

	// What came before the time counts, and does not silence.
	after := timestamppb.Now()
	auth.await(auth.send(wrong()))
	late, err := client.TestRules(as(t, practiceA, everything...), &auditv1.TestRulesRequest{FromTime: after})
	require.NoError(t, err)
	require.Equal(t, []string{"BRUTE_FORCE"}, rulesOf(late.GetDetections()))
	require.EqualValues(t, 0, late.GetDetections()[0].GetFirstSeq())

	none, err := client.TestRules(as(t, practiceB, everything...), &auditv1.TestRulesRequest{})
	require.NoError(t, err)
	require.Empty(t, none.GetDetections())
	past, err := client.TestRules(as(t, practiceA, everything...), &auditv1.TestRulesRequest{ToTime: timestamppb.New(time.Now().Add(-time.Hour))})
	require.NoError(t, err)
	require.Zero(t, past.GetEntries())
	for text, req := range map[string]*auditv1.TestRulesRequest{
		"line 3":  {Rules: []byte(strings.Replace(ownRules, "LOW", "NO", 1))},
		"31 days": {FromTime: timestamppb.New(time.Now().AddDate(0, -2, 0))},
		"after":   {FromTime: timestamppb.New(time.Now().Add(time.Hour))},
	} {
		_, err := client.TestRules(as(t, practiceA, everything...), req)
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		var described string
		for _, detail := range status.Convert(err).Details() {
			if bad, ok := detail.(*errdetails.BadRequest); ok {
				described += bad.GetFieldViolations()[0].GetDescription()
			}
		}
		require.Contains(t, described, text)
	}
}

func TestARulesFileThatIsMissingOrTooLarge(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rules.yaml")
	source, err := detect.NewSource(file, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Contains(t, source.Problem(), "no such file")
	require.NotEmpty(t, source.Pack().Rules, "the embedded rules are in force")
	require.NoError(t, os.WriteFile(file, make([]byte, 300<<10), 0o600))
	source.Look()
	require.Contains(t, source.Problem(), "at most 262144")
	require.NoError(t, os.WriteFile(file, []byte(ownRules), 0o600))
	source.Look()
	require.Empty(t, source.Problem())
	digest := source.Pack().Digest
	require.NoError(t, os.Remove(file))
	source.Look()
	require.Contains(t, source.Problem(), "no such file")
	require.Equal(t, digest, source.Pack().Digest, "the rules stay as they were")
	require.NoError(t, os.WriteFile(file, []byte(ownRules), 0o600))
	source.Look()
	require.Empty(t, source.Problem(), "the same file is back")
}
