package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/evidence"
)

// load publishes batches until stop is called, each as an outbox does: again and again
// under new attempts until its receipt arrives.
type load struct {
	p    *producer
	mu   sync.Mutex
	sent map[uuid.UUID][]byte
	ids  map[string]bool // of the events
	stop func()
}

func (s *suite) load(p *producer) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{p: p, sent: map[uuid.UUID][]byte{}, ids: map[string]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			events := batchOf(1 + rand.IntN(5))
			id, payload := uuid.Must(uuid.NewV7()), batch(s.t, events...)
			l.mu.Lock()
			l.sent[id] = payload
			for _, e := range events {
				l.ids[e.GetEventId()] = true
			}
			l.mu.Unlock()
			pause := 2 * time.Millisecond // a few hundred batches a second
			if p.try(id, payload) != nil {
				pause = often // as an outbox waits for a broker that is away
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
	l.stop = func() { cancel(); running.Wait() }
	s.t.Cleanup(l.stop)
	return l
}

// settle publishes what has no receipt until everything has one.
func (l *load) settle(t testing.TB) {
	t.Helper()
	l.stop()
	waiting := map[uuid.UUID][]byte{}
	for id, payload := range l.sent {
		waiting[id] = payload
	}
	require.Eventually(t, func() bool {
		again := map[uuid.UUID][]byte{}
		for id, payload := range waiting {
			if l.p.count(id) > 0 {
				continue
			}
			// Under a new message id: the broker's duplicate window is not what is tested here.
			id = uuid.Must(uuid.NewV7())
			again[id] = payload
			_ = l.p.try(id, payload)
		}
		waiting = again
		return len(waiting) == 0
	}, 3*patience, 2*time.Second)
}

// check says that every event is in the log once, and that the log is whole.
func (l *load) check(t testing.TB, s *suite) {
	t.Helper()
	rows, err := s.as("").Query(context.Background(), "SELECT event_id::text, count(*) FROM entries GROUP BY 1")
	require.NoError(t, err)
	stored := map[string]bool{}
	for rows.Next() {
		var id string
		var n int
		require.NoError(t, rows.Scan(&id, &n))
		require.Equal(t, 1, n, "event %s stands %d times", id, n)
		stored[id] = true
	}
	require.NoError(t, rows.Err())
	for id := range l.ids {
		require.True(t, stored[id], "event %s is lost", id)
	}
	require.NoError(t, s.verify().Err())
}

// receiptsAreTrue says that whatever has a receipt by now is in the log by now.
func (l *load) receiptsAreTrue(t testing.TB, s *suite) {
	t.Helper()
	var receipted []string
	l.mu.Lock()
	for id, payload := range l.sent {
		if l.p.count(id) == 0 {
			continue
		}
		var b auditv1.Batch
		require.NoError(t, proto.Unmarshal(payload, &b))
		for _, e := range b.GetEvents() {
			receipted = append(receipted, e.GetEventId())
		}
	}
	l.mu.Unlock()
	var stored int
	require.NoError(t, s.as("").QueryRow(context.Background(),
		"SELECT count(*) FROM entries WHERE event_id = ANY($1::text[]::uuid[])", receipted).Scan(&stored))
	require.Equal(t, len(receipted), stored, "receipts for events that are not in the log")
}

// try publishes once, without waiting for the broker to come back.
func (p *producer) try(id uuid.UUID, payload []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := p.js.Publish(ctx, "audit.events."+p.name, payload, withID(id))
	return err
}

// until waits for a number of entries.
func (s *suite) until(n int64) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.size() >= n }, patience, often, "%s", s.logs)
}

func TestAKilledConnectionMidAppendLosesNothing(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	l := s.load(s.producer("records"))
	admin := s.as("")
	for round := range int64(6) {
		s.until(100 * (round + 1))
		_, err := admin.Exec(context.Background(), `
			SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND usename = 'audit_app'`)
		require.NoError(t, err)
		l.receiptsAreTrue(t, s)
	}
	l.settle(t)
	l.check(t, s)
}

func TestAKilledDatabaseLosesNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a database of its own")
	}
	db, err := postgres.Start(context.Background(), postgres.Options{CA: postgres.ForTest(t).CA()})
	require.NoError(t, err)
	t.Cleanup(db.Stop)
	s := newSuiteOn(t, db)
	s.writer()
	l := s.load(s.producer("records"))
	for round := range int64(2) {
		s.until(200 * (round + 1))
		db.Kill()
		require.NoError(t, db.Restart(context.Background()))
	}
	l.settle(t)
	l.check(t, s)
}

func TestARestartedAndAForgetfulBrokerLoseNothing(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	l := s.load(s.producer("records"))
	s.until(100)
	s.broker.Shutdown()
	require.NoError(t, s.broker.Restart(context.Background()))
	s.until(s.size() + 100)
	// All streams are gone, with whatever the broker had acknowledged.
	require.NoError(t, s.broker.Forget())
	require.NoError(t, s.broker.Restart(context.Background()))
	s.until(s.size() + 100)
	l.settle(t)
	l.check(t, s)
}

func TestTransitDownStopsTheLogAndLosesNothing(t *testing.T) {
	// Not parallel: transit is shared.
	s := newSuite(t)
	r := s.writer()
	l := s.load(s.producer("records"))
	s.until(100)
	s.transit.Kill()
	require.Eventually(t, func() bool { return r.appender.Ready(context.Background()) != nil }, patience, often)
	l.receiptsAreTrue(t, s)
	require.NoError(t, s.transit.Restart(context.Background()))
	s.until(s.size() + 100)
	l.settle(t)
	l.check(t, s)
}

func TestOneReplicaWritesAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	first := s.writer()
	second, third := s.start(), s.start()
	l := s.load(s.producer("records"))
	s.until(300)
	require.True(t, first.appender.Writing())
	require.False(t, second.appender.Writing() || third.appender.Writing(), "two writers")
	require.NoError(t, second.appender.Ready(context.Background()), "a standby is ready")

	first.stop()
	require.Eventually(t, func() bool { return second.appender.Writing() || third.appender.Writing() }, patience, often)
	s.until(s.size() + 300)
	require.NotEqual(t, second.appender.Writing(), third.appender.Writing())
	l.settle(t)
	l.check(t, s)
}

// A replica that is not the writer still records its own RPCs, through the broker.
func TestDH16_AStandbyRecordsItsRequests(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	standby := s.start()
	client := s.client(standby)
	require.False(t, standby.appender.Writing())
	_, err := client.ListEntries(as(t, practiceA, everything...), &auditv1.ListEntriesRequest{})
	require.NoError(t, err)
	entries := list(t, client, practiceA, &auditv1.ListEntriesRequest{})
	require.Len(t, entries, 1)
	require.Contains(t, entries[0].GetLine(), "LIST officer→- [OK]")
}

// No interleaving of writers, crashes and failovers yields a log that does not verify,
// or an event that stands twice.
func TestAWriterThatLosesItsLockForksNothing(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	replicas := []*replica{s.writer(), s.start(), s.start()}
	l := s.load(s.producer("records"))
	admin := s.as("")
	for range 15 {
		before := s.size()
		_, err := admin.Exec(context.Background(), `
			SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
			WHERE locktype = 'advisory' AND datname = current_database() AND usename = 'audit_app' AND granted`)
		require.NoError(t, err)
		s.until(before + 20)
	}
	l.settle(t)
	l.check(t, s)
	writers := 0
	for _, r := range replicas {
		if r.appender.Writing() {
			writers++
		}
	}
	require.LessOrEqual(t, writers, 1)
}

func TestTheSinkGivesUpWithItsCaller(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	require.NoError(t, r.own.Record(context.Background(), evidence.NewJob(auditService, "jobs/Test", 1).Event()))
	require.EqualValues(t, 1, s.size())
	r.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	err := r.own.Record(ctx, evidence.NewJob(auditService, "jobs/Test", 1).Event())
	require.Error(t, err)
	require.False(t, errors.Is(err, context.Canceled))
	require.Error(t, r.own.Record(context.Background(), event()), "records' event is not ours")
}
