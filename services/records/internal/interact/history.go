package interact

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Version is one version of a resource; one that marks a deletion has no content.
type Version struct {
	chart.Document
	Deleted bool
}

// History returns the versions of a resource below one, newest first, and the version
// to go on below, 0 at the end. below 0 begins at the newest.
func (s *Store) History(ctx context.Context, resourceType string, id uuid.UUID, below int64, count int) ([]Version, int64, error) {
	_, v, err := chart.View(ctx)
	if err != nil {
		return nil, 0, err
	}
	if below == 0 {
		below = math.MaxInt64
	}
	var rows []store.Document
	var refusal error
	err = s.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.ListVersions(b, v, resourceType, id, below, count+1, &rows) },
		Decide: func() ([]*auditv1.Event, error) {
			at := chart.Place{Type: resourceType, ID: id}
			visible, glass := false, false
			if len(rows) > 0 {
				at.Patient, visible, glass = rows[0].Patient, rows[0].Visible, rows[0].Glass
			}
			var event *auditv1.Event
			event, refusal = chart.Judge(ctx, len(rows) > 0, visible, chart.About(at, 0), evidence.Count(chart.Fit(rows, count)), chart.ThroughGlass(glass))
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return nil, 0, err
	}
	more := len(rows)
	rows = rows[:chart.Fit(rows, count)]
	next := int64(0)
	if more > len(rows) {
		next = rows[len(rows)-1].Version
	}
	out, err := s.openVersions(ctx, v, rows)
	return out, next, err
}

func (s *Store) openVersions(ctx context.Context, v store.Viewer, rows []store.Document) ([]Version, error) {
	full := slices.DeleteFunc(slices.Clone(rows), func(d store.Document) bool { return d.Deleted })
	docs, err := s.chart.OpenAll(ctx, v.Practice, full)
	if err != nil {
		return nil, err
	}
	out := make([]Version, len(rows))
	for i, row := range rows {
		if row.Deleted {
			out[i] = Version{chart.Bare(row), true}
			continue
		}
		out[i], docs = Version{Document: docs[0]}, docs[1:]
	}
	return out, nil
}

// Cursor is where a walk through a chart goes on: after this resource.
type Cursor struct {
	Type    string
	Created time.Time
	ID      uuid.UUID
}

// Walk are the bounds of one page of a chart.
type Walk struct {
	Types []string
	Since time.Time
	After Cursor
	Count int
	Bytes int // of sealed content
}

// Everything returns a page of a patient's chart, by type and newest first, and the
// cursor of the next page, nil at the end.
func (s *Store) Everything(ctx context.Context, patient uuid.UUID, w Walk) ([]chart.Document, *Cursor, error) {
	_, v, err := chart.View(ctx)
	if err != nil {
		return nil, nil, err
	}
	var owner store.Patient
	var found bool
	var rows []store.Document
	var refusal error
	after := store.Cursor{Created: w.After.Created, ID: w.After.ID}
	err = s.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, v, patient, &owner, &found)
			store.ListChart(b, v, patient, w.Types, w.Since, w.After.Type, after, w.Count+1, w.Bytes, &rows)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = chart.Judge(ctx, found, owner.Visible, evidence.Patient(patient), evidence.Count(chart.Fit(rows, w.Count)), chart.ThroughGlass(owner.Glass))
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return nil, nil, err
	}
	more := len(rows)
	rows = rows[:chart.Fit(rows, w.Count)]
	docs, err := s.chart.OpenAll(ctx, v.Practice, rows)
	if err != nil || more == len(rows) {
		return docs, nil, err
	}
	last := rows[len(rows)-1]
	return docs, &Cursor{last.Type, last.Created, last.ID}, nil
}
