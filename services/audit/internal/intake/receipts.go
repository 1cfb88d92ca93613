package intake

import (
	"context"
	"log/slog"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/telemetry"
)

// receipt is what is left of a message: who waits for word of it, and how it ended.
type receipt struct {
	service string      // "" where the subject named none
	rows    []uuid.UUID // of the sender's outbox; none where the message named none
	msg     jetstream.Msg
	err     error
}

// receipts tells senders what is committed, many messages at a time.
type receipts struct {
	conn  *nats.Conn
	log   *slog.Logger
	ended chan receipt
}

func newReceipts(conn *nats.Conn, log *slog.Logger) *receipts {
	return &receipts{conn: conn, log: log, ended: make(chan receipt, maxPending)}
}

// done never blocks: the broker hands out no more than the channel holds. Should it
// be full after all, the message comes again and gets its receipt then.
func (r *receipts) done(x receipt) {
	select {
	case r.ended <- x:
	default:
	}
}

// RunReceipts sends receipts until ctx ends, and then those that are left.
func (in *Intake) RunReceipts(ctx context.Context) {
	r := in.receipts
	for {
		select {
		case <-ctx.Done():
			r.send(context.WithoutCancel(ctx), r.waiting(nil))
			return
		case first := <-r.ended:
			r.send(ctx, r.waiting([]receipt{first}))
		}
	}
}

// waiting adds what waits to a batch.
func (r *receipts) waiting(batch []receipt) []receipt {
	for len(batch) < maxPending {
		select {
		case x := <-r.ended:
			batch = append(batch, x)
		default:
			return batch
		}
	}
	return batch
}

// send publishes the receipts before it acknowledges the messages: where it fails in
// between, the messages come again.
func (r *receipts) send(ctx context.Context, batch []receipt) {
	ids := map[string]*auditv1.Receipt{}
	for _, x := range batch {
		if x.err != nil || x.service == "" {
			continue
		}
		if ids[x.service] == nil {
			ids[x.service] = &auditv1.Receipt{}
		}
		for i := range x.rows {
			ids[x.service].BatchIds = append(ids[x.service].BatchIds, x.rows[i][:])
		}
	}
	for service, list := range ids {
		payload, err := proto.Marshal(list)
		if err == nil {
			err = r.conn.Publish(outbox.ReceiptSubject(service), payload)
		}
		if err != nil {
			r.log.WarnContext(ctx, "receipts were not sent; the messages come again", telemetry.KeyPeer, service, telemetry.KeyError, err.Error())
			return
		}
	}
	for _, x := range batch {
		// An acknowledgement that is lost brings the message again, which is harmless.
		if x.err != nil {
			_ = x.msg.NakWithDelay(retryAfter)
		} else {
			_ = x.msg.Ack()
		}
	}
}
