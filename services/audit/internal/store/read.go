package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
)

// Filter narrows a list of entries; zero values match everything.
type Filter struct {
	Patient, User   uuid.UUID
	Action, Outcome int16
	From, To        time.Time // of the event; To is exclusive
}

// List returns at most limit entries of a practice, newest first, that come before
// entry number before (0 or less for no bound).
func (s *Store) List(ctx context.Context, practice uuid.UUID, f Filter, before int64, limit int) ([]ledger.Entry, error) {
	where, args := []string{"practice_id = $1"}, []any{practice}
	and := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if before > 0 {
		and("seq < $%d", before)
	}
	if f.Patient != uuid.Nil {
		and("patient_id = $%d", f.Patient)
	}
	if f.User != uuid.Nil {
		and("user_id = $%d", f.User)
	}
	if f.Action != 0 {
		and("action = $%d", f.Action)
	}
	if f.Outcome != 0 {
		and("outcome = $%d", f.Outcome)
	}
	if !f.From.IsZero() {
		and("event_time >= $%d", f.From)
	}
	if !f.To.IsZero() {
		and("event_time < $%d", f.To)
	}
	args = append(args, limit)
	sql := fmt.Sprintf("SELECT %s FROM entries WHERE %s ORDER BY seq DESC LIMIT $%d",
		entryColumns, strings.Join(where, " AND "), len(args))
	entries, err := readAs(ctx, s.pool, practice, scanEntry, sql, args...)
	return entries, failed("list entries", err)
}

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
	var x ledger.Index
	var leaf []byte
	e := &a.Entry
	e.Index, e.AppendTime = &x, new(time.Time)
	err := row.Scan(&a.Reason, &a.Risk, &a.Time, &e.Seq, &x.EventID, &x.Practice, &x.User, &x.Patient, &x.Action, &x.Outcome,
		&x.EventTime, e.AppendTime, &e.Salt, &e.Event, &leaf)
	copy(e.Leaf[:], leaf)
	a.Seq, a.Practice, a.Time = e.Seq, x.Practice, a.Time.UTC()
	return a, err
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
