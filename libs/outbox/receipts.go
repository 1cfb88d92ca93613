package outbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// receipt takes the audit store's word that batches are committed. The broker
// lets nobody else publish here; an id that we do not hold deletes nothing.
func (r *Relay) receipt(msg *nats.Msg) {
	var receipt auditv1.Receipt
	if err := proto.Unmarshal(msg.Data, &receipt); err != nil {
		r.log.Warn("a receipt cannot be read", "error", err)
		return
	}
	r.mu.Lock()
	for _, raw := range receipt.GetBatchIds() {
		id, err := uuid.FromBytes(raw)
		if err != nil {
			r.log.Warn("a receipt holds an id that is not 16 bytes", "length", len(raw))
			continue
		}
		if len(r.received) < maxReceipts {
			r.received = append(r.received, id)
		}
	}
	r.mu.Unlock()
	signal(r.receipts)
}

// deleteReceipted deletes what has come in, batch by batch, until ctx ends.
func (r *Relay) deleteReceipted(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.receipts:
		}
		for more := true; more; {
			var err error
			if more, err = r.deleteOnce(ctx); err == nil {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryAfter): // the database is away
				more = true
			}
		}
		if r.backlog.Load() {
			r.Poke()
		}
		if !pause(ctx, gather) {
			return
		}
	}
}

// deleteOnce deletes one batch; more says whether others wait.
func (r *Relay) deleteOnce(ctx context.Context) (more bool, err error) {
	r.mu.Lock()
	ids := slices.Clone(r.received[:min(deleteMax, len(r.received))])
	r.mu.Unlock()
	if len(ids) == 0 {
		return false, nil
	}
	// A batch without BEGIN is one transaction, in one round trip.
	var b pgx.Batch
	b.Queue(lazySQL)
	b.Queue(deleteSQL, ids)
	if err := r.pool.SendBatch(ctx, &b).Close(); err != nil {
		if ctx.Err() == nil {
			r.log.Warn("receipted rows were not deleted; they are tried again", "rows", len(ids), "error", err)
		}
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = append(r.received[:0], r.received[len(ids):]...)
	for _, id := range ids {
		delete(r.due, id)
	}
	return len(r.received) > 0, nil
}

// Backlog is what waits in the outbox.
type Backlog struct {
	Rows int64
	Age  time.Duration // of the oldest row
}

// Pending counts the rows that wait for a receipt.
func (r *Relay) Pending(ctx context.Context) (Backlog, error) {
	var b Backlog
	var seconds float64
	err := r.pool.QueryRow(ctx, "select count(*), coalesce(extract(epoch from now() - min(created)), 0)::float8 from outbox").Scan(&b.Rows, &seconds)
	if err != nil {
		return Backlog{}, fmt.Errorf("count the outbox: %w", err)
	}
	b.Age = time.Duration(seconds * float64(time.Second))
	return b, nil
}

// Names of the metrics; an age that grows means that the broker or the audit store is away.
const (
	MetricRows = "carekeep.outbox.rows"
	MetricAge  = "carekeep.outbox.age"
)

func (r *Relay) measure() (stop func(), err error) {
	meter := otel.Meter("github.com/carekeep/carekeep/libs/outbox")
	rows, err := meter.Int64ObservableGauge(MetricRows, metric.WithDescription("Outbox rows without a receipt"))
	if err != nil {
		return nil, fmt.Errorf("metric %s: %w", MetricRows, err)
	}
	age, err := meter.Float64ObservableGauge(MetricAge, metric.WithUnit("s"), metric.WithDescription("Age of the oldest outbox row"))
	if err != nil {
		return nil, fmt.Errorf("metric %s: %w", MetricAge, err)
	}
	label := metric.WithAttributes(attribute.String("service", r.service))
	registration, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		b, err := r.Pending(ctx)
		if err != nil {
			return err
		}
		o.ObserveInt64(rows, b.Rows, label)
		o.ObserveFloat64(age, b.Age.Seconds(), label)
		return nil
	}, rows, age)
	if err != nil {
		return nil, fmt.Errorf("metric callback: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil
}
