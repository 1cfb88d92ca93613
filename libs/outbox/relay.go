package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protowire"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/mtls"
)

const (
	// republishAfter is longer than the stream's duplicate window of 10 s, so
	// that a message the broker lost after it acknowledged it is not dropped as
	// a duplicate of itself.
	republishAfter = 15 * time.Second
	// retryAfter is for publishes that the broker refused or did not answer.
	retryAfter = time.Second
	ackTimeout = 5 * time.Second
	// pollEvery finds rows that no Poke told of: another replica's, or from before a crash.
	pollEvery = time.Second
	page      = 256
	// gather is the least time between two looks: under load, commits of that long are
	// published together, and each look costs a query whatever it finds. Nobody waits for an
	// event to reach the log.
	gather = 50 * time.Millisecond
	// maxInFlight bounds what is published and not receipted, and so the memory
	// of a relay whose audit store is away.
	maxInFlight = 1024
	// maxReceipts bounds receipts whose rows are not deleted yet. Past it they
	// are dropped: the row is published again, and receipted again.
	maxReceipts = 64 << 10
	deleteMax   = 4096 // rows in one delete
)

const (
	pageSQL   = "select id, payload from outbox where id <> all($1) order by id limit $2"
	deleteSQL = "delete from outbox where id = any($1)"
	// A delete that a crash undoes is only published again: no need to wait for the disk.
	lazySQL = "select set_config('synchronous_commit', 'off', true)"
)

// Relay publishes the rows of one outbox and deletes them on receipt.
//
// Each replica of a service runs one, and each publishes all rows that it finds,
// so the audit store may see an event twice. That is harmless and costs little:
// the stream drops a Nats-Msg-Id that it knows, the store takes each event id once,
// and receipts for rows that are gone delete nothing.
type Relay struct {
	pool    *pgxpool.Pool
	broker  Broker
	tls     *mtls.Source
	service string
	log     *slog.Logger
	now     func() time.Time
	counter *Counter
	calls   func(whole bool) []*auditv1.MinuteCalls // nil: none are counted

	poke     chan struct{}
	receipts chan struct{}
	backlog  atomic.Bool // the last look left rows behind

	mu       sync.Mutex
	due      map[uuid.UUID]time.Time // in flight: when to publish again
	received []uuid.UUID             // receipted, not deleted yet
}

// NewRelay makes the relay of a service, whose heartbeats tell what the counter knows. Run starts it.
func NewRelay(pool *pgxpool.Pool, broker Broker, tls *mtls.Source, service string, counter *Counter) *Relay {
	return &Relay{
		pool: pool, broker: broker, tls: tls, service: service, counter: counter,
		log: slog.Default().With("relay", service), now: time.Now,
		poke: make(chan struct{}, 1), receipts: make(chan struct{}, 1),
		due: map[uuid.UUID]time.Time{},
	}
}

// ReportCalls makes heartbeats tell the calls that were served: of whole minutes, or with the
// one that is not whole. Before Run only.
func (r *Relay) ReportCalls(calls func(whole bool) []*auditv1.MinuteCalls) { r.calls = calls }

// Poke says that rows were committed. It never blocks; many pokes count as one.
func (r *Relay) Poke() { signal(r.poke) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run relays until ctx ends. Broker and database may come and go meanwhile; the
// only errors are settings that can never work.
func (r *Relay) Run(ctx context.Context) error {
	if err := r.broker.Validate(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	conn, err := Connect(r.broker, r.tls, r.service, r.log)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn,
		jetstream.WithPublishAsyncMaxPending(2*maxInFlight),
		jetstream.WithPublishAsyncTimeout(ackTimeout),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, msg *nats.Msg, err error) { r.refused(msg, err) }))
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if _, err := conn.QueueSubscribe(ReceiptSubject(r.service), "relay", r.receipt); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	stop, err := r.measure()
	if err != nil {
		return err
	}
	defer stop()

	var deleting sync.WaitGroup
	defer deleting.Wait()
	deleting.Go(func() { r.deleteReceipted(ctx) })
	deleting.Go(func() { r.beatUntil(ctx, conn) })
	r.publishUntil(ctx, conn, js)
	return nil
}

