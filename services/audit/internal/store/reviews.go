package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/ledger"
)

// Review is an attested review of a stretch of the log.
type Review struct {
	ID, Practice, Reviewer uuid.UUID
	From, To               int64
	Root                   [32]byte
	Findings               string // sealed
	Note                   string
	Time                   time.Time
}

// AddReview inserts a review under its practice.
func (s *Store) AddReview(ctx context.Context, r Review) error {
	b := asPractice(r.Practice)
	b.Queue(`INSERT INTO log_reviews (id, practice_id, reviewer_id, from_seq, to_seq, root, findings, note, create_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, r.ID, r.Practice, r.Reviewer, r.From, r.To, r.Root[:], r.Findings, r.Note, r.Time)
	return failed("add a review", s.pool.SendBatch(ctx, b).Close())
}

// Reviews returns at most limit reviews of a practice, newest first, that come before the
// given one; uuid.Nil starts at the newest.
func (s *Store) Reviews(ctx context.Context, practice, before uuid.UUID, limit int) ([]Review, error) {
	rows, err := readAs(ctx, s.pool, practice, scanReview, `
		SELECT id, practice_id, reviewer_id, from_seq, to_seq, root, findings, note, create_time FROM log_reviews
		WHERE practice_id = $1 AND ($2 = '00000000-0000-0000-0000-000000000000'::uuid OR id < $2) ORDER BY id DESC LIMIT $3`, practice, before, limit)
	return rows, failed("list reviews", err)
}

func scanReview(row pgx.CollectableRow) (Review, error) {
	var r Review
	var root []byte
	err := row.Scan(&r.ID, &r.Practice, &r.Reviewer, &r.From, &r.To, &root, &r.Findings, &r.Note, &r.Time)
	copy(r.Root[:], root)
	r.Time = r.Time.UTC()
	return r, err
}

// Reviewed is the number up to which a practice's entries were reviewed.
func (s *Store) Reviewed(ctx context.Context, practice uuid.UUID) (int64, error) {
	rows, err := readAs(ctx, s.pool, practice, pgx.RowTo[int64], "SELECT coalesce(max(to_seq), 0) FROM log_reviews WHERE practice_id = $1", practice)
	if err != nil {
		return 0, failed("read reviews", err)
	}
	return rows[0], nil
}

// OthersActed reports whether the entries [from, to) of a practice hold one of anybody but the user.
func (s *Store) OthersActed(ctx context.Context, practice, user uuid.UUID, from, to int64) (bool, error) {
	rows, err := readAs(ctx, s.pool, practice, pgx.RowTo[bool],
		"SELECT EXISTS (SELECT FROM entries WHERE practice_id = $1 AND seq >= $2 AND seq < $3 AND user_id <> $4)", practice, from, to, user)
	if err != nil {
		return false, failed("read entries", err)
	}
	return rows[0], nil
}

// EntryFrom returns the first of the entries [from, to) of a practice, if there is one.
func (s *Store) EntryFrom(ctx context.Context, practice uuid.UUID, from, to int64) ([]ledger.Entry, error) {
	entries, _, err := s.From(ctx, practice, Filter{}, from, to, 1)
	return entries, err
}

// ReviewsDue returns the practices that have had neither a review nor an alert about that for longer than they may.
func (s *Store) ReviewsDue(ctx context.Context, now time.Time, longest time.Duration) ([]uuid.UUID, error) {
	rows, err := s.pool.Query(ctx, "SELECT reviews_due($1, $2)", now, longest)
	if err != nil {
		return nil, failed("read which reviews are due", err)
	}
	due, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	return due, failed("read which reviews are due", err)
}
