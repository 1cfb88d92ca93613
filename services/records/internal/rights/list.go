package rights

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// batch is how many rows are read at a time where all of a patient's are asked for.
const batch = 100

// list shows a page of a patient's rows, newest first, and the token of the next page, empty at the end.
func (k kind[T]) list(ctx context.Context, r *Rights, who actor, patient uuid.UUID, page chart.Page) ([]entry[T], string, error) {
	scope := patient.String() + "/" + k.collection
	after, err := page.After(scope)
	if err != nil {
		return nil, "", err
	}
	var owner store.Patient
	var rows []store.RightsRow
	var known bool
	var refusal error
	err = r.access.Do(ctx, pg.Unit{
		Practice: who.viewer.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, who.viewer, patient, &owner, &known)
			store.ListRights(b, who.viewer.Practice, patient, k.rowType, after, page.Limit()+1, &rows)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = chart.Judge(ctx, known, owner.Visible, k.about(Place{Patient: patient}, 0), evidence.Count(chart.Fit(rows, page.Limit())))
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return nil, "", err
	}
	rows, next := chart.Cut(rows, page.Limit(), scope)
	out := make([]entry[T], len(rows))
	for i, row := range rows {
		if out[i].msg, err = k.open(ctx, r, who.viewer.Practice, row); err != nil {
			return nil, "", err
		}
		out[i].row = row
	}
	return out, next, nil
}

// listed is a page of a patient's rows as its readers see them.
func listed[T proto.Message](list []entry[T], next string, err error, show func(entry[T], error) (T, error)) ([]T, string, error) {
	if err != nil {
		return nil, "", err
	}
	out := make([]T, len(list))
	for i, e := range list {
		if out[i], err = show(e, nil); err != nil {
			return nil, "", err
		}
	}
	return out, next, nil
}

// each opens every row of a patient, newest first, a batch at a time: however many there are, none may be missing
// from an accounting, an export or a check. It leaves no event: what is made of the rows has its own.
func (k kind[T]) each(ctx context.Context, r *Rights, who actor, patient uuid.UUID, visit func(entry[T]) error) error {
	for after := store.Top(); ; {
		var rows []store.RightsRow
		if err := r.inside(ctx, who, func(b *pgx.Batch) {
			store.ListRights(b, who.viewer.Practice, patient, k.rowType, after, batch, &rows)
		}); err != nil {
			return err
		}
		fit := chart.Fit(rows, batch)
		for _, row := range rows[:fit] {
			msg, err := k.open(ctx, r, who.viewer.Practice, row)
			if err == nil {
				err = visit(entry[T]{row: row, msg: msg})
			}
			if err != nil {
				return err
			}
			after = row.At()
		}
		if fit == len(rows) && fit < batch {
			return nil
		}
	}
}

// tell commits an event about a row, or about all of a patient's, and nothing else.
func (k kind[T]) tell(ctx context.Context, r *Rights, at Place, mods ...func(*auditv1.Event)) error {
	return r.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(append(mods, k.about(at, 0))...)}, nil
	}})
}
