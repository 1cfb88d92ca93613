// Package outbox carries audit events from a service's own database to the
// audit store. Append stores them in the transaction of the access itself; the
// Relay publishes them until the audit store's receipt arrives. A broker that is
// down, or loses what it acknowledged, stops nobody and loses nothing.
package outbox

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
)

//go:embed migrations/*.sql
var embedded embed.FS

// Migrations make the outbox table; every service with an outbox adds them to its own.
func Migrations() pg.Set {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic("outbox: " + err.Error()) // the folder is part of this package
	}
	return pg.Set{Name: "outbox", FS: sub}
}

const (
	insertSQL = "insert into outbox (id, payload) values ($1, $2)"
	// maxPayload keeps a message far below the broker's limit of 1 MiB.
	maxPayload = 256 << 10
)

// Append queues the rows that hold the events: one, unless they are very many.
// It is what pg.Options.Append wants.
func Append(b *pgx.Batch, events []*auditv1.Event) {
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) && (n == 0 || size < maxPayload) {
			size += proto.Size(events[n])
			n++
		}
		payload, err := proto.Marshal(&auditv1.Batch{Events: events[:n]})
		if err != nil {
			// Only text that is not UTF-8 gets here. The statement fails, and the
			// unit with it: no access without its evidence.
			b.Queue("select 1/0 as event_is_not_utf8")
			return
		}
		b.Queue(insertSQL, uuid.Must(uuid.NewV7()), payload)
		events = events[n:]
	}
}

type sink struct{ access *pg.Access }

// NewSink records events that go with no data: denials, failures, sign-ins.
func NewSink(access *pg.Access) evidence.Sink { return sink{access} }

// Record returns once the events are committed to the outbox.
func (s sink) Record(ctx context.Context, events ...*auditv1.Event) error {
	err := s.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) { return events, nil }})
	if err != nil {
		return fmt.Errorf("record events: %w", err)
	}
	return nil
}