func (r *Relay) publishUntil(ctx context.Context, conn *nats.Conn, js jetstream.JetStream) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.poke:
		case <-tick.C:
		}
		for ctx.Err() == nil && conn.IsConnected() {
			more, err := r.publish(ctx, js)
			if err != nil && ctx.Err() == nil {
				r.log.Warn("outbox rows were not published; they are tried again", "error", err)
			}
			if err != nil || !more {
				break
			}
		}
		if !pause(ctx, gather) {
			return
		}
	}
}

// pause waits; false where ctx ended meanwhile.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// publish sends one page of rows, oldest first; more says whether to go on at once.
func (r *Relay) publish(ctx context.Context, js jetstream.JetStream) (more bool, err error) {
	waiting := r.inFlight()
	limit := min(page, maxInFlight-len(waiting))
	if limit <= 0 {
		r.backlog.Store(true)
		return false, nil
	}
	rows, err := r.pool.Query(ctx, pageSQL, waiting, limit)
	if err != nil {
		return false, fmt.Errorf("read the outbox: %w", err)
	}
	n := 0
	var id uuid.UUID
	var payload []byte
	waits := &parcel{}
	_, err = pgx.ForEachRow(rows, []any{&id, &payload}, func() error {
		n++
		if !waits.fits(payload) {
			if err := r.send(js, waits); err != nil {
				return err
			}
			waits = &parcel{}
		}
		waits.add(id, payload)
		return nil
	})
	if err == nil && len(waits.rows) > 0 {
		err = r.send(js, waits)
	}
	r.backlog.Store(n == limit)
	return n == limit && err == nil, err
}

func (r *Relay) send(js jetstream.JetStream, p *parcel) error {
	msg := p.message(EventSubject(r.service), r.broker.Stream)
	// Marked before it is sent: the receipt can be faster than we are.
	r.mark(p.rows, republishAfter)
	if _, err := js.PublishMsgAsync(msg); err != nil {
		r.mark(p.rows, retryAfter)
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// refused is told when the broker rejects a message or does not answer in time.
func (r *Relay) refused(msg *nats.Msg, err error) {
	rows, unread := RowsOf(msg.Header)
	if unread != nil {
		return
	}
	r.log.Warn("the broker did not take a message; it is published again", "id", msg.Header.Get(jetstream.MsgIDHeader), "error", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range rows {
		if _, ok := r.due[id]; ok { // else its receipt was faster
			r.due[id] = r.now().Add(retryAfter)
		}
	}
}

func (r *Relay) mark(rows []uuid.UUID, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range rows {
		r.due[id] = r.now().Add(wait)
	}
}

// inFlight lists what must not be published now, and forgets what is due again.
func (r *Relay) inFlight() []uuid.UUID {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	ids := make([]uuid.UUID, 0, len(r.due)+len(r.received))
	for id, due := range r.due {
		if now.Before(due) {
			ids = append(ids, id)
		} else {
			delete(r.due, id)
		}
	}
	return append(ids, r.received...)
}

// Numbers of the fields that traceparent looks for.
const (
	batchEvents      protowire.Number = 1
	eventTraceparent protowire.Number = 22
)

// traceparent is the trace of the first event. It walks the wire format: to
// decode a whole batch for one header was a tenth of the relay's work.
func traceparent(payload []byte) string {
	return string(field(field(payload, batchEvents), eventTraceparent))
}

// field is the first length-delimited field of that number; nil where there is none.
func field(message []byte, wanted protowire.Number) []byte {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		if number == wanted && kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return nil
			}
			return value
		}
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return nil
		}
		message = message[n:]
	}
	return nil
}
