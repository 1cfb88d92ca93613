package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/services/audit/internal/detect/engine"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	eventsPerSecond = 2000
	loadTime        = 20 * time.Second
	// decoyEvery is how many batches lie between two acts that make a rule fire.
	decoyEvery = 25
)

// BenchmarkDetectionDelay measures from the act, as the event's time, to the row of its detection, while 2,000
// events a second go through broker, log and rules: batches of 20 from one producer for 20 s. "rate" is what was reached.
func BenchmarkDetectionDelay(b *testing.B) {
	db, err := postgres.Start(context.Background(), postgres.Options{CA: postgres.ForTest(b).CA()})
	require.NoError(b, err)
	b.Cleanup(db.Stop)
	s := newSuiteOn(b, db)
	s.writer()
	p := s.producer("records")
	for b.Loop() {
		started, sent, acts := time.Now(), 0, map[string]time.Time{}
		tick := time.NewTicker(10 * time.Millisecond)
		var ids []uuid.UUID
		for n := 0; time.Since(started) < loadTime; n++ {
			<-tick.C
			events := readers(20)
			if n%decoyEvery == 0 {
				act := decoy(func(e *auditv1.Event) { e.UserId = uuid.NewString() })
				acts[act.GetUserId()] = act.GetEventTime().AsTime()
				events = append(events, act)
			}
			ids = append(ids, uuid.Must(uuid.NewV7()))
			_, err := p.js.PublishAsync("audit.events.records", batch(b, events...), withID(ids[len(ids)-1]))
			require.NoError(b, err)
			sent += len(events)
		}
		tick.Stop()
		b.ReportMetric(float64(sent)/time.Since(started).Seconds(), "rate")
		delays := s.delays(b, acts)
		b.ReportMetric(float64(len(delays)), "acts")
		for name, share := range map[string]float64{"p50-ms": 0.5, "p99-ms": 0.99, "max-ms": 1} {
			b.ReportMetric(float64(delays[min(int(share*float64(len(delays))), len(delays)-1)].Milliseconds()), name)
		}
		require.Less(b, delays[len(delays)-1], 5*time.Second)
	}
}

// readers are reads by many users of many patients, none of which anybody has to look at.
func readers(n int) []*auditv1.Event {
	events := make([]*auditv1.Event, n)
	for i := range events {
		user := time.Now().UnixNano() / 1000 % 5000
		events[i] = event(func(e *auditv1.Event) {
			e.UserId = fmt.Sprintf("0194c9a0-0000-7000-8000-%012x", user)
			e.SessionId, e.EventTime = e.GetUserId(), timestamppb.Now()
		})
	}
	return events
}

// delays waits for the detections of the acts and returns how long each took, the shortest first.
func (s *suite) delays(b *testing.B, acts map[string]time.Time) []time.Duration {
	b.Helper()
	found := map[string]time.Time{}
	conn := s.as("")
	require.Eventually(b, func() bool {
		rows, err := conn.Query(context.Background(), "SELECT user_id::text, create_time FROM detections WHERE rule = 'HONEYPATIENT'")
		require.NoError(b, err)
		for rows.Next() {
			var user string
			var at time.Time
			require.NoError(b, rows.Scan(&user, &at))
			found[user] = at
		}
		require.NoError(b, rows.Err())
		return len(found) >= len(acts)
	}, patience, often)
	var delays []time.Duration
	for user, at := range acts {
		delays = append(delays, found[user].Sub(at))
	}
	slices.Sort(delays)
	return delays
}

// BenchmarkWarm measures how fast history is counted again after a start: read from the database and replayed.
func BenchmarkWarm(b *testing.B) {
	db, err := postgres.Start(context.Background(), postgres.Options{CA: postgres.ForTest(b).CA()})
	require.NoError(b, err)
	b.Cleanup(db.Stop)
	s := newSuiteOn(b, db)
	r := s.writer()
	const groups = 25
	for range groups {
		appendAll(b, r, made(b, groupSize))
	}
	pack, err := rules.Default()
	require.NoError(b, err)
	log := store.NewDetect(s.pool())
	for b.Loop() {
		started := time.Now()
		e, err := engine.New(engine.Options{Pack: pack, Keys: defaultKeys, Zones: func(string) *time.Location { return time.UTC }})
		require.NoError(b, err)
		n := 0
		for from := int64(0); from < groups*groupSize; {
			entries, err := log.Entries(context.Background(), from, from+2000)
			require.NoError(b, err)
			for _, l := range entries {
				e.Replay(engine.Entry(l), func(string) bool { return false })
			}
			n, from = n+len(entries), entries[len(entries)-1].Seq+1
		}
		b.ReportMetric(float64(n)/time.Since(started).Seconds(), "entries/s")
	}
}
