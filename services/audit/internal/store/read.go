package store

import (
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
)

// Get returns one entry of a practice. Another practice's entry is not found, like
// one that does not exist.
func (s *Store) Get(ctx context.Context, practice uuid.UUID, seq int64) (ledger.Entry, error) {
	entries, err := readAs(ctx, s.pool, practice, scanEntry,
		"SELECT "+entryColumns+" FROM entries WHERE practice_id = $1 AND seq = $2", practice, seq)
	if err != nil {
		return ledger.Entry{}, failed("get entry", err)
	}
	if len(entries) == 0 {
		return ledger.Entry{}, errs.New(errs.KindNotFound, "ENTRY_NOT_FOUND", "no such entry")
	}
	return entries[0], nil
}

// AlertRow is an alert with the entry that raised it.
type AlertRow struct {
	Alert
	Entry ledger.Entry
}

// AlertKey is an alert's place in a list: newest entry first, then by reason.
type AlertKey struct {
	Seq    int64
	Reason string
}

// Alerts returns at most limit alerts of a practice, newest first, that come after the
// given one; the zero key starts at the newest.
func (s *Store) Alerts(ctx context.Context, practice uuid.UUID, after AlertKey, limit int) ([]AlertRow, error) {
	columns := "e." + strings.ReplaceAll(entryColumns, ", ", ", e.")
	rows, err := readAs(ctx, s.pool, practice, scanAlert, `
		SELECT a.reason, a.risk, a.create_time, `+columns+`
		FROM (
			SELECT * FROM alerts
			WHERE practice_id = $1 AND ($3 = '' OR (seq <= $2 AND (seq < $2 OR reason > $3)))
			ORDER BY seq DESC, reason LIMIT $4
		) AS a
		JOIN entries AS e ON e.seq = a.seq AND e.practice_id = a.practice_id
		ORDER BY a.seq DESC, a.reason`, practice, after.Seq, after.Reason, limit)
	return rows, failed("list alerts", err)
}

func scanAlert(row pgx.CollectableRow) (AlertRow, error) {
	var a AlertRow
	var r entryRow
	if err := row.Scan(append([]any{&a.Reason, &a.Risk, &a.Time}, r.targets()...)...); err != nil {
		return a, err
	}
	a.Entry = r.entry()
	a.Seq, a.Practice, a.Time = a.Entry.Seq, r.x.Practice, a.Time.UTC()
	return a, nil
}

// Checkpoint returns the smallest checkpoint, signed, that covers atLeast entries; the
// newest one for 0. It returns "" where there is none.
func (s *Store) Checkpoint(ctx context.Context, atLeast int64) (string, error) {
	sql := "SELECT note FROM checkpoints WHERE size >= $1 ORDER BY size LIMIT 1"
	if atLeast == 0 {
		sql = "SELECT note FROM checkpoints WHERE size > $1 ORDER BY size DESC LIMIT 1"
	}
	var signed string
	err := s.pool.QueryRow(ctx, sql, atLeast).Scan(&signed)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return signed, failed("read checkpoint", err)
}

// readAs runs one query that sees one practice only.
func readAs[T any](ctx context.Context, q Queryer, practice uuid.UUID, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	var out []T
	b := asPractice(practice)
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		var err error
		out, err = pgx.CollectRows(rows, scan)
		return err
	})
	if err := q.SendBatch(ctx, b).Close(); err != nil {
		return nil, err
	}
	return out, nil
}
