package bulk

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/internal/watch"
)

// Status says how far an export of the caller's is. Once its moment has settled, each question plans
// some of its files: nobody works on an export that nobody asks for.
func (x *Exports) Status(ctx context.Context, id uuid.UUID) (Status, error) {
	_, v, err := chart.View(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{}
	if s.BulkExport, err = x.own(ctx, id, true, func(*pgx.Batch) {}); err != nil {
		return Status{}, err
	}
	if s.Wait = s.Ready.Sub(x.now()); s.Wait > 0 || s.Plan.Type == "" {
		return s, nil
	}
	types, err := x.present(ctx, v, s.BulkExport)
	if err != nil {
		return Status{}, err
	}
	for range stepsPerPoll {
		at := slices.IndexFunc(types, func(t string) bool { return t >= s.Plan.Type })
		if s.Left = 0; at < 0 {
			break
		}
		s.Left = len(types) - at
		if s.Plan, err = x.step(ctx, v, s.BulkExport, types[at:]); err != nil || s.Plan.Type == "" {
			break
		}
	}
	return s, err
}

func (x *Exports) present(ctx context.Context, v store.Viewer, e store.BulkExport) ([]string, error) {
	var types []string
	err := x.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.TypesPresent(b, v.Practice, e.Types, &types) },
	})
	if len(types) == 0 {
		types = e.Types[len(e.Types)-1:] // one step that finds nothing ends the plan
	}
	return types, err
}

// step plans the next files, and returns where the plan is then. Whatever another poll, here or
// in another replica, planned meanwhile stands.
func (x *Exports) step(ctx context.Context, v store.Viewer, e store.BulkExport, types []string) (store.Ref, error) {
	s := store.PlanStep{
		Export: e, Type: types[0], Scan: x.limits.ScanResources, FileRows: x.limits.FileResources, FileBytes: fileBytes,
	}
	var last uuid.UUID
	var ends bool
	err := x.access.Do(ctx, pg.Unit{
		Practice: v.Practice, Alone: true,
		Queue: func(b *pgx.Batch) { store.PlanWindow(b, v.Practice, s, &last, &ends) },
	})
	if err != nil {
		return store.Ref{}, err
	}
	to := store.Ref{Type: s.Type, ID: last}
	switch {
	case ends && len(types) > 1:
		to = store.Ref{Type: types[1]}
	case ends:
		to = store.Ref{}
	}
	var now store.BulkExport
	var found bool
	err = x.access.Do(ctx, pg.Unit{
		Practice: v.Practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			store.PlanFiles(b, v, s, last, to)
			store.ReadExport(b, v.Practice, e.ID, x.now(), &now, &found)
		},
	})
	if err == nil && !found {
		err = chart.NotFound // it was ended meanwhile
	}
	return now.Plan, err
}

// Files are those of an export that is done, of the types that the caller may read now.
func (x *Exports) Files(ctx context.Context, s Status, types []string) ([]store.ExportFile, error) {
	_, v, err := chart.View(ctx)
	if err != nil {
		return nil, err
	}
	var files []store.ExportFile
	return files, x.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.ListExportFiles(b, v.Practice, s.ID, types, &files) },
	})
}

// Read returns the resources of the file of a type that begins at an id. An event for each patient in it
// commits before.
func (x *Exports) Read(ctx context.Context, id uuid.UUID, resourceType string, first uuid.UUID) (store.BulkExport, []chart.Document, error) {
	_, v, err := chart.View(ctx)
	if err != nil {
		return store.BulkExport{}, nil, err
	}
	var f store.ExportFile
	var found bool
	e, err := x.own(ctx, id, false, func(b *pgx.Batch) {
		store.ReadExportFile(b, v.Practice, id, resourceType, first, &f, &found)
	})
	switch {
	case err != nil:
		return e, nil, err
	case !Status{BulkExport: e, Wait: e.Ready.Sub(x.now())}.Done():
		return e, nil, errUnready
	case !found:
		return e, nil, chart.NotFound
	}
	rows, err := x.part(ctx, v, e, f)
	if err != nil {
		return e, nil, err
	}
	docs, err := x.chart.OpenAll(watch.InPassing(ctx), v.Practice, rows)
	return e, docs, err
}

func (x *Exports) part(ctx context.Context, v store.Viewer, e store.BulkExport, f store.ExportFile) ([]store.Document, error) {
	var rows []store.Document
	most := slack * x.limits.FileResources
	return rows, x.access.Do(watch.InPassing(ctx), pg.Unit{
		Practice: v.Practice, Alone: true,
		Queue: func(b *pgx.Batch) { store.ReadPart(b, v, e, f, most+1, slack*fileBytes, &rows) },
		Decide: func() ([]*auditv1.Event, error) {
			if len(rows) > most || slices.ContainsFunc(rows, func(d store.Document) bool { return d.Sealed == nil }) {
				return nil, errGrown
			}
			return handedOver(ctx, e.ID, rows), nil
		},
	})
}

// handedOver are the events of a file: one of the export, and one of each patient in it.
func handedOver(ctx context.Context, id uuid.UUID, rows []store.Document) []*auditv1.Event {
	events := []*auditv1.Event{about(ctx, id, evidence.Count(len(rows)))}
	counts, order := map[uuid.UUID]int{}, []uuid.UUID{}
	for _, row := range rows {
		if counts[row.Patient]++; counts[row.Patient] == 1 && row.Patient != uuid.Nil {
			order = append(order, row.Patient)
		}
	}
	for _, patient := range order {
		events = append(events, about(ctx, id, evidence.Patient(patient), evidence.Count(counts[patient])))
	}
	return events
}
