package main

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/siem"
)

// reading connects to a replica as the gateway does.
func (s *suite) reading(r *replica) auditv1.ReadingServiceClient {
	s.t.Helper()
	conn, err := identity(s.t, "gateway").Dial(r.server.Addr().String(), accessv1.Service_SERVICE_AUDIT)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return auditv1.NewReadingServiceClient(conn)
}

// tailing opens a tail, and waits until it is on.
func (s *suite) tailing(ctx context.Context, r *replica, req *auditv1.TailEntriesRequest) auditv1.ReadingService_TailEntriesClient {
	s.t.Helper()
	stream, err := s.reading(r).TailEntries(ctx, req)
	require.NoError(s.t, err)
	on, err := stream.Recv()
	require.NoError(s.t, err)
	require.Nil(s.t, on.GetEntry())
	return stream
}

// nextEntry is the next answer that is no heartbeat.
func nextEntry(t *testing.T, stream auditv1.ReadingService_TailEntriesClient) *auditv1.TailEntriesResponse {
	t.Helper()
	for {
		m, err := stream.Recv()
		require.NoError(t, err)
		if m.GetEntry() != nil {
			return m
		}
	}
}

func count(t *testing.T, s *suite, r *replica, method, reason string) int {
	n := 0
	for _, e := range list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{Method: method}) {
		if e.GetEvent().GetReason() == reason {
			n++
		}
	}
	return n
}

func TestDH34_ATailShowsEntriesWithinASecondAndGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	p.await(p.send(event()))
	ctx, cancel := context.WithCancel(as(t, practiceA, everything...))
	stream := s.tailing(ctx, r, &auditv1.TailEntriesRequest{PatientId: patient1.String(), MinRisk: auditv1.Risk_RISK_MEDIUM})
	high := func(e *auditv1.Event) { e.Risk = auditv1.Risk_RISK_HIGH }
	p.await(p.send(event()), p.send(event(practice(practiceB), high)), p.send(event(high)))
	committed := time.Now()
	first := nextEntry(t, stream)
	require.Less(t, time.Since(committed), time.Second)
	require.Equal(t, auditv1.Risk_RISK_HIGH, first.GetEntry().GetEvent().GetRisk())
	require.Equal(t, practiceA.String(), first.GetEntry().GetEvent().GetPracticeId())
	require.Equal(t, first.GetEntry().GetSeq()+1, first.GetNextSeq())
	p.await(p.send(event(high)))
	second := nextEntry(t, stream)
	cancel()

	// The end is an event of its own, beside that of the beginning.
	const method = auditv1.ReadingService_TailEntries_FullMethodName
	require.Eventually(t, func() bool { return count(t, s, r, method, "TAIL_END") == 1 }, patience, often)
	require.Equal(t, 1, count(t, s, r, method, "TAIL_BEGIN"))
	require.Len(t, list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{Method: method}), 2)

	next := first.GetNextSeq()
	again := s.tailing(as(t, practiceA, everything...), r, &auditv1.TailEntriesRequest{FromSeq: &next, MinRisk: auditv1.Risk_RISK_MEDIUM, PatientId: patient1.String()})
	require.Equal(t, second.GetEntry().GetSeq(), nextEntry(t, again).GetEntry().GetSeq(), "none twice, none left out")

	// When the replica stops, the tail ends and does not hold it up.
	begin := time.Now()
	r.stop()
	require.NoError(t, r.err)
	require.Less(t, time.Since(begin), 10*time.Second)
	for err := error(nil); !errors.Is(err, io.EOF); {
		_, err = again.Recv()
		require.True(t, err == nil || errors.Is(err, io.EOF), "%v", err)
	}
}

