package upkeep

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// buildBatch is how many documents one transaction indexes. While it runs, writers of
	// the same documents and patients wait.
	buildBatch = 32
	buildTurn  = 50
	// dropBatch is how many entries of an old generation one transaction deletes.
	dropBatch = 5000
)

// building is one turn of a build of the index. Which documents are left is read from the generation
// itself, whose place is stored with the entries: after a kill the build goes on from there.
type building struct {
	scrubbing
	generation store.Generation
}

func (u *Upkeep) unfinished(ctx context.Context, practice uuid.UUID) (*store.Generation, error) {
	var rows []store.Generation
	err := u.access.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { store.ReadGenerations(b, practice, &rows) }})
	if err != nil {
		return nil, err
	}
	for i := range rows {
		if rows[i].State != store.GenerationLive {
			return &rows[i], nil
		}
	}
	return nil, nil
}

// build gives the index of a practice a turn.
func (u *Upkeep) build(ctx context.Context, practice uuid.UUID) error {
	ctx = jobContext(ctx, practice, "BuildIndex", accessv1.Action_ACTION_UPDATE)
	var p *keys.Practice
	s := building{scrubbing: scrubbing{Upkeep: u, job: &store.Job{Practice: practice}}}
	defer func() { release(s.opened) }()
	for range buildTurn {
		g, err := u.unfinished(ctx, practice)
		if err != nil {
			return err
		}
		if g == nil {
			return nil
		}
		if g.State == store.GenerationDropping {
			var dropped bool
			err = u.access.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) {
				store.DropGeneration(b, practice, g.Number, dropBatch, &dropped)
			}})
			if err != nil {
				return err
			}
			continue
		}
		if p == nil {
			if p, err = u.keys.Practice(ctx, practice); err != nil {
				return err
			}
			s.practice = p
		}
		s.generation = *g
		if err := s.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step indexes one batch, or makes the generation the live one where nothing is left.
func (s *building) step(ctx context.Context) error {
	practice, next := s.job.Practice, s.generation
	var rows []store.Stored
	err := s.access.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.ToIndex(b, practice, index.Indexed(), next.At, buildBatch, &rows)
	}})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return s.live(ctx)
	}
	if err := s.reseals.WaitN(ctx, len(rows)); err != nil {
		return err
	}
	if err := s.need(ctx, rows); err != nil {
		return err
	}
	docs, broken, err := s.texts(ctx, rows)
	defer func() {
		for _, d := range docs {
			clear(d)
		}
	}()
	if err != nil {
		return err
	}
	next.Broken += broken
	last := rows[len(rows)-1]
	next.At, next.Done = store.Ref{Type: last.Type, ID: last.ID}, next.Done+int64(len(rows))
	return s.fill(ctx, next, rows, docs)
}

// texts opens the documents. One that does not open is found by nothing, and the
// others can be: it is reported and stays nil.
func (s *building) texts(ctx context.Context, rows []store.Stored) (docs [][]byte, broken int64, err error) {
	docs = make([][]byte, len(rows))
	for i, row := range rows {
		var failure error = errOrphan
		if key := s.opened[row.KeyID]; row.Owned && key != nil {
			docs[i], failure = openWhole(key, s.practice.Index, bindingOf(s.job.Practice, row.Document), row.Document)
		}
		if failure == nil {
			continue
		}
		broken++
		if err := s.alarm(ctx, failure, aboutDocument(row.Document)); err != nil {
			return docs, 0, err
		}
	}
	return docs, broken, nil
}

// fill stores the entries of a batch together with how far the build is.
func (s *building) fill(ctx context.Context, next store.Generation, rows []store.Stored, docs [][]byte) error {
	practice := s.job.Practice
	return s.index.Use(ctx, practice, func(generations []index.Generation) error {
		var target []index.Generation
		for _, g := range generations {
			if g.Number == next.Number {
				target = append(target, g)
			}
		}
		var entries []store.Entry
		for i, row := range rows {
			if docs[i] != nil && row.Indexed {
				entries = append(entries, store.Entry{Document: row.Document, Index: index.Entries(target, row.Document, docs[i])})
			}
		}
		var seen []store.Generation
		return s.access.Do(ctx, pg.Unit{
			Practice: practice, Alone: true,
			Queue: func(b *pgx.Batch) {
				store.FillIndex(b, practice, entries)
				store.HoldGenerations(b, practice, &seen)
				store.SaveBuild(b, practice, next)
			},
			Decide: func() ([]*auditv1.Event, error) {
				return []*auditv1.Event{evidence.From(ctx).Event(evidence.Practice(practice), evidence.Resource("index", int64(next.Number)),
					evidence.Count(len(entries)))}, index.Check(generations, seen)
			},
		})
	})
}

// live makes the generation the one that searches use.
func (s *building) live(ctx context.Context) error {
	practice, number := s.job.Practice, s.generation.Number
	return s.access.Do(ctx, pg.Unit{
		Practice: practice, Alone: true,
		Queue: func(b *pgx.Batch) { store.SwitchGenerations(b, practice, number, s.now()) },
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Practice(practice), evidence.Resource("index", int64(number)),
				evidence.Reason("FINISHED"))}, nil
		},
	})
}
