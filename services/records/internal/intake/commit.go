package intake

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// attempts bounds how often an entry is tried that somebody else changes at the same time.
const attempts = 4

// finish is the third stage: it commits the batch and reports on it.
func (r *run) finish(ctx context.Context, b *batch, report Report) error {
	var denied []denial // of a plan that was undone: their events are still to be committed
	for attempt := 1; ; attempt++ {
		left, err := r.commit(ctx, &b.plan)
		var full taken
		switch {
		case errors.As(err, &full):
			// Nothing was stored. Without these, the rest is; each turn refuses at least one.
			left, denied = b.without(full), b.plan.denied
			attempt--
		case err != nil:
			return err
		default:
			denied = nil
		}
		if len(left)+len(denied) == 0 {
			break
		}
		if attempt == attempts {
			for _, it := range left {
				b.refuse(it.index, &refusal{reasonConflict, "Somebody else keeps changing this resource: send it again."})
			}
			break
		}
		// What was stored meanwhile is seen now, and decides again.
		b.items = left
		if err := r.prepare(ctx, b); err != nil {
			return err
		}
		b.plan.denied = append(b.plan.denied, denied...)
	}
	for _, p := range b.problems {
		r.totals.Refused++
		if err := report.Problem(p); err != nil {
			return err
		}
	}
	return report.Progress(r.totals)
}

// commit stores what is planned with an audit event for every resource, and
// returns the items that somebody else was quicker with: another import, or the batch
// before, which was on its way when this one was prepared.
func (r *run) commit(ctx context.Context, p *plan) ([]item, error) {
	defer r.pending.drop(p.keys)
	if len(p.docs) == 0 && len(p.unchanged) == 0 && len(p.denied) == 0 {
		return nil, nil
	}
	var occupied []store.Occupied
	rows := make([]store.Document, len(p.docs))
	for i, d := range p.docs {
		rows[i] = d.row
	}
	var done outcome
	now := r.now()
	err := r.index.Use(ctx, r.viewer.Practice, func(generations []index.Generation) error {
		entries := p.entries(generations)
		var seen []store.Generation
		return r.access.Do(ctx, pg.Unit{
			Practice: r.viewer.Practice,
			Alone:    true,
			Queue: func(b *pgx.Batch) {
				store.CreatePatients(b, r.viewer.Practice, r.options.Doctor, p.patients, now, &done.created)
				store.PutDocuments(b, r.viewer.Practice, rows, now, &done.stored)
				store.HoldGenerations(b, r.viewer.Practice, &seen)
				store.Reindex(b, r.viewer.Practice, entries)
				store.Occupy(b, r.viewer.Practice, p.bookings, &occupied)
				store.ReadCurrent(b, r.viewer.Practice, refs(p.unchanged), &done.current)
			},
			Decide: func() ([]*auditv1.Event, error) {
				if list := done.taken(p.bookings, occupied); len(list) > 0 {
					return nil, list
				}
				return done.events(evidence.From(ctx), p), index.Check(generations, seen)
			},
		})
	})
	if err != nil {
		return nil, err
	}
	return r.count(p, &done), nil
}

// entries are the index entries of the planned documents.
func (p *plan) entries(generations []index.Generation) []store.Entry {
	out := make([]store.Entry, 0, len(p.docs))
	for _, d := range p.docs {
		if index.Has(d.row.Type) {
			out = append(out, store.Entry{Document: d.row, Index: index.Entries(generations, d.row, d.item.json)})
		}
	}
	return out
}

// outcome is what the database made of a plan.
type outcome struct {
	created []uuid.UUID
	stored  []store.Ref
	current []store.Current
}

// taken returns the appointments that were stored and for which the doctor has no time.
func (o *outcome) taken(bookings []store.Booking, occupied []store.Occupied) taken {
	var out taken
	for _, id := range chart.Taken(bookings, occupied) {
		if slices.Contains(o.stored, store.Ref{Type: fhir.TypeAppointment, ID: id}) {
			out = append(out, id)
		}
	}
	return out
}

func refs(list []planned) []store.Ref {
	out := make([]store.Ref, len(list))
	for i, d := range list {
		out[i] = d.ref()
	}
	return out
}

func (d planned) ref() store.Ref { return store.Ref{Type: d.row.Type, ID: d.row.ID} }

// kept says of each planned document whether it is what is stored now.
func (o *outcome) kept() func(planned) bool {
	stored := make(map[store.Ref]bool, len(o.stored))
	for _, ref := range o.stored {
		stored[ref] = true
	}
	digests := make(map[store.Ref]string, len(o.current))
	for _, c := range o.current {
		if !c.Deleted {
			digests[c.Ref] = string(c.Digest)
		}
	}
	return func(d planned) bool { return stored[d.ref()] || digests[d.ref()] == string(d.row.Digest) }
}

// events tells of every resource that was stored, of entries that were stored
// before, by patient, and of what was closed to the import.
func (o *outcome) events(rec *evidence.Recorder, p *plan) []*auditv1.Event {
	out := make([]*auditv1.Event, 0, len(o.created)+len(o.stored)+len(p.denied)+1)
	for _, patient := range o.created {
		out = append(out, keys.Created(rec, p.keys[patient]))
	}
	kept := o.kept()
	for _, d := range p.docs {
		if kept(d) {
			at := chart.Place{Type: d.row.Type, Patient: d.row.Patient, ID: d.row.ID}
			out = append(out, rec.Event(chart.About(at, d.row.Version), evidence.Digests(d.before, d.row.Digest)))
		}
	}
	unchanged := map[uuid.UUID]int{}
	for _, d := range p.unchanged {
		if kept(d) {
			unchanged[d.row.Patient]++
		}
	}
	for patient, n := range unchanged {
		out = append(out, rec.Event(about(patient), evidence.Count(n), evidence.Outcome(auditv1.Outcome_OUTCOME_OK, 0, "UNCHANGED")))
	}
	for _, d := range p.denied {
		out = append(out, d.event(rec))
	}
	return out
}

func about(patient uuid.UUID) func(*auditv1.Event) {
	if patient == uuid.Nil {
		return func(*auditv1.Event) {}
	}
	return evidence.Patient(patient)
}

// count adds up what was done, and returns what was not.
func (r *run) count(p *plan, o *outcome) (left []item) {
	kept := o.kept()
	for _, d := range p.docs {
		switch {
		case !kept(d):
			left = append(left, d.item)
		case d.fresh:
			r.totals.Created++
		default:
			r.totals.Updated++
		}
	}
	for _, d := range p.unchanged {
		if kept(d) {
			r.totals.Unchanged++
		} else {
			left = append(left, d.item)
		}
	}
	return left
}
