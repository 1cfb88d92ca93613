package outbox_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/broker"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
)

func TestMain(m *testing.M) { postgres.Main(m) }

const wait, poll = 30 * time.Second, 5 * time.Millisecond

// fixture is a records database with an outbox, a broker, and an audit store's side of it.
type fixture struct {
	t      *testing.T
	pool   *pgxpool.Pool
	access *pg.Access
	sink   evidence.Sink
	relay  *outbox.Relay
	broker *broker.Server
	clock  atomic.Int64 // how far time was moved on

	js       jetstream.JetStream
	conn     *nats.Conn
	receipts atomic.Bool
	mu       sync.Mutex
	got      []*nats.Msg
	unread   [][]byte       // messages that are no batches
	seen     map[string]int // event id: how often
}

func setup(t *testing.T) *fixture {
	t.Helper()
	server := postgres.ForTest(t)
	name := server.Database(t, "records")
	server.Migrate(t, "records", name, outbox.Migrations())
	f := &fixture{t: t, pool: server.Pool(t, "records", name), broker: broker.ForTest(t, server.CA()), seen: map[string]int{}}
	f.receipts.Store(true)
	counter := outbox.NewCounter()
	f.relay = f.newRelay(counter)
	f.access = pg.NewAccess(f.pool, pg.Options{Append: counter.Append, Committed: f.relay.Poke})
	t.Cleanup(f.access.Close)
	f.sink = outbox.NewSink(f.access)

	source, err := f.broker.CA().Source("audit")
	require.NoError(t, err)
	f.conn, err = outbox.Connect(f.broker.Broker(), source, "audit", discard)
	require.NoError(t, err)
	t.Cleanup(f.conn.Close)
	f.js, err = jetstream.New(f.conn)
	require.NoError(t, err)
	return f
}

func (f *fixture) newRelay(counter *outbox.Counter) *outbox.Relay {
	f.t.Helper()
	source, err := f.broker.CA().Source("records")
	require.NoError(f.t, err)
	relay := outbox.NewRelay(f.pool, f.broker.Broker(), source, "records", counter)
	relay.SetNow(func() time.Time { return time.Now().Add(time.Duration(f.clock.Load())) })
	return relay
}

func (f *fixture) run(relay *outbox.Relay) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
}

// consume does what the audit store does: keep the stream, take messages, send receipts.
func (f *fixture) consume() {
	f.t.Helper()
	ctx := context.Background()
	var consumer jetstream.Consumer
	require.Eventually(f.t, func() bool {
		stream, err := f.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: outbox.DefaultStream, Subjects: []string{"audit.events.>"}, Duplicates: 100 * time.Millisecond,
		})
		if err != nil {
			return false
		}
		consumer, err = stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "test", AckPolicy: jetstream.AckExplicitPolicy})
		return err == nil
	}, wait, poll)
	running, err := consumer.Consume(func(msg jetstream.Msg) { f.take(msg) })
	require.NoError(f.t, err)
	f.t.Cleanup(running.Stop)
}

func (f *fixture) take(msg jetstream.Msg) {
	var batch auditv1.Batch
	f.mu.Lock()
	if proto.Unmarshal(msg.Data(), &batch) != nil {
		f.unread = append(f.unread, msg.Data())
	}
	f.got = append(f.got, &nats.Msg{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()})
	for _, e := range batch.GetEvents() {
		f.seen[e.GetEventId()]++
	}
	f.mu.Unlock()
	if f.receipts.Load() {
		rows, err := outbox.RowsOf(msg.Headers())
		if err != nil {
			f.t.Error(err)
		}
		f.sendReceipt(outbox.ServiceOf(msg.Subject()), rows...)
	}
	_ = msg.Ack()
}

func (f *fixture) sendReceipt(service string, ids ...uuid.UUID) {
	receipt := &auditv1.Receipt{}
	for _, id := range ids {
		receipt.BatchIds = append(receipt.BatchIds, id[:])
	}
	raw, err := proto.Marshal(receipt)
	if err == nil {
		err = f.conn.Publish(outbox.ReceiptSubject(service), raw)
	}
	if err != nil {
		f.t.Error(err)
	}
}

func (f *fixture) record(n int) []string {
	f.t.Helper()
	ids := make([]string, n)
	var work sync.WaitGroup
	for i := range ids {
		ids[i] = uuid.Must(uuid.NewV7()).String()
		work.Go(func() {
			e := &auditv1.Event{EventId: ids[i], Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
			if err := f.sink.Record(context.Background(), e); err != nil {
				f.t.Error(err)
			}
		})
	}
	work.Wait()
	return ids
}

func (f *fixture) received(ids []string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if f.seen[id] == 0 {
			return false
		}
	}
	return true
}

func (f *fixture) rows() int64 {
	b, err := f.relay.Pending(context.Background())
	require.NoError(f.t, err)
	return b.Rows
}

func (f *fixture) settled(ids []string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return f.received(ids) && f.rows() == 0 }, wait, poll)
}

