package upkeep

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// restStep opens a batch of what is sealed and is no document: matters of holds, rights rows, reasons of openings
// and referrals, the marks.
func (s *scrubbing) restStep(ctx context.Context, at *store.Place) (n, broken int, err error) {
	var rows []store.Stored
	err = s.access.Do(ctx, pg.Unit{Practice: s.job.Practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.WalkRest(b, s.job.Practice, *at, scrubBatch, &rows)
	}})
	if err != nil {
		return 0, 0, err
	}
	if len(rows) == 0 {
		*at = store.Place{Phase: at.Phase + 1}
		return 0, 0, nil
	}
	if err := s.scrubs.WaitN(ctx, len(rows)); err != nil {
		return 0, 0, err
	}
	if err := s.need(ctx, rows); err != nil {
		return 0, 0, err
	}
	for _, row := range rows {
		failure := s.judgeOther(row, s.opened[row.KeyID])
		if failure == nil {
			continue
		}
		broken++
		if err := s.alarm(ctx, failure, aboutOther(row.Document)); err != nil {
			return 0, 0, err
		}
	}
	last := rows[len(rows)-1]
	at.Patient, at.Type, at.ID, at.Version = last.Patient, last.Type, last.ID, last.Version
	return len(rows), broken, nil
}

// judgeOther says what is wrong with such a row, nil where nothing is.
func (s *scrubbing) judgeOther(row store.Stored, key *envelope.Key) error {
	if !row.Owned || key == nil {
		return errOrphan
	}
	plain, err := openOther(key, s.practice.Index, bindingOf(s.job.Practice, row.Document), row.Document)
	clear(plain)
	return err
}
