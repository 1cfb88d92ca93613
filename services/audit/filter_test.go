package main

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
)

var (
	session7 = uuid.MustParse("0194c9a0-0000-7000-8000-000000000077")
	device9  = uuid.MustParse("0194c9a0-0000-7000-8000-000000000099")
)

// varied is twelve events that differ in what lists filter by.
func varied() []*auditv1.Event {
	var all []*auditv1.Event
	for i := range 12 {
		all = append(all, event(func(e *auditv1.Event) {
			if i%2 == 0 {
				e.SessionId = session7.String()
			}
			if i%3 == 0 {
				e.DeviceId = device9.String()
			}
			if i >= 8 {
				e.Address = "::ffff:203.0.113.9" // as a socket of both families tells it
			}
			e.Risk = auditv1.Risk(i%4 + 1)
			if i == 5 {
				e.Method = "jobs/Strange"
			}
		}))
	}
	return all
}

func filterSeqs(t *testing.T, client auditv1.AuditServiceClient, req *auditv1.ListEntriesRequest) []int64 {
	t.Helper()
	var out []int64
	for _, e := range list(t, client, practiceA, req) {
		if e.GetSeq() < 12 { // the rest are our own requests
			out = append(out, e.GetSeq())
		}
	}
	return out
}

// filterCases are requests, and the entries of varied that they find.
var filterCases = map[string]struct {
	req  *auditv1.ListEntriesRequest
	want []int64
}{
	"session":         {&auditv1.ListEntriesRequest{SessionId: session7.String()}, []int64{10, 8, 6, 4, 2, 0}},
	"device":          {&auditv1.ListEntriesRequest{DeviceId: device9.String(), PageSize: 1}, []int64{9, 6, 3, 0}},
	"address":         {&auditv1.ListEntriesRequest{Network: "203.0.113.9"}, []int64{11, 10, 9, 8}},
	"mapped address":  {&auditv1.ListEntriesRequest{Network: "::ffff:203.0.113.9"}, []int64{11, 10, 9, 8}},
	"network":         {&auditv1.ListEntriesRequest{Network: "203.0.113.0/24"}, []int64{11, 10, 9, 8}},
	"no such address": {&auditv1.ListEntriesRequest{Network: "203.0.113.0/30"}, nil},
	"high risk":       {&auditv1.ListEntriesRequest{MinRisk: auditv1.Risk_RISK_HIGH, PageSize: 2}, []int64{11, 10, 7, 6, 3, 2}},
	"critical risk":   {&auditv1.ListEntriesRequest{MinRisk: auditv1.Risk_RISK_CRITICAL}, []int64{11, 7, 3}},
	"some risk":       {&auditv1.ListEntriesRequest{MinRisk: auditv1.Risk_RISK_MEDIUM, Service: accessv1.Service_SERVICE_RECORDS}, []int64{11, 10, 9, 7, 6, 5, 3, 2, 1}},
	"service":         {&auditv1.ListEntriesRequest{Service: accessv1.Service_SERVICE_AUTH}, nil},
	"method":          {&auditv1.ListEntriesRequest{Method: "jobs/Strange"}, []int64{5}},
	"all together": {&auditv1.ListEntriesRequest{SessionId: session7.String(), DeviceId: device9.String(), PatientId: patient1.String(),
		UserId: drSmith.String(), Network: "192.0.2.7", MinRisk: auditv1.Risk_RISK_HIGH, Service: accessv1.Service_SERVICE_RECORDS,
		Action: accessv1.Action_ACTION_READ, Outcome: auditv1.Outcome_OUTCOME_OK}, []int64{6}},
}

func TestDH34_ListsFilterByWhoWhereAndHow(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	p.await(p.send(varied()...))
	client := s.client(r)
	for name, c := range filterCases {
		require.Equal(t, c.want, filterSeqs(t, client, c.req), name)
	}
	require.NoError(t, s.verify().Err())

	// Rows that were written before the columns existed are found all the same, and verify.
	s.tamper("UPDATE entries SET session_id = NULL, device_id = NULL, address = NULL, risk = NULL, service = NULL, method = NULL WHERE seq < 12")
	for name, c := range filterCases {
		c.req.PageToken = ""
		require.Equal(t, c.want, filterSeqs(t, client, c.req), "%s, without columns", name)
	}
	require.NoError(t, s.verify().Err())
}

// To filter by what one may not see would show it.
func TestFilteringByAddressTakesItsPermission(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	client := s.client(r)
	_, err := client.ListEntries(as(t, practiceA, accessv1.Permission_PERMISSION_AUDIT_ENTRIES_LIST), &auditv1.ListEntriesRequest{Network: "192.0.2.7"})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	for _, bad := range []string{"x", "192.0.2.7/33", "192.0.2.0/", "::ffff:192.0.2.0/120", "/24"} {
		_, err := client.ListEntries(as(t, practiceA, everything...), &auditv1.ListEntriesRequest{Network: bad})
		require.Equal(t, codes.InvalidArgument, status.Code(err), bad)
	}
}

