// Package outbox carries audit events from a service's own database to the
// audit store. A Counter stores them in the transaction of the access itself, in rows
// that each process numbers; the Relay publishes them until the audit store's receipt
// arrives. A broker that is down, or loses what it acknowledged, stops nobody and loses nothing.
//
// That nothing is missing shows at the audit store: each row claims the numbers that were
// committed before it, and each relay says every few seconds which are, how old the oldest row
// without a receipt is, and how many calls were served. A row that somebody deletes was claimed
// and never comes. A row that was rolled back is claimed by nobody, so it is no gap.
package outbox

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

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
