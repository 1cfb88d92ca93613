package main

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/services/audit/internal/appender"
	auditevent "github.com/carekeep/carekeep/services/audit/internal/event"
)

// groupSize is about what the appender combines under load.
const groupSize = 4096

// BenchmarkAppend compares the append stage, from submitted to committed and signed,
// with INSERTs of the same bytes in transactions of the same size, on the same server with
// the same durability, one writer each. "ratio" is against a table with the indexes that
// the log has for its filters, which is what the proof alone costs; "ratio-bare" against
// one with a primary key only; "ratio-copy" against COPY of the very rows, with all their columns, into a table
// with all the log's indexes.
func BenchmarkAppend(b *testing.B) {
	db, err := postgres.Start(context.Background(), postgres.Options{CA: postgres.ForTest(b).CA()})
	require.NoError(b, err)
	b.Cleanup(db.Stop)
	s := newSuiteOn(b, db)
	r := s.writer()
	const groups = 12
	batches := make([][]auditevent.Event, groups)
	for i := range batches {
		batches[i] = made(b, groupSize)
	}
	indexed, bare := plainInserts(b, s, "indexed"), plainInserts(b, s, "bare")
	_, err = s.as("audit_owner").Exec(context.Background(), `
		CREATE UNIQUE INDEX ON indexed (event_id); CREATE INDEX ON indexed (practice_id, seq);
		CREATE INDEX ON indexed (practice_id, patient_id, seq); CREATE INDEX ON indexed (practice_id, user_id, seq)`)
	require.NoError(b, err)
	copied := plainCopy(b, s)
	for b.Loop() {
		// In turns, so that checkpoints of the database and other noise hit both.
		var appended, withIndexes, plain, byCopy time.Duration
		for _, events := range batches {
			from := s.size()
			appended += appendAll(b, r, events)
			byCopy += copied(from, s.size())
			withIndexes += indexed(events)
			plain += bare(events)
		}
		const n = float64(groups * groupSize)
		b.ReportMetric(n/appended.Seconds(), "entries/s")
		b.ReportMetric(n/withIndexes.Seconds(), "indexed/s")
		b.ReportMetric(n/plain.Seconds(), "bare/s")
		b.ReportMetric(n/byCopy.Seconds(), "copy/s")
		b.ReportMetric(withIndexes.Seconds()/appended.Seconds(), "ratio")
		b.ReportMetric(plain.Seconds()/appended.Seconds(), "ratio-bare")
		b.ReportMetric(byCopy.Seconds()/appended.Seconds(), "ratio-copy")
		b.StopTimer()
		for i := range batches {
			batches[i] = made(b, groupSize)
		}
		b.StartTimer()
	}
	require.NoError(b, s.verify().Err())
}

// appendAll submits a group as messages of 16 events and waits until all are committed.
func appendAll(b *testing.B, r *replica, events []auditevent.Event) time.Duration {
	start := time.Now()
	var done sync.WaitGroup
	for len(events) > 0 {
		n := min(16, len(events))
		done.Add(1)
		err := r.appender.Submit(context.Background(), appender.Submission{Events: events[:n], Done: func(err error) {
			if err != nil {
				b.Error(err)
			}
			done.Done()
		}})
		require.NoError(b, err)
		events = events[n:]
	}
	done.Wait()
	return time.Since(start)
}

// plainInserts is a baseline: the same event bytes and filter columns, a primary key, no
// tree, no salt, no signature, no row-level security.
func plainInserts(b *testing.B, s *suite, table string) func([]auditevent.Event) time.Duration {
	conn := s.as("audit_owner")
	_, err := conn.Exec(context.Background(), "CREATE TABLE "+table+` (
			seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid, practice_id uuid, user_id uuid, patient_id uuid,
			action smallint, outcome smallint, event_time timestamptz, event bytea)`)
	require.NoError(b, err)
	return func(events []auditevent.Event) time.Duration {
		start := time.Now()
		n := len(events)
		ids, practices, users, patients := make([][16]byte, n), make([][16]byte, n), make([][16]byte, n), make([][16]byte, n)
		actions, outcomes, times, raw := make([]int16, n), make([]int16, n), make([]time.Time, n), make([][]byte, n)
		for i, e := range events {
			ids[i], practices[i], users[i], patients[i] = e.Index.EventID, e.Index.Practice, e.Index.User, e.Index.Patient
			actions[i], outcomes[i], times[i], raw[i] = e.Index.Action, e.Index.Outcome, e.Index.EventTime, e.Raw
		}
		_, err := conn.Exec(context.Background(), `
			INSERT INTO `+table+` (event_id, practice_id, user_id, patient_id, action, outcome, event_time, event)
			SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[], $6::smallint[], $7::timestamptz[], $8::bytea[])`,
			ids, practices, users, patients, actions, outcomes, times, raw)
		require.NoError(b, err)
		return time.Since(start)
	}
}

func made(b testing.TB, n int) []auditevent.Event {
	events := make([]auditevent.Event, n)
	for i := range events {
		var err error
		events[i], err = auditevent.From(event(func(e *auditv1.Event) {
			e.PatientId, e.SessionId = uuid.NewString(), uuid.NewString()
			e.Resource = "Observation/" + uuid.NewString()
		}), auditevent.Origin{Service: event().GetService(), Now: time.Now()})
		require.NoError(b, err)
	}
	return events
}

// BenchmarkIntake measures from the broker to the receipt: batches of 16 events, as
// outboxes send them under load, from four publishers.
func BenchmarkIntake(b *testing.B) {
	db, err := postgres.Start(context.Background(), postgres.Options{CA: postgres.ForTest(b).CA()})
	require.NoError(b, err)
	b.Cleanup(db.Stop)
	s := newSuiteOn(b, db)
	s.writer()
	p := s.producer("records")
	const batches, each = 4000, 16
	for b.Loop() {
		b.StopTimer()
		ids, payloads := make([]uuid.UUID, batches), make([][]byte, batches)
		for i := range payloads {
			ids[i], payloads[i] = uuid.Must(uuid.NewV7()), batch(b, batchOf(each)...)
		}
		b.StartTimer()
		start := time.Now()
		for i := range payloads {
			_, err := p.js.PublishAsync("audit.events.records", payloads[i], withID(ids[i]))
			require.NoError(b, err)
		}
		p.await(ids...)
		b.ReportMetric(batches*each/time.Since(start).Seconds(), "entries/s")
	}
}