// A filter that few entries match looks at a bounded number of them in one request, and goes on where it stopped.
func TestDH34_AFilterThatMatchesFewIsAnsweredInSteps(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	rare := func(e *auditv1.Event) { e.SessionId = session7.String() }
	ids := []uuid.UUID{p.send(event(rare))}
	for range 13 {
		ids = append(ids, p.send(batchOf(4000)...))
	}
	ids = append(ids, p.send(event(rare)))
	p.await(ids...)
	client := s.client(r)
	req := &auditv1.ListEntriesRequest{SessionId: session7.String(), PageSize: 10}
	page, err := client.ListEntries(as(t, practiceA, everything...), req)
	require.NoError(t, err)
	require.Len(t, page.GetEntries(), 1, "the newest, and not yet the oldest")
	require.NotEmpty(t, page.GetNextPageToken())
	req.PageToken = page.GetNextPageToken()
	page, err = client.ListEntries(as(t, practiceA, everything...), req)
	require.NoError(t, err)
	require.Len(t, page.GetEntries(), 1)
	require.Zero(t, page.GetEntries()[0].GetSeq())
	require.Empty(t, page.GetNextPageToken())
}

// Whatever lies between: how far a log had grown at a moment.
func TestSizeAtAMoment(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	conn := s.as("audit_app")
	ctx := context.Background()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	at := func(moment time.Time) (size int64) {
		require.NoError(t, conn.QueryRow(ctx, "SELECT size_at($1)", moment).Scan(&size))
		return size
	}
	require.Zero(t, at(start))
	sizes := []int64{1, 2, 7, 100, 101, 102, 103, 5000, 5001}
	for i, size := range sizes {
		var from *int64
		if i > 0 {
			from = &sizes[i-1]
		}
		// Two checkpoints a minute, of the same time.
		_, err := conn.Exec(ctx, "INSERT INTO checkpoints (size, from_size, root, note, append_time) VALUES ($1, $2, sha256('x'), 'x', $3)",
			size, from, start.Add(time.Duration(i/2)*time.Minute))
		require.NoError(t, err)
	}
	for minute, want := range []int64{0, 2, 100, 102, 5000, 5001} {
		require.Equal(t, want, at(start.Add(time.Duration(minute)*time.Minute)), "minute %d", minute)
	}
}

// A list of a time reads the months and the stretch of the log that it can be in, and finds late arrivals.
func TestDH34_TimesFindWhatArrivedLate(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	old := time.Now().UTC().Add(-40 * 24 * time.Hour)
	late := event(func(e *auditv1.Event) {
		id := uuid.Must(uuid.NewV7())
		ms := old.UnixMilli()
		for i := range 6 {
			id[i] = byte(ms >> (40 - 8*i))
		}
		e.EventId, e.EventTime = id.String(), timestamppb.New(old)
	})
	p.await(p.send(event()), p.send(late), p.send(event()))
	client := s.client(r)
	require.Equal(t, []int64{1}, filterSeqs(t, client, &auditv1.ListEntriesRequest{
		FromTime: timestamppb.New(old.Add(-time.Hour)), ToTime: timestamppb.New(old.Add(time.Hour))}))
	require.Empty(t, filterSeqs(t, client, &auditv1.ListEntriesRequest{ToTime: timestamppb.New(old.Add(-time.Hour))}))
	require.Empty(t, filterSeqs(t, client, &auditv1.ListEntriesRequest{ToTime: &timestamppb.Timestamp{Seconds: -62135596799}}))
	require.Len(t, filterSeqs(t, client, &auditv1.ListEntriesRequest{FromTime: timestamppb.New(old.Add(time.Hour)), UserId: drSmith.String(), PatientId: patient1.String()}), 2)
}

// How somebody signed in stands in the log: success, failure, the stage of the second factor, and why.
func TestDC09_SignInsAreListedWithStageAndReason(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("auth")
	signIn := func(method string, outcome auditv1.Outcome, reason string) *auditv1.Event {
		return event(of("auth"), func(e *auditv1.Event) {
			e.Action, e.Outcome, e.Reason, e.PatientId = accessv1.Action_ACTION_SIGN_IN, outcome, reason, ""
			e.Method = "/carekeep.auth.v1.AuthService/" + method
			e.Risk = evidence.RiskOf(e.Action, outcome, reason)
		})
	}
	p.await(p.send(
		signIn("SignIn", auditv1.Outcome_OUTCOME_FAILED, "PASSWORD_WRONG"),
		signIn("SignIn", auditv1.Outcome_OUTCOME_OK, ""),
		signIn("VerifyTotp", auditv1.Outcome_OUTCOME_DENIED, "CODE_WRONG"),
		signIn("VerifyTotp", auditv1.Outcome_OUTCOME_OK, ""),
	))
	entries := list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{Action: accessv1.Action_ACTION_SIGN_IN})
	require.Len(t, entries, 4)
	for i, want := range []struct{ method, reason, end string }{
		{"VerifyTotp", "", "[OK]"}, {"VerifyTotp", "CODE_WRONG", "[DENIED]"}, {"SignIn", "", "[OK]"}, {"SignIn", "PASSWORD_WRONG", "[FAILED]"},
	} {
		e := entries[i].GetEvent()
		require.Equal(t, "/carekeep.auth.v1.AuthService/"+want.method, e.GetMethod())
		require.Equal(t, want.reason, e.GetReason())
		require.Contains(t, entries[i].GetLine(), " SIGN_IN dr.smith→- "+want.end)
		require.Equal(t, "192.0.2.7", e.GetAddress())
	}
	failures := list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{Action: accessv1.Action_ACTION_SIGN_IN, MinRisk: auditv1.Risk_RISK_MEDIUM})
	require.Len(t, failures, 2, "failures of sign-ins are of medium risk at least")
}
