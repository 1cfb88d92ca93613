package upkeep

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

var (
	errUnfinished = errs.New(errs.KindConflict, "INDEX_UNFINISHED",
		"A generation of the index is built or dropped already: start another one when searchIndex shows the live one alone.")
	errNoIndex = errs.New(errs.KindPrecondition, "INDEX_EMPTY", "The practice has no index yet: it gets one with its first document.")
)

// Index reads the generations of a practice's index, the oldest first.
func (u *Upkeep) Index(ctx context.Context, practice uuid.UUID) ([]store.Generation, error) {
	var rows []store.Generation
	err := u.ask(ctx, practice, func(b *pgx.Batch) { store.ReadGenerations(b, practice, &rows) })
	return rows, err
}

// ask reads something of the index, with the event of it.
func (u *Upkeep) ask(ctx context.Context, practice uuid.UUID, queue func(*pgx.Batch), mods ...func(*auditv1.Event)) error {
	if practice == uuid.Nil {
		return errNoPractice
	}
	return u.access.Do(ctx, pg.Unit{Practice: practice, Queue: queue, Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(append(mods, evidence.Resource("index", 0))...)}, nil
	}})
}

// RebuildIndex starts the next generation of a practice's index, under a key of its own. Nil
// phonetics and an empty region stay as they are.
func (u *Upkeep) RebuildIndex(ctx context.Context, practice uuid.UUID, phonetics *bool, region string) ([]store.Generation, error) {
	if err := index.CheckRegion(region); err != nil {
		return nil, errs.New(errs.KindInvalid, "REGION_UNKNOWN", "The region is none whose phone numbers are known.").WithField("region", err.Error())
	}
	var rows []store.Generation
	if err := u.ask(ctx, practice, func(b *pgx.Batch) { store.ReadGenerations(b, practice, &rows) }); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errNoIndex
	}
	last := rows[len(rows)-1]
	next := store.Generation{
		Number: last.Number + 1, State: store.GenerationBuilding, Format: index.Version,
		Region: last.Region, Phonetics: last.Phonetics, Created: u.now(),
	}
	if region != "" {
		next.Region = region
	}
	if phonetics != nil {
		next.Phonetics = *phonetics
	}
	own, err := u.keys.FreshIndex(ctx, practice)
	if err != nil {
		return nil, err
	}
	var added bool
	err = u.access.Do(ctx, pg.Unit{
		Practice: practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			store.LockGenerations(b, practice)
			store.AddGeneration(b, practice, next, store.NewKey{ID: own.ID, Wrapped: own.Blob}, index.Indexed(), &added)
			store.ReadGenerations(b, practice, &rows)
		},
		Decide: func() ([]*auditv1.Event, error) {
			if !added {
				return nil, errUnfinished
			}
			rec := evidence.From(ctx)
			return []*auditv1.Event{keys.Created(rec, own), rec.Event(evidence.Resource("index", int64(next.Number)), evidence.Reason("STARTED"))}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	u.poke()
	return rows, nil
}

// Leakage is what counting the tokens of the live generation tells.
type Leakage struct {
	Generation int32
	Indexes    []IndexLeakage
}

// IndexLeakage is what counting the tokens of one index tells.
type IndexLeakage struct {
	*index.Index
	store.IndexCount
}

// Over reports whether it is more than the budget of the index allows.
func (l IndexLeakage) Over() bool { return l.Budget.Exceeded(l.Entries, l.MostFrequent) }

// Over reports whether any index is beyond its budget.
func (l Leakage) Over() bool {
	for _, x := range l.Indexes {
		if x.Over() {
			return true
		}
	}
	return false
}

// MeasureLeakage counts the live generation of a practice's index. A report beyond the budget is an event of high risk.
func (u *Upkeep) MeasureLeakage(ctx context.Context, practice uuid.UUID) (Leakage, error) {
	if practice == uuid.Nil {
		return Leakage{}, errNoPractice
	}
	var rows []store.Generation
	var counts []store.IndexCount
	var report Leakage
	if err := u.access.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { store.ReadGenerations(b, practice, &rows) }}); err != nil {
		return report, err
	}
	for _, g := range rows {
		if g.State == store.GenerationLive {
			report.Generation = g.Number
		}
	}
	err := u.access.Do(ctx, pg.Unit{
		Practice: practice, Alone: true,
		Queue: func(b *pgx.Batch) { store.CountIndex(b, practice, report.Generation, &counts) },
		Decide: func() ([]*auditv1.Event, error) {
			for _, c := range counts {
				report.Indexes = append(report.Indexes, IndexLeakage{index.Of(c.Index), c})
			}
			event := evidence.From(ctx).Event(evidence.Resource("index", int64(report.Generation)), evidence.Count(len(counts)))
			if report.Over() {
				evidence.Reason("INDEX_OVER_BUDGET")(event)
				evidence.Risk(auditv1.Risk_RISK_HIGH)(event)
			}
			return []*auditv1.Event{event}, nil
		},
	})
	return report, err
}
