// Package interact holds FHIR's interactions on the store that internal/chart does not
// have: history, everything, and sets of changes that happen together or not at all. It knows
// no HTTP; internal/fhirapi speaks that. Every access commits its audit events with what it
// reads or writes, and what a caller may not see is like what does not exist.
package interact

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/outcome"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Store runs the interactions. Safe for concurrent use.
type Store struct {
	access *pg.Access
	keys   *keys.Keys
	chart  *chart.Chart
	index  *index.Generations
	now    func() time.Time
}

// New makes a Store; now is the server's clock.
func New(access *pg.Access, k *keys.Keys, c *chart.Chart, x *index.Generations, now func() time.Time) *Store {
	return &Store{access: access, keys: k, chart: c, index: x, now: func() time.Time { return now().UTC().Truncate(time.Microsecond) }}
}

var (
	errGone = errs.New(errs.KindNotFound, outcome.ReasonGone, "The resource was deleted; its versions are in its history.")
	// ErrStale answers a change of a version that is not current any more.
	ErrStale = errs.New(errs.KindConflict, outcome.ReasonStale, "The resource has changed since it was read: read it again, and send the change with its new ETag as If-Match.")
	errBusy  = errs.New(errs.KindConflict, "CHANGED_MEANWHILE", "Somebody else changed what this is about at the same time: read it again and try again.")
)

// errNotPut is 405, which R4 3.1.0.4.1 asks for where an update may create nothing.
var errNotPut = errs.New(errs.KindNotFound, outcome.ReasonNotPut, "There is no such resource, or it is not yours to see; ids are given by the server, so create it with POST.")

// Read returns the current version of a resource. One that was deleted is told from one
// that never was to those only who see the patient.
func (s *Store) Read(ctx context.Context, resourceType string, id uuid.UUID) (chart.Document, error) {
	_, v, err := chart.View(ctx)
	if err != nil {
		return chart.Document{}, err
	}
	var row store.Document
	var found bool
	var refusal error
	err = s.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.ReadAnyDocument(b, v, resourceType, id, &row, &found) },
		Decide: func() ([]*auditv1.Event, error) {
			at := chart.Place{Type: resourceType, ID: id, Patient: row.Patient}
			var event *auditv1.Event
			if found && row.Visible && row.Deleted {
				event, refusal = failure(ctx, errGone, at, row.Version), errGone
			} else {
				event, refusal = chart.Judge(ctx, found, row.Visible, chart.About(at, row.Version), chart.ThroughGlass(row.Glass))
			}
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return chart.Document{}, err
	}
	return s.chart.Open(ctx, v.Practice, row)
}

// Record commits an event that says that the RPC was carried out for so many resources.
func (s *Store) Record(ctx context.Context, count int) error {
	return s.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(count))}, nil
	}})
}

// Refused commits an event of a part of an RPC that failed, where the rest goes on.
func (s *Store) Refused(ctx context.Context, why error) error {
	return s.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Failure(why))}, nil
	}})
}
