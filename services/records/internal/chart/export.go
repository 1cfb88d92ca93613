package chart

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// exportPage is how many documents an export reads at a time.
const exportPage = 200

// Each hands over a patient's current resources, by type and id, of the types that keep
// keeps. It commits no event of success: the operation that exports has its own. It ends with an error,
// and an event, when the viewer may no longer see the patient.
func (c *Chart) Each(ctx context.Context, v store.Viewer, patient uuid.UUID, keep func(resourceType string) bool, each func(Document) error) error {
	return c.walk(ctx, v, patient, func(name string) bool { return !own[name] && keep(name) }, each)
}

// EachFile hands over what is known of a patient's files, likewise; keep is asked for each page that has some.
func (c *Chart) EachFile(ctx context.Context, v store.Viewer, patient uuid.UUID, keep func() bool, each func(Document) error) error {
	return c.walk(ctx, v, patient, func(name string) bool { return name == TypeFile && keep() }, each)
}

func (c *Chart) walk(ctx context.Context, v store.Viewer, patient uuid.UUID, keep func(resourceType string) bool, each func(Document) error) error {
	var lastType string
	last := uuid.Nil
	for {
		rows, err := c.exportRows(ctx, v, patient, lastType, last)
		if err != nil || len(rows) == 0 {
			return err
		}
		lastType, last = rows[len(rows)-1].Type, rows[len(rows)-1].ID
		kept := rows[:0]
		for _, row := range rows {
			if keep(row.Type) {
				kept = append(kept, row)
			}
		}
		docs, err := c.OpenAll(ctx, v.Practice, kept)
		if err != nil {
			return err
		}
		for _, d := range docs {
			if err := each(d); err != nil {
				return err
			}
		}
	}
}

func (c *Chart) exportRows(ctx context.Context, v store.Viewer, patient uuid.UUID, afterType string, after uuid.UUID) ([]store.Document, error) {
	var owner store.Patient
	var known bool
	var rows []store.Document
	var refusal error
	err := c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, v, patient, &owner, &known)
			store.ChartDocuments(b, v, patient, afterType, after, exportPage, &rows)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = Judge(ctx, known, owner.Visible, About(Place{Patient: patient}, 0))
			if refusal == nil {
				return nil, nil
			}
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	return rows, err
}
