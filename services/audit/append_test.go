package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

func TestEventsAreAppendedReceiptedAndVerify(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	records, auth := s.producer("records"), s.producer("auth")
	var ids []uuid.UUID
	for range 150 {
		ids = append(ids, records.send(event(of("records")), event(of("records"), practice(practiceB))))
	}
	signIn := auth.send(event(of("auth")))
	records.await(ids...)
	auth.await(signIn)
	require.EqualValues(t, 301, s.size())

	report := s.verify()
	require.NoError(t, report.Err())
	require.EqualValues(t, 301, report.Entries)
	require.EqualValues(t, 301, report.Whole)
	require.Positive(t, report.Checkpoints)
	require.Positive(t, report.Kept, "no checkpoint was copied outside the database")
}

// The stored bytes are those that were sent, even with fields that this release does not know.
func TestTheExactBytesAreKept(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	records := s.producer("records")
	raw, err := proto.Marshal(event())
	require.NoError(t, err)
	raw = protowire.AppendTag(raw, 4000, protowire.BytesType)
	raw = protowire.AppendString(raw, "from a newer release")
	payload := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), raw)
	id := uuid.Must(uuid.NewV7())
	records.publish(id, payload)
	records.await(id)
	var stored []byte
	require.NoError(t, s.as("").QueryRow(context.Background(), "SELECT event FROM entries").Scan(&stored))
	require.Equal(t, raw, stored)
	require.NoError(t, s.verify().Err())
}

func TestDuplicatesAreReceiptedAndNotDoubled(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	records := s.producer("records")
	twice := event()
	first := records.send(twice, event())
	records.await(first)
	// The same events under another message id, which the broker does not recognise.
	second := records.send(twice, twice, event())
	records.await(second)
	third := records.send(twice)
	records.await(third)
	require.EqualValues(t, 3, s.size())
	require.NoError(t, s.verify().Err())
}

func TestMalformedMessagesAreParkedAndBlockNothing(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	records := s.producer("records")
	forged := event(of("auth")) // records speaks for auth
	payloads := map[string][]byte{
		"not protobuf":   []byte("\xff\xff\xff"),
		"empty":          nil,
		"another field":  protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 1),
		"forged service": batch(t, forged),
		"no id":          batch(t, event(func(e *auditv1.Event) { e.EventId = "" })),
		"old UUID":       batch(t, event(func(e *auditv1.Event) { e.EventId = uuid.NewString() })),
		"far future":     batch(t, event(func(e *auditv1.Event) { e.EventId = "ffffffff-0000-7000-8000-000000000000" })),
		"no time":        batch(t, event(func(e *auditv1.Event) { e.EventTime = nil })),
		"no risk":        batch(t, event(func(e *auditv1.Event) { e.Risk = 0 })),
		"fifth risk":     batch(t, event(func(e *auditv1.Event) { e.Risk = 5 })),
		"no outcome":     batch(t, event(func(e *auditv1.Event) { e.Outcome = 0 })),
		"patient name":   batch(t, event(func(e *auditv1.Event) { e.PatientId = "John Doe" })),
	}
	good := event()
	mixed := batch(t, good, event(func(e *auditv1.Event) { e.EventId = "x" }))
	var ids []uuid.UUID
	for name, payload := range payloads {
		id := uuid.Must(uuid.NewV7())
		records.publish(id, payload)
		t.Log(name, id)
		ids = append(ids, id)
	}
	last := uuid.Must(uuid.NewV7())
	records.publish(last, mixed)
	records.await(append(ids, last)...)

	// Detection reports the gap, some time later.
	counts := func() (parked, alerts, entries int) {
		row := s.as("").QueryRow(context.Background(), `
			SELECT (SELECT count(*) FROM parked), (SELECT count(*) FROM alerts WHERE reason = 'MESSAGE_PARKED' AND risk = 4),
				(SELECT count(*) FROM entries WHERE action <> $1)`, accessv1.Action_ACTION_ALERT)
		require.NoError(t, row.Scan(&parked, &alerts, &entries))
		return parked, alerts, entries
	}
	parked, alerts, entries := counts()
	require.Equal(t, len(payloads)+1, parked)
	require.Equal(t, len(payloads)+1, alerts)
	require.Equal(t, len(payloads)+2, entries, "one entry a parked message, and the good event beside a bad one")
	require.NotContains(t, s.logs.String(), "John Doe")
	require.Contains(t, s.logs.String(), `"level":"ERROR","msg":"audit alert"`)

	// The same message again: it is parked already, so nothing new is written.
	again := uuid.Must(uuid.NewV7())
	records.publish(again, mixed)
	records.await(again)
	_, _, after := counts()
	require.Equal(t, entries, after)
	require.NoError(t, s.verify().Err())

	// The platform's own list shows the alerts.
	page, err := s.client(r).ListAlerts(as(t, uuid.Nil, everything...), &auditv1.ListAlertsRequest{PageSize: 500})
	require.NoError(t, err)
	own := slices.DeleteFunc(page.GetAlerts(), func(a *auditv1.Alert) bool { return a.GetReason() != "MESSAGE_PARKED" })
	require.Len(t, own, len(payloads)+1)
	require.Contains(t, own[0].GetLine(), "VERIFY -→- [FAILED]")
}