// A reader who takes nothing is cut, and goes on later without a gap; memory is what gRPC buffers.
func TestDH34_ASlowReaderOfATailIsCutAndGoesOn(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	var ids []uuid.UUID
	for range 5 {
		ids = append(ids, p.send(batchOf(4000)...))
	}
	p.await(ids...)
	start := int64(0)
	const method = auditv1.ReadingService_TailEntries_FullMethodName
	stream := s.tailing(as(t, practiceA, everything...), r, &auditv1.TailEntriesRequest{FromSeq: &start})
	require.Eventually(t, func() bool { return count(t, s, r, method, "TAIL_TOO_SLOW") == 1 }, patience, often)
	var last int64
	for {
		m, err := stream.Recv()
		if err != nil {
			require.Equal(t, codes.Unavailable, status.Code(err))
			require.Equal(t, "TAIL_TOO_SLOW", errs.ReasonOf(err))
			break
		}
		require.Equal(t, last, m.GetEntry().GetSeq())
		last = m.GetNextSeq()
	}
	require.Less(t, last, int64(20000))
	again := s.tailing(as(t, practiceA, everything...), r, &auditv1.TailEntriesRequest{FromSeq: &last})
	for seq := last; seq < 20000; seq++ {
		require.Equal(t, seq, nextEntry(t, again).GetEntry().GetSeq())
	}
}

func TestTailsAreBoundedAndAskForPermission(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	for range 2 {
		s.tailing(as(t, practiceA, everything...), r, &auditv1.TailEntriesRequest{})
	}
	refused := func(req *auditv1.TailEntriesRequest, permissions ...accessv1.Permission) error {
		stream, err := s.reading(r).TailEntries(as(t, practiceA, permissions...), req)
		require.NoError(t, err)
		_, err = stream.Recv()
		return err
	}
	require.Equal(t, "TAILS_TOO_MANY", errs.ReasonOf(refused(&auditv1.TailEntriesRequest{}, everything...)))
	require.Equal(t, codes.PermissionDenied, status.Code(refused(&auditv1.TailEntriesRequest{}, accessv1.Permission_PERMISSION_AUDIT_EXPORT)))
	require.Equal(t, codes.PermissionDenied, status.Code(refused(&auditv1.TailEntriesRequest{Network: "192.0.2.7"}, accessv1.Permission_PERMISSION_AUDIT_ENTRIES_LIST)))
}

// exported is an export of events from a number on.
func exported(t *testing.T, s *suite, r *replica, req *auditv1.ExportEventsRequest) (lines []string, next int64) {
	t.Helper()
	stream, err := s.reading(r).ExportEvents(as(t, practiceA, everything...), req)
	require.NoError(t, err)
	for {
		m, err := stream.Recv()
		require.NoError(t, err)
		lines, next = append(lines, m.GetLines()...), m.GetNextSeq()
		if m.GetDone() {
			_, err = stream.Recv()
			require.ErrorIs(t, err, io.EOF)
			return lines, next
		}
	}
}

func TestDH38_ExportsToASIEMGoOnWhereTheyEnded(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	p.await(p.send(append(batchOf(600), event(practice(practiceB)))...))
	for name, format := range auditv1.EventFormat_value {
		if format == 0 {
			continue
		}
		lines, next := exported(t, s, r, &auditv1.ExportEventsRequest{Format: auditv1.EventFormat(format), Method: event().GetMethod()})
		require.Len(t, lines, 600, name)
		more, after := exported(t, s, r, &auditv1.ExportEventsRequest{Format: auditv1.EventFormat(format), FromSeq: next})
		require.Len(t, more, 1, "%s: nothing but the export's own event", name)
		require.Equal(t, next+1, after)
		half, _ := exported(t, s, r, &auditv1.ExportEventsRequest{Format: auditv1.EventFormat(format), FromSeq: 300, Method: event().GetMethod()})
		require.Equal(t, lines[300:], half, name)
	}
	entries := list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{Method: event().GetMethod()})
	write, err := siem.Of(auditv1.EventFormat_EVENT_FORMAT_OCSF)
	require.NoError(t, err)
	want, err := write(entries[len(entries)-1])
	require.NoError(t, err)
	lines, _ := exported(t, s, r, &auditv1.ExportEventsRequest{Format: auditv1.EventFormat_EVENT_FORMAT_OCSF})
	require.Equal(t, string(want), lines[0])
	require.Len(t, list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{Method: auditv1.ReadingService_ExportEvents_FullMethodName}), 13, "one event each")
}