func TestEventsReachTheStoreAndLeaveOnReceipt(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.consume()
	f.run(f.relay)
	ids := f.record(500)
	f.settled(ids)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, msg := range f.got {
		require.Equal(t, "audit.events.records", msg.Subject)
		require.Equal(t, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", msg.Header.Get("traceparent"))
	}
	for id, n := range f.seen {
		require.Equal(t, 1, n, "event %s was sent again although its receipt came", id)
	}
}

func TestRowStaysUntilItsOwnReceipt(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.receipts.Store(false)
	f.consume()
	f.run(f.relay)
	ids := f.record(3)
	require.Eventually(t, func() bool { return f.received(ids) }, wait, poll)
	rows := f.rows()
	require.Positive(t, rows)

	// Receipts for what we do not hold, or that are not receipts, delete nothing.
	f.sendReceipt("records", uuid.New(), uuid.Nil)
	raw, err := proto.Marshal(&auditv1.Receipt{BatchIds: [][]byte{[]byte("short")}})
	require.NoError(t, err)
	for _, data := range [][]byte{raw, []byte("\xff\xff\xff"), nil} {
		require.NoError(t, f.conn.Publish(outbox.ReceiptSubject("records"), data))
	}
	require.NoError(t, f.conn.Flush())
	require.Equal(t, rows, f.rows())

	// Past 15 seconds they are published again, and the receipts end it.
	f.receipts.Store(true)
	f.clock.Add(int64(16 * time.Second))
	f.settled(ids)
	require.GreaterOrEqual(t, f.seen[ids[0]], 2)
}

func TestBrokerThatIsDownStopsNobody(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.broker.Shutdown()
	f.run(f.relay)
	ids := f.record(200) // returns: events are durable without a broker
	require.Positive(t, f.rows())
	require.NoError(t, f.broker.Restart(t.Context()))
	more := f.record(10) // the stream does not exist yet
	f.consume()
	f.clock.Add(int64(16 * time.Second))
	f.settled(append(ids, more...))

	f.broker.Shutdown()
	ids = f.record(50)
	require.NoError(t, f.broker.Restart(t.Context()))
	f.settled(ids)
}

func TestBrokerThatLosesAcknowledgedMessagesLosesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, err := f.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: outbox.DefaultStream, Subjects: []string{"audit.events.>"}})
	require.NoError(t, err)
	f.run(f.relay)
	ids := f.record(100)
	require.Eventually(t, func() bool { // all acknowledged by the broker
		return f.stored() == f.rows()
	}, wait, poll)
	require.NoError(t, f.broker.Forget())
	require.NoError(t, f.broker.Restart(t.Context()))
	f.consume()
	f.clock.Add(int64(16 * time.Second))
	f.settled(ids)
}

// stored counts the rows in the messages that the stream holds.
func (f *fixture) stored() (rows int64) {
	stream, err := f.js.Stream(f.t.Context(), outbox.DefaultStream)
	if err != nil {
		return 0
	}
	for seq := range stream.CachedInfo().State.LastSeq {
		msg, err := stream.GetMsg(f.t.Context(), seq+1)
		if err != nil {
			return 0
		}
		ids, err := outbox.RowsOf(msg.Header)
		if err != nil {
			return 0
		}
		rows += int64(len(ids))
	}
	return rows
}

// Rows that wait travel in few messages; one that is no batch travels alone and spoils no other.
func TestRowsTravelTogether(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.broker.Shutdown()
	var ids []string
	for range 60 {
		ids = append(ids, f.record(1)...)
	}
	_, err := f.pool.Exec(t.Context(), "INSERT INTO outbox (id, payload) VALUES ($1, $2)", uuid.Must(uuid.NewV7()), []byte("\x0a\xff\xff\x01"))
	require.NoError(t, err)
	for range 60 {
		ids = append(ids, f.record(1)...)
	}
	require.NoError(t, f.broker.Restart(t.Context()))
	f.consume()
	f.run(f.relay)
	f.settled(ids)
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Len(t, f.unread, 1)
	for _, n := range f.seen {
		require.Equal(t, 1, n)
	}
	require.LessOrEqual(t, len(f.got), 6, "120 rows in as many messages")
}

func TestReplicasShareAnOutbox(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.consume()
	for range 3 {
		f.run(f.newRelay(outbox.NewCounter()))
	}
	f.settled(f.record(300))
}

func TestManyEventsSplitIntoMessagesThatFit(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.consume()
	f.run(f.relay)
	events := make([]*auditv1.Event, 4000)
	ids := make([]string, len(events))
	for i := range events {
		ids[i] = uuid.NewString()
		events[i] = &auditv1.Event{EventId: ids[i], Reason: strings.Repeat("R", 500)}
	}
	require.NoError(t, f.sink.Record(t.Context(), events...))
	f.settled(ids)
	require.Greater(t, len(f.got), 4)
}

func TestEventThatCannotBeStoredFailsItsAccess(t *testing.T) {
	t.Parallel()
	f := setup(t)
	require.Error(t, f.sink.Record(t.Context(), &auditv1.Event{EventId: uuid.NewString(), Username: "\xff"}))
	require.Zero(t, f.rows())
}

func TestServiceRoleCannotChangeRows(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.record(1)
	for _, statement := range []string{"UPDATE outbox SET payload = ''", "TRUNCATE outbox", "DROP TABLE outbox"} {
		_, err := f.pool.Exec(t.Context(), statement)
		require.Error(t, err, statement)
	}
}
