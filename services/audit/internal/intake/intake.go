// Package intake takes batches of events from the broker to the appender, and sends
// receipts for what is committed. A message that cannot be taken never stops the
// ones behind it. The broker is transport: what it loses, an outbox sends again.
package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/appender"
	"github.com/carekeep/carekeep/services/audit/internal/event"
)

const (
	// duplicateWindow is shorter than the 15 s after which an outbox sends again.
	duplicateWindow = 10 * time.Second
	// ackWait is longer than any group takes; then the message comes again.
	ackWait = 30 * time.Second
	// maxPending bounds what is fetched and not yet committed.
	maxPending = 8192
	// fetchAhead is how many messages the client holds, and fetchBytes how much.
	fetchAhead = 2048
	fetchBytes = 32 << 20
	// MaxBytes bounds the stream. When it is full, outboxes wait and nothing is lost.
	MaxBytes   = 256 << 20
	retryAfter = time.Second
	// heartbeat is how often the broker says that it still knows our consumer.
	heartbeat = 2 * time.Second
	consumer  = "appender"
)

// Intake reads the stream for as long as this replica is the writer.
type Intake struct {
	conn     *nats.Conn
	js       jetstream.JetStream
	stream   string
	replicas int
	log      *slog.Logger
	now      func() time.Time
	receipts *receipts
}

// New returns an intake over a connection.
func New(conn *nats.Conn, broker outbox.Broker, replicas int, log *slog.Logger, now func() time.Time) (*Intake, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return &Intake{conn: conn, js: js, stream: broker.Stream, replicas: max(replicas, 1), log: log, now: now, receipts: newReceipts(conn, log)}, nil
}

// Ready says whether the broker is connected.
func (in *Intake) Ready(context.Context) error {
	if !in.conn.IsConnected() {
		return errors.New("the broker is not connected")
	}
	return nil
}

// Run feeds the appender until ctx ends. The broker may come and go, and lose the stream.
func (in *Intake) Run(ctx context.Context, submit func(context.Context, appender.Submission) error) {
	for ctx.Err() == nil {
		err := in.consume(ctx, submit)
		if ctx.Err() != nil || errors.Is(err, appender.ErrStandby) {
			return
		}
		in.log.WarnContext(ctx, "events cannot be fetched from the broker; they wait in the outboxes", telemetry.KeyError, err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// Ensure makes the stream and the durable consumer, or brings them up to date.
func (in *Intake) Ensure(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, err := in.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: in.stream, Subjects: []string{outbox.EventSubject(">")},
		Description: "Audit events on their way to the log; outboxes keep them until the receipt",
		Storage:     jetstream.FileStorage, Replicas: in.replicas,
		// A message goes when it is acknowledged: events are kept in one place, under row-level security.
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxBytes: MaxBytes,
		Duplicates: duplicateWindow,
	})
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", in.stream, err)
	}
	c, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: maxPending, MaxDeliver: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", consumer, err)
	}
	return c, nil
}

func (in *Intake) consume(ctx context.Context, submit func(context.Context, appender.Submission) error) error {
	c, err := in.Ensure(ctx)
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessagesWithBytesLimit(fetchAhead, fetchBytes), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	// What was fetched ahead is given back at once, so that the next writer need not wait for it.
	stop := context.AfterFunc(ctx, messages.Drain)
	defer stop()
	defer messages.Stop()
	standby := false
	for {
		msg, err := messages.Next()
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return appender.ErrStandby
		case err != nil:
			// Also when no heartbeat comes: the broker may have forgotten the consumer, or the stream.
			return fmt.Errorf("fetch: %w", err)
		}
		if !standby && submit(ctx, in.submission(msg)) != nil {
			standby = true
			messages.Drain()
		}
		if standby {
			_ = msg.Nak()
		}
	}
}

// submission reads a message. One that is not what it should be is parked, and what
// is right in it appended all the same.
func (in *Intake) submission(msg jetstream.Msg) appender.Submission {
	s, sender := Read(msg.Subject(), msg.Data(), in.now())
	rows, err := outbox.RowsOf(msg.Headers())
	if err != nil && len(s.Parked) == 0 {
		s.Parked = append(s.Parked, appender.Parked{Subject: msg.Subject(), Payload: msg.Data(),
			Problem: fmt.Errorf("%w: no receipt can be sent", err)})
	}
	s.Done = func(err error) { in.receipts.done(receipt{service: sender, rows: rows, msg: msg, err: err}) }
	return s
}

// Read turns a message into a submission, and names the service that sent it, if any did.
func Read(subject string, payload []byte, now time.Time) (appender.Submission, string) {
	sender := outbox.ServiceOf(subject)
	var s appender.Submission
	problem := errors.New("its subject names no service")
	if service, ok := access.ServiceFromName(sender); ok {
		s.Events, problem = event.Decode(payload, event.Origin{Service: service, Now: now})
		var unread error
		s.Service = service
		s.Rows, unread = event.Rows(payload)
		problem = errors.Join(problem, unread)
	} else {
		sender = ""
	}
	if problem != nil {
		s.Parked = []appender.Parked{{Subject: subject, Payload: payload, Problem: problem}}
	}
	return s, sender
}
