package intake

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// attempts bounds how often an entry is tried that somebody else changes at the same time.
const attempts = 4

// finish is the third stage: it commits the batch and reports on it.
func (r *run) finish(ctx context.Context, b *batch, report Report) error {
	for attempt := 1; ; attempt++ {
		left, err := r.commit(ctx, &b.plan)
		if err != nil {
			return err
		}
		if len(left) == 0 {
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
// returns the items that somebody else was quicker with.
func (r *run) commit(ctx context.Context, p *plan) ([]item, error) {
	defer r.pending.drop(p.keys)
	if len(p.docs) == 0 && len(p.unchanged) == 0 && len(p.denied) == 0 {
		return nil, nil
	}
	rows := make([]store.Document, len(p.docs))
	for i, d := range p.docs {
		rows[i] = d.row
	}
	var created []uuid.UUID
	var stored []store.Ref
	now := r.now()
	err := r.access.Do(ctx, pg.Unit{
		Practice: r.viewer.Practice,
		Alone:    true,
		Queue: func(b *pgx.Batch) {
			store.CreatePatients(b, r.viewer.Practice, r.options.Doctor, p.patients, now, &created)
			store.PutDocuments(b, r.viewer.Practice, rows, now, &stored)
			store.ReindexAll(b, r.viewer.Practice, p.index)
		},
		Decide: func() ([]*auditv1.Event, error) { return events(evidence.From(ctx), p, created, stored), nil },
	})
	if err != nil {
		return nil, err
	}
	return r.count(p, stored), nil
}

// events tells of every resource that was stored, of entries that were stored
// before, by patient, and of patients whose chart was closed to the import.
func events(rec *evidence.Recorder, p *plan, created []uuid.UUID, stored []store.Ref) []*auditv1.Event {
	out := make([]*auditv1.Event, 0, len(created)+len(stored)+len(p.unchanged)+len(p.denied))
	for _, patient := range created {
		out = append(out, keys.Created(rec, p.keys[patient]))
	}
	done := set(stored)
	for _, d := range p.docs {
		if done[store.Ref{Type: d.row.Type, ID: d.row.ID}] {
			at := chart.Place{Type: d.row.Type, Patient: d.row.Patient, ID: d.row.ID}
			out = append(out, rec.Event(chart.About(at, d.row.Version), evidence.Digests(d.before, d.row.Digest)))
		}
	}
	for patient, n := range p.unchanged {
		out = append(out, rec.Event(about(patient), evidence.Count(n), evidence.Outcome(auditv1.Outcome_OUTCOME_OK, 0, "UNCHANGED")))
	}
	for patient := range p.denied {
		out = append(out, rec.Event(about(patient),
			evidence.Outcome(auditv1.Outcome_OUTCOME_DENIED, errs.KindNotFound.Code(), reasonUnavailable)))
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
func (r *run) count(p *plan, stored []store.Ref) (left []item) {
	done := set(stored)
	for _, d := range p.docs {
		switch {
		case !done[store.Ref{Type: d.row.Type, ID: d.row.ID}]:
			left = append(left, d.item)
		case d.fresh:
			r.totals.Created++
		default:
			r.totals.Updated++
		}
	}
	for _, n := range p.unchanged {
		r.totals.Unchanged += int64(n)
	}
	return left
}

func set(refs []store.Ref) map[store.Ref]bool {
	out := make(map[store.Ref]bool, len(refs))
	for _, ref := range refs {
		out[ref] = true
	}
	return out
}
