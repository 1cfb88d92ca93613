package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
)

// source is a service with an outbox of its own, and one process of it.
type source struct {
	s       *suite
	name    string // of the database
	pool    *pgxpool.Pool
	counter *outbox.Counter
	sink    evidence.Sink
	relay   *outbox.Relay
}

func (s *suite) source() *source {
	s.t.Helper()
	name := s.postgres.Database(s.t, "records")
	s.postgres.Migrate(s.t, "records", name, outbox.Migrations())
	x := &source{s: s, name: name, pool: s.postgres.Pool(s.t, "records", name), counter: outbox.NewCounter()}
	broker := s.broker.Broker()
	broker.HeartbeatSeconds = 1
	x.relay = outbox.NewRelay(x.pool, broker, identity(s.t, "records"), "records", x.counter)
	access := pg.NewAccess(x.pool, pg.Options{Append: x.counter.Append, Committed: x.relay.Poke})
	s.t.Cleanup(access.Close)
	x.sink = outbox.NewSink(access)
	return x
}

func (x *source) record(n int) {
	x.s.t.Helper()
	for range n {
		require.NoError(x.s.t, x.sink.Record(context.Background(), event()))
	}
}

func (x *source) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := x.relay.Run(ctx); err != nil {
			x.s.t.Error(err)
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); running.Wait() }) }
	x.s.t.Cleanup(stop)
	return stop
}

// pass moves the replicas' clock on, at the pace at which heartbeats come.
func (s *suite) pass(d time.Duration, admin *pgx.Conn) {
	s.t.Helper()
	for ; d > 0; d -= 30 * time.Second {
		s.shift.Add(int64(30 * time.Second))
		from := time.Now().Add(time.Duration(s.shift.Load()))
		require.Eventually(s.t, func() bool {
			var heard bool
			err := admin.QueryRow(context.Background(), "SELECT bool_and(beat_time > $1 OR ended) FROM outbox_epochs", from).Scan(&heard)
			return err == nil && heard
		}, patience, often, "no heartbeat was heard: %s", s.logs)
	}
}

// alerts are the reasons of critical alerts, with what their entries name.
func (s *suite) alerts(admin *pgx.Conn) (list []string) {
	s.t.Helper()
	rows, err := admin.Query(context.Background(),
		"SELECT a.reason, e.event FROM alerts a JOIN entries e USING (seq) WHERE a.risk = 4 ORDER BY a.seq")
	require.NoError(s.t, err)
	for rows.Next() {
		var reason string
		var raw []byte
		require.NoError(s.t, rows.Scan(&reason, &raw))
		var e auditv1.Event
		require.NoError(s.t, proto.Unmarshal(raw, &e))
		list = append(list, reason+" "+e.GetResource())
	}
	require.NoError(s.t, rows.Err())
	return list
}

func TestDTD08_ADeletedOutboxRowRaisesAnAlert(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	x := s.source()
	x.record(3)
	admin := s.as("")
	outboxes, err := s.postgres.AdminConn(t.Context(), x.name)
	require.NoError(t, err)
	defer outboxes.Close(context.Background())
	// Whoever has the database can delete a row of the outbox before it is sent.
	tag, err := outboxes.Exec(t.Context(), "DELETE FROM outbox WHERE id = (SELECT id FROM outbox ORDER BY id OFFSET 1 LIMIT 1)")
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
	stop := x.run()
	s.until(2)
	require.Eventually(t, func() bool {
		var missing string
		err := admin.QueryRow(context.Background(), "SELECT missing::text FROM outbox_epochs").Scan(&missing)
		return err == nil && missing == "{[2,3)}"
	}, patience, often)
	require.Empty(t, s.alerts(admin), "it may still come")
	s.pass(2*time.Minute, admin)
	epoch := uuid.UUID(x.counter.Heartbeat().GetEpoch())
	gap := []string{fmt.Sprintf("OUTBOX_GAP outboxes/records/%s/rows/2", epoch)}
	require.Eventually(t, func() bool { return len(s.alerts(admin)) > 0 }, patience, often)
	require.Equal(t, gap, s.alerts(admin))

	// A writer that starts over finds nothing twice, and nothing that is not there.
	x.record(5)
	s.until(8)
	r.stop()
	r = s.writer()
	s.pass(2*time.Minute, admin)
	stop()
	require.Eventually(t, func() bool {
		var ended bool
		err := admin.QueryRow(context.Background(), "SELECT ended FROM outbox_epochs").Scan(&ended)
		return err == nil && ended
	}, patience, often, "the process said goodbye")
	s.shift.Add(int64(10 * time.Minute))
	require.NoError(t, r.complete.Sweep(t.Context()))
	require.Equal(t, gap, s.alerts(admin))
	require.NoError(t, s.verify().Err())
}

func TestDTD08_WhatAppendedMessagesSayOfTheirRowsIsKept(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	p := s.producer("records")
	epoch := uuid.New()
	send := func(number int64, e *auditv1.Event) uuid.UUID {
		id := uuid.Must(uuid.NewV7())
		payload, err := proto.Marshal(&auditv1.Batch{
			Events: []*auditv1.Event{e}, Rows: []*auditv1.Row{{Epoch: epoch[:], Number: number, Events: 1}},
		})
		require.NoError(t, err)
		p.publish(id, payload)
		return id
	}
	arrived := func() (text string) {
		require.NoError(t, s.as("").QueryRow(context.Background(),
			"SELECT coalesce(range_agg(r)::text, '') FROM outbox_arrivals, unnest(numbers) r WHERE epoch = $1", epoch).Scan(&text))
		return text
	}
	e := event()
	p.await(send(1, e), send(2, event()))
	require.Equal(t, "{[1,3)}", arrived())
	// The same event in another row adds no entry; that the row came is noted all the same.
	p.await(send(4, e))
	require.Equal(t, "{[1,3),[4,5)}", arrived())
	require.EqualValues(t, 2, s.size())
}
