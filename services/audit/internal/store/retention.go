package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
)

// Retention is how long entries are kept. The database takes the law's where it is more: seven
// calendar years, or 2,555 days where those are longer, and 365 days for security events.
type Retention struct{ EntryYears, EventDays int }

// Due is how many entries of a class were appended before a cut-off, and how many of them nothing spares.
type Due struct {
	Class     ledger.Class
	Cutoff    time.Time
	Due, Free int64
}

// CountDue counts what is due now by the database's clock.
func (s *Store) CountDue(ctx context.Context, class ledger.Class, r Retention) (Due, error) {
	d := Due{Class: class}
	err := s.pool.QueryRow(ctx, "SELECT cutoff, due, free FROM count_due($1, $2, $3)", string(class), r.EntryYears, r.EventDays).Scan(&d.Cutoff, &d.Due, &d.Free)
	d.Cutoff = d.Cutoff.UTC()
	return d, failed("count what is due", err)
}

// Cutoff is the moment before which entries of a class are due.
func (s *Store) Cutoff(ctx context.Context, class ledger.Class, r Retention) (time.Time, error) {
	var at time.Time
	err := s.pool.QueryRow(ctx, "SELECT retention_cutoff($1, $2, $3)", string(class), r.EntryYears, r.EventDays).Scan(&at)
	return at.UTC(), failed("read the cut-off", err)
}

// Batch is what one announcement lets go.
type Batch struct {
	Seqs   []int64
	Leaves []tlog.Hash
	Next   *int64 // where to go on; nil at the end
}

// NextBatch returns at most so many entries that may go, with numbers from one on. It may be
// empty before the end.
func (s *Store) NextBatch(ctx context.Context, class ledger.Class, cutoff time.Time, first int64, most int) (Batch, error) {
	var b Batch
	var raw [][]byte
	err := s.pool.QueryRow(ctx, "SELECT seqs, leaves, next FROM next_batch($1, $2, $3, $4)", string(class), cutoff, first, most).Scan(&b.Seqs, &raw, &b.Next)
	b.Leaves = make([]tlog.Hash, len(raw))
	for i := range raw {
		copy(b.Leaves[i][:], raw[i])
	}
	return b, failed("look for what is due", err)
}

// Stored returns entries by their numbers, in order, with their columns, of all practices; without those that are not there.
// They are at most a batch, which is held in memory.
func (s *Store) Stored(ctx context.Context, seqs []int64) ([]ledger.Entry, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	rows, err := s.pool.Query(ctx, "SELECT DISTINCT practice_id FROM leaves($1, $2) WHERE seq = ANY ($3)", seqs[0], seqs[len(seqs)-1]+1, seqs)
	if err != nil {
		return nil, failed("read what is due", err)
	}
	practices, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, failed("read what is due", err)
	}
	var entries []ledger.Entry
	for _, practice := range practices {
		own, err := readAs(ctx, s.pool, practice, scanEntry, "SELECT "+entryColumns+" FROM entries WHERE practice_id = $1 AND seq = ANY ($2)", practice, seqs)
		if err != nil {
			return nil, failed("read what is due", err)
		}
		entries = append(entries, own...)
	}
	slices.SortFunc(entries, func(a, b ledger.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return entries, nil
}

// ErrBatchChanged says that what was announced is not what may go now: a hold came, or somebody else was faster.
var ErrBatchChanged = errors.New("what was announced may not go any more")

// LetGo deletes what an event of the log announced, all of it or nothing, and returns how many entries that were.
func (s *Store) LetGo(ctx context.Context, announcement uuid.UUID) (int64, error) {
	var n int64
	err := s.pool.QueryRow(ctx, "SELECT let_go_of($1)", announcement).Scan(&n)
	if code(err) == "CK003" {
		return 0, ErrBatchChanged
	}
	return n, failed("delete what retention let go", err)
}

// EmptyMonths returns the first days of old months of which no row is left.
func (s *Store) EmptyMonths(ctx context.Context) ([]time.Time, error) {
	rows, err := s.pool.Query(ctx, "SELECT empty_months()")
	if err != nil {
		return nil, failed("look for empty months", err)
	}
	months, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	return months, failed("look for empty months", err)
}

// DropMonth drops the partition of such a month; false where that has to wait for another day, because
// somebody reads or a row came.
func (s *Store) DropMonth(ctx context.Context, month time.Time) (bool, error) {
	var done bool
	err := s.pool.QueryRow(ctx, "SELECT drop_month($1)", month).Scan(&done)
	if code(err) == "55P03" {
		return false, nil
	}
	return done, failed("drop the partition of a month", err)
}

// Retaining runs one run of retention at a time in all replicas; false where there is one already.
func (s *Store) Retaining(ctx context.Context, run func() error) (bool, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, failed("take the lock of retention", err)
	}
	defer conn.Release()
	const key = "hashtextextended('carekeep.audit.retention.run', 0)"
	var taken bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock("+key+")").Scan(&taken); err != nil || !taken {
		return false, failed("take the lock of retention", err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, err := conn.Exec(end, "SELECT pg_advisory_unlock("+key+")"); err != nil {
			_ = conn.Conn().Close(end) // the lock goes with the connection, which the pool then drops
		}
	}()
	return true, run()
}

