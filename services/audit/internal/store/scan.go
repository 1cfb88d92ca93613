package store

import (
	"context"
	"fmt"
	"math"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/ledger"
)

const (
	// scanStep is how many rows one statement looks at where no index serves a filter.
	scanStep = 5_000
	// scanMost is how many rows one request looks at: with few matches it ends with a short
	// page, or an empty one, and the caller goes on from there.
	scanMost = 50_000
)

// window is what is left of the log to be read: numbers from low up to, not including, high.
type window struct {
	low, high int64
	forward   bool // oldest first
}

func (w window) empty() bool { return w.low >= w.high }

// passed is the window without the entries up to and including one.
func (w window) passed(seq int64) window {
	if w.forward {
		w.low = seq + 1
	} else {
		w.high = seq
	}
	return w
}

// List returns at most limit entries of a practice, newest first, that come before entry
// number before (0 or less for no bound), and where to go on: 0 at the end of the log. A
// page may be short, or empty, and not the last.
func (s *Store) List(ctx context.Context, practice uuid.UUID, f Filter, before int64, limit int) ([]ledger.Entry, int64, error) {
	w := window{high: math.MaxInt64}
	if before > 0 {
		w.high = before
	}
	var err error
	if w.low, err = s.since(ctx, f); err != nil {
		return nil, 0, failed("list entries", err)
	}
	// One more than asked for tells whether there is more.
	entries, w, err := s.scan(ctx, practice, f, w, limit+1)
	switch {
	case err != nil:
		return nil, 0, failed("list entries", err)
	case len(entries) > limit:
		return entries[:limit], entries[limit-1].Seq, nil
	case w.empty():
		return entries, 0, nil
	}
	return entries, w.high, nil
}

// From returns at most limit entries of a practice, oldest first, with numbers from one up
// to, not including, another, and where to go on. A stretch may be empty before the end.
func (s *Store) From(ctx context.Context, practice uuid.UUID, f Filter, from, end int64, limit int) ([]ledger.Entry, int64, error) {
	since, err := s.since(ctx, f)
	if err != nil {
		return nil, from, failed("read entries", err)
	}
	entries, w, err := s.scan(ctx, practice, f, window{low: max(from, since), high: end, forward: true}, limit)
	if err != nil {
		return nil, from, failed("read entries", err)
	}
	if w.empty() {
		return entries, max(from, end), nil
	}
	return entries, w.low, nil
}

// End is how many entries are in the log and signed.
func (s *Store) End(ctx context.Context) (int64, error) {
	var end int64
	err := s.pool.QueryRow(ctx, "SELECT coalesce(max(size), 0) FROM checkpoints").Scan(&end)
	return end, failed("read the end of the log", err)
}

// scan reads until it has limit entries, has looked at scanMost rows, or the window is empty.
func (s *Store) scan(ctx context.Context, practice uuid.UUID, f Filter, w window, limit int) ([]ledger.Entry, window, error) {
	var entries []ledger.Entry
	for looked := 0; looked < scanMost && !w.empty() && len(entries) < limit; looked += scanStep {
		found, rest, err := s.step(ctx, practice, f, w, limit-len(entries))
		if err != nil {
			return nil, w, err
		}
		w = rest
		for _, e := range found {
			if f.keeps(e) {
				entries = append(entries, e)
			}
		}
	}
	return entries, w, nil
}

// step reads at most limit entries of the next scanStep rows.
func (s *Store) step(ctx context.Context, practice uuid.UUID, f Filter, w window, limit int) ([]ledger.Entry, window, error) {
	order := "DESC"
	if w.forward {
		order = "ASC"
	}
	part, rest := w, w // what this step looks at, and what is left after it
	rest.low, rest.high = w.high, w.high
	all := f.base(practice)
	if f.rest(all) {
		last, err := s.farthest(ctx, practice, f, w, order)
		if err != nil {
			return nil, w, err
		}
		if last != nil {
			rest = w.passed(*last)
			if w.forward {
				part.high = *last + 1
			} else {
				part.low = *last
			}
		}
	}
	all.and("seq >= $%d", part.low)
	all.and("seq < $%d", part.high)
	all.args = append(all.args, limit)
	entries, err := readAs(ctx, s.pool, practice, scanEntry, fmt.Sprintf("SELECT %s FROM entries WHERE %s ORDER BY seq %s LIMIT $%d",
		entryColumns, all.text(), order, len(all.args)), all.args...)
	if len(entries) == limit {
		rest = w.passed(entries[limit-1].Seq)
	}
	return entries, rest, err
}

// farthest is the number of the last of the next scanStep rows, nil where there are fewer.
func (s *Store) farthest(ctx context.Context, practice uuid.UUID, f Filter, w window, order string) (*int64, error) {
	q := f.base(practice)
	q.and("seq >= $%d", w.low)
	q.and("seq < $%d", w.high)
	rows, err := readAs(ctx, s.pool, practice, pgx.RowTo[int64], fmt.Sprintf(
		"SELECT seq FROM entries WHERE %s ORDER BY seq %s OFFSET %d LIMIT 1", q.text(), order, scanStep-1), q.args...)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}
