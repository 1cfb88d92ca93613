// Package sink records the audit service's own RPCs. It has no outbox: it waits until
// its events are in the log itself, or, on a replica that is not the writer, until
// the writer's receipt for them arrives by the broker.
package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/appender"
	"github.com/carekeep/carekeep/services/audit/internal/event"
)

const (
	service = "audit"
	// retryAfter is the pause before events are tried again, until the caller gives up.
	// To record an event twice is harmless: its id is taken once.
	retryAfter = 200 * time.Millisecond
)

// Appender is what the sink needs of the appender.
type Appender interface {
	Submit(context.Context, appender.Submission) error
}

// Sink implements evidence.Sink.
type Sink struct {
	appender Appender
	conn     *nats.Conn
	js       jetstream.JetStream
	log      *slog.Logger
	now      func() time.Time

	mu      sync.Mutex
	waiting map[uuid.UUID]chan struct{}
}

// New returns a sink. It listens for receipts from now on.
func New(a Appender, conn *nats.Conn, log *slog.Logger, now func() time.Time) (*Sink, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	s := &Sink{appender: a, conn: conn, js: js, log: log, now: now, waiting: map[uuid.UUID]chan struct{}{}}
	// No queue group: each replica has to see the receipts for what it published.
	if _, err := conn.Subscribe(outbox.ReceiptSubject(service), s.receipt); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return s, nil
}

// Record returns once the events are in the log.
func (s *Sink) Record(ctx context.Context, events ...*auditv1.Event) error {
	made := make([]event.Event, len(events))
	for i, e := range events {
		var err error
		if made[i], err = event.From(e, event.Origin{Service: accessv1.Service_SERVICE_AUDIT, Now: s.now()}); err != nil {
			return fmt.Errorf("record events: %w", err)
		}
	}
	for {
		err := s.try(ctx, made, events)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errs.Wrap(err, errs.KindUnavailable, "AUDIT_UNAVAILABLE", "the audit log cannot be written now")
		case <-time.After(retryAfter):
		}
	}
}

func (s *Sink) try(ctx context.Context, made []event.Event, events []*auditv1.Event) error {
	done := make(chan error, 1)
	err := s.appender.Submit(ctx, appender.Submission{Events: made, Prompt: true, Done: func(err error) { done <- err }})
	if errors.Is(err, appender.ErrStandby) {
		return s.forward(ctx, events)
	}
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forward publishes the events like any other service does, and waits for the receipt.
func (s *Sink) forward(ctx context.Context, events []*auditv1.Event) error {
	payload, err := proto.Marshal(&auditv1.Batch{Events: events})
	if err != nil {
		return fmt.Errorf("encode events: %w", err)
	}
	id, receipted := uuid.Must(uuid.NewV7()), make(chan struct{})
	s.mu.Lock()
	s.waiting[id] = receipted
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, id)
	}()
	if _, err := s.js.Publish(ctx, outbox.EventSubject(service), payload, jetstream.WithMsgID(id.String())); err != nil {
		return fmt.Errorf("hand events to the writer: %w", err)
	}
	select {
	case <-receipted:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Sink) receipt(msg *nats.Msg) {
	var r auditv1.Receipt
	if err := proto.Unmarshal(msg.Data, &r); err != nil {
		s.log.Warn("a receipt cannot be read", telemetry.KeyError, err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, raw := range r.GetBatchIds() {
		id, err := uuid.FromBytes(raw)
		if err != nil {
			continue
		}
		if receipted, ok := s.waiting[id]; ok {
			close(receipted)
			delete(s.waiting, id)
		}
	}
}