// LogHold keeps entries of a practice, or with the nil practice all, from being let go.
type LogHold struct {
	ID, Practice         uuid.UUID
	Reference            string
	PlacedBy, ReleasedBy uuid.UUID // ReleasedBy is nil while the hold lasts
	Placed               time.Time
	Released             *time.Time
}

// PlaceLogHold keeps a hold.
func (s *Store) PlaceLogHold(ctx context.Context, h LogHold, record Record) error {
	return s.addLogHold(ctx, h, false, h.PlacedBy, h.Placed, record)
}

// ReleaseLogHold ends a hold: HOLD_SAME_PERSON and HOLD_RELEASED say why not.
func (s *Store) ReleaseLogHold(ctx context.Context, h LogHold, record Record) error {
	return s.addLogHold(ctx, h, true, h.ReleasedBy, *h.Released, record)
}

func (s *Store) addLogHold(ctx context.Context, h LogHold, released bool, by uuid.UUID, at time.Time, record Record) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO log_holds (hold_id, released, practice_id, reference, user_id, create_time) VALUES ($1, $2, $3, $4, $5, $6)",
			h.ID, released, h.Practice, h.Reference, by, at)
		if err != nil {
			return err
		}
		return record(ctx)
	})
	switch code(err) {
	case "CK005":
		return errs.New(errs.KindPrecondition, "HOLD_SAME_PERSON", "A hold is released by another person than placed it.")
	case "23505":
		return errs.New(errs.KindPrecondition, "HOLD_RELEASED", "This hold is released already.")
	}
	return changed("keep a hold on the log", err)
}

const selectHolds = `
	SELECT p.hold_id, p.practice_id, p.reference, p.user_id, coalesce(r.user_id, '00000000-0000-0000-0000-000000000000'), p.create_time, r.create_time
	FROM log_holds p LEFT JOIN log_holds r ON r.hold_id = p.hold_id AND r.released WHERE NOT p.released`

func scanHold(row pgx.CollectableRow) (LogHold, error) {
	var h LogHold
	err := row.Scan(&h.ID, &h.Practice, &h.Reference, &h.PlacedBy, &h.ReleasedBy, &h.Placed, &h.Released)
	return h, err
}

// LogHold returns a hold, or HOLD_NOT_FOUND.
func (s *Store) LogHold(ctx context.Context, id uuid.UUID) (LogHold, error) {
	rows, err := s.pool.Query(ctx, selectHolds+" AND p.hold_id = $1", id)
	if err != nil {
		return LogHold{}, failed("read a hold on the log", err)
	}
	h, err := pgx.CollectExactlyOneRow(rows, scanHold)
	if errors.Is(err, pgx.ErrNoRows) {
		return LogHold{}, errs.New(errs.KindNotFound, "HOLD_NOT_FOUND", "There is no such hold on the log.")
	}
	return h, failed("read a hold on the log", err)
}

// LogHolds returns the newest holds, released ones too.
func (s *Store) LogHolds(ctx context.Context, most int) ([]LogHold, error) {
	rows, err := s.pool.Query(ctx, selectHolds+" ORDER BY p.hold_id DESC LIMIT $1", most)
	if err != nil {
		return nil, failed("list holds on the log", err)
	}
	list, err := pgx.CollectRows(rows, scanHold)
	return list, failed("list holds on the log", err)
}

// code is the SQLSTATE of an error, "" where it has none.
func code(err error) string {
	if pgErr := new(pgconn.PgError); errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
