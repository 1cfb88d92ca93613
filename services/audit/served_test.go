package main

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/outbox"
)

const reading = accessv1.Permission_PERMISSION_AUDIT_COMPLETENESS_READ

// Calls served and calls in the log are the same in both directions; where they are not, the
// report shows by how much, and in which method.
func TestDTD07_ServedCallsAreInTheLogAndTheOtherWayRound(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	from := time.Now().UTC().Truncate(time.Minute)
	client := s.client(r)
	for range 4 {
		list(t, client, practiceA, &auditv1.ListEntriesRequest{})
	}
	for range 3 {
		_, err := client.GetEntry(as(t, practiceA), &auditv1.GetEntryRequest{})
		require.Equal(t, codes.PermissionDenied, status.Code(err))
	}

	// Records says that it served three, of which one has two events and one has none; and the log
	// has one that it does not know, and the run of a job.
	p := s.producer("records")
	call := func() func(*auditv1.Event) {
		id := uuid.Must(uuid.NewV7())
		return func(e *auditv1.Event) { e.CallId = id[:] }
	}
	job := func(e *auditv1.Event) { e.Method = "jobs/RotateKeys" }
	other := func(e *auditv1.Event) { e.Method = "/carekeep.records.v1.RecordsService/UpdatePatient" }
	one := call()
	minute := evidence.Began(uuid.UUID(event(one).GetCallId())).Unix() / 60
	p.await(p.send(event(one), event(one), event(call()), event(call(), other), event(call(), job)))
	epoch := uuid.New()
	beat, err := proto.Marshal(&auditv1.Heartbeat{Epoch: epoch[:], FirstNumber: 1, Goodbye: true, Calls: []*auditv1.MinuteCalls{
		{Minute: minute, Methods: []*auditv1.MethodCalls{{Method: event().GetMethod(), Calls: 3}}},
		{Minute: minute - 100, Methods: []*auditv1.MethodCalls{{Method: event().GetMethod(), Calls: 50}}},
	}})
	require.NoError(t, err)
	admin := s.as("")
	for range 2 { // what is told twice counts once
		require.NoError(t, p.conn.Publish(outbox.HeartbeatSubject("records"), beat))
		require.NoError(t, p.conn.Flush())
		require.Eventually(t, func() bool {
			var told int
			err := admin.QueryRow(t.Context(), "SELECT count(*) FROM served_calls WHERE service = 3").Scan(&told)
			return err == nil && told == 2
		}, patience, often)
	}
	r.stop() // which tells of the minute that is not over

	s.shift.Store(int64(5 * time.Minute))
	client = s.client(s.writer())
	now := time.Now().Add(5 * time.Minute)
	ask := func(practice uuid.UUID, from, to time.Time, permissions ...accessv1.Permission) (*auditv1.Completeness, error) {
		return client.GetCompleteness(asUser(t, officer, practice, now, permissions...),
			&auditv1.GetCompletenessRequest{FromTime: timestamppb.New(from), ToTime: timestamppb.New(to)})
	}
	to := time.Now().Truncate(time.Minute).Add(time.Minute)
	report, err := ask(uuid.Nil, from, to, reading)
	require.NoError(t, err)
	got := map[string][2]int64{}
	for _, m := range report.GetMethods() {
		got[m.GetMethod()] = [2]int64{m.GetServed(), m.GetStored()}
	}
	require.Equal(t, map[string][2]int64{
		"/carekeep.audit.v1.AuditService/ListEntries": {4, 4}, "/carekeep.audit.v1.AuditService/GetEntry": {3, 3},
		event().GetMethod(): {3, 2}, event(other).GetMethod(): {0, 1},
	}, got)
	require.Positive(t, report.GetJobRuns())

	_, err = ask(practiceA, from, to, reading)
	require.Equal(t, codes.PermissionDenied, status.Code(err), "it is about all practices")
	_, err = ask(uuid.Nil, from, to, everything...)
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	for _, period := range [][2]time.Time{{to, from}, {from, from}, {from.Add(-25 * time.Hour), to}, {from, now}} {
		_, err = ask(uuid.Nil, period[0], period[1], reading)
		require.Equal(t, codes.InvalidArgument, status.Code(err), period)
	}
}