func TestDH35_CriticalEventsRaiseAlerts(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	records := s.producer("records")
	broken := event(func(e *auditv1.Event) {
		e.Risk, e.Reason, e.Outcome = auditv1.Risk_RISK_CRITICAL, "SEAL_BROKEN", auditv1.Outcome_OUTCOME_FAILED
	})
	odd := event(func(e *auditv1.Event) { e.Risk, e.Reason = auditv1.Risk_RISK_CRITICAL, "free text\x00 of a client" })
	skewed := event(func(e *auditv1.Event) { e.EventTime = timestamppb.New(time.Now().Add(-72 * time.Hour)) })
	other := event(practice(practiceB), func(e *auditv1.Event) { e.Risk, e.Reason = auditv1.Risk_RISK_CRITICAL, "SEAL_BROKEN" })
	records.await(records.send(event(), broken, odd, skewed, other))

	client := s.client(r)
	var alerts []*auditv1.Alert
	req := &auditv1.ListAlertsRequest{PageSize: 1}
	for {
		page, err := client.ListAlerts(as(t, practiceA, everything...), req)
		require.NoError(t, err)
		alerts = append(alerts, page.GetAlerts()...)
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	require.Len(t, alerts, 3, "practice B's alert is not practice A's")
	require.Equal(t, []string{"CLOCK_SKEW", "UNNAMED", "SEAL_BROKEN"}, []string{alerts[0].GetReason(), alerts[1].GetReason(), alerts[2].GetReason()})
	require.Equal(t, auditv1.Risk_RISK_HIGH, alerts[0].GetRisk())
	require.Equal(t, auditv1.Risk_RISK_CRITICAL, alerts[2].GetRisk())
	require.Contains(t, alerts[2].GetLine(), "READ dr.smith→patient/"+patient1.String()+" [FAILED]")
	require.Contains(t, s.logs.String(), "SEAL_BROKEN")
}

func TestDH35_EveryEventIsOneOfFourRisks(t *testing.T) {
	require.Len(t, auditv1.Risk_name, 5, "UNSPECIFIED and four levels")
	// That an event without a level, or with a fifth, is not taken as it is: TestMalformedMessagesAreParkedAndBlockNothing.
}

func batch(t testing.TB, events ...*auditv1.Event) []byte {
	t.Helper()
	payload, err := proto.Marshal(&auditv1.Batch{Events: events})
	require.NoError(t, err)
	return payload
}

func practice(id uuid.UUID) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.PracticeId = id.String() }
}

func batchOf(n int) []*auditv1.Event {
	events := make([]*auditv1.Event, n)
	for i := range events {
		events[i] = event()
	}
	return events
}

// The log's time never runs backwards, and that the clock did is in the log itself.
func TestDH36_AClockThatRunsBackIsRecorded(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	p := s.producer("records")
	s.shift.Store(int64(2 * time.Hour))
	p.await(p.send(event()))
	s.shift.Store(0)
	for range 3 {
		p.await(p.send(event()))
	}
	var alerts int
	var backwards bool
	require.NoError(t, s.as("").QueryRow(context.Background(), `
		SELECT (SELECT count(*) FROM alerts WHERE reason = 'CLOCK_BACK' AND risk = 4),
			EXISTS (SELECT FROM entries a JOIN entries b ON a.seq < b.seq AND a.append_time > b.append_time)`).Scan(&alerts, &backwards))
	require.Equal(t, 1, alerts, "once, not with every group")
	require.False(t, backwards)
	require.NoError(t, s.verify().Err())
}
