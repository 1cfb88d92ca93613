package chart

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/internal/watch"
)

// Hits is a page of what a search found.
type Hits struct {
	Documents []Document
	// Last is where the next page goes on; More says whether there is one.
	Last store.Cursor
	More bool
}

// Criteria turns a search into what the store can look for, with the practice's
// keys and the generation of the index that searches use.
type Criteria func(*keys.Practice, index.Generation) (store.Search, error)

// errIndexBroken is an index entry that its document does not account for (claim DH-17).
var errIndexBroken = errs.New(errs.KindDataLoss, "INDEX_BROKEN", "An entry of the search index is not what was stored.")

// Match runs a search. Visibility is decided inside the query, so what the caller
// may not see is neither shown nor counted. One event tells of each patient found, and one
// of each patient named whom the caller may not see; where there is neither, one tells
// of the search. A document that does not have the tokens it was found by is DATA_LOSS.
func (c *Chart) Match(ctx context.Context, criteria Criteria) (hits Hits, err error) {
	_, v, err := View(ctx)
	if err != nil {
		return Hits{}, err
	}
	practice, err := c.keys.Practice(ctx, v.Practice)
	if err != nil {
		return Hits{}, err
	}
	err = c.index.Use(ctx, v.Practice, func(generations []index.Generation) error {
		live, err := index.Live(generations)
		if err != nil {
			return err
		}
		q, err := criteria(practice, live)
		if err != nil {
			return err
		}
		hits, err = c.match(ctx, v, q, generations, live)
		return err
	})
	return hits, err
}

func (c *Chart) match(ctx context.Context, v store.Viewer, q store.Search, generations []index.Generation, live index.Generation) (Hits, error) {
	size := q.Limit
	q.Limit++
	var rows []store.Document
	var asked []store.Asked
	var seen []store.Generation
	if len(q.Patients) == 0 && len(q.IDs) == 0 {
		ctx = watch.InPassingWhile(ctx, func() bool { return !aimed(q, rows[:Fit(rows, size)]) })
	}
	err := c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.Find(b, v, q, &rows)
			store.ReadAsked(b, v, q, &asked)
			if seen = nil; len(q.Tokens) > 0 {
				// After the search: what was live then was not dropped before.
				store.ReadGenerations(b, v.Practice, &seen)
			}
		},
		Decide: func() ([]*auditv1.Event, error) {
			if len(q.Tokens) > 0 {
				if err := index.Check(generations, seen); err != nil {
					return nil, err
				}
			}
			return found(evidence.From(ctx), q.Type, rows[:Fit(rows, size)], asked), nil
		},
	})
	if err != nil {
		return Hits{}, err
	}
	hits := Hits{More: len(rows) > Fit(rows, size)}
	rows = rows[:Fit(rows, size)]
	if len(rows) > 0 {
		last := rows[len(rows)-1]
		hits.Last = store.Cursor{Created: last.Updated, ID: last.ID}
	}
	if hits.Documents, err = c.OpenAll(ctx, v.Practice, rows); err != nil {
		return Hits{}, err
	}
	for i, d := range hits.Documents {
		if !index.Found(live, rows[i], d.JSON, q.Tokens) {
			return Hits{}, c.Alarm(ctx, d, errIndexBroken)
		}
	}
	return hits, nil
}

// aimed says that a search which names no patient went for one all the same: each of its
// criteria, a number, an address or a name with birth date, has one value, and they are those of one
// patient only.
func aimed(q store.Search, rows []store.Document) bool {
	if q.Type != fhir.TypePatient || len(q.Tokens) == 0 || len(rows) != 1 {
		return false
	}
	return !slices.ContainsFunc(q.Tokens, func(alternatives [][]byte) bool { return len(alternatives) != 1 })
}

// found makes the events of a search (claim DH-16).
func found(rec *evidence.Recorder, resourceType string, rows []store.Document, asked []store.Asked) []*auditv1.Event {
	counts := map[uuid.UUID]int{}
	var order []uuid.UUID
	versions := map[uuid.UUID]int64{}
	glass := map[uuid.UUID]bool{}
	for _, row := range rows {
		if counts[row.Patient]++; counts[row.Patient] == 1 {
			order = append(order, row.Patient)
			versions[row.Patient], glass[row.Patient] = row.Version, row.Glass
		}
	}
	var events []*auditv1.Event
	for _, patient := range order {
		version := versions[patient]
		if counts[patient] > 1 || Collection(resourceType) != "" {
			version = 0 // the event is about a list
		}
		mods := []func(*auditv1.Event){evidence.Resource(Collection(resourceType), version), evidence.Count(counts[patient]), ThroughGlass(glass[patient])}
		if patient != uuid.Nil {
			mods = append(mods, evidence.Patient(patient))
		}
		events = append(events, rec.Event(mods...))
	}
	for _, a := range asked {
		if !a.Visible {
			events = append(events, rec.Event(evidence.Patient(a.Patient), evidence.Resource(Collection(resourceType), 0),
				failed(auditv1.Outcome_OUTCOME_DENIED, reasonNotOnTeam)))
		}
	}
	if len(rows) == 0 {
		// The client is answered with an empty page, and nothing leaves without an event that says so.
		events = append(events, rec.Event(evidence.Resource(Collection(resourceType), 0), evidence.Count(0)))
	}
	return events
}
