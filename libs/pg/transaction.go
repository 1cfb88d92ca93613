package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// outcome is how an attempt to commit a group ended.
type outcome int

const (
	committed outcome = iota
	refused           // rolled back: a unit or the database said no
	lost              // the connection failed before COMMIT was sent: nothing was kept
	unknown           // the connection failed after COMMIT was sent
)

const (
	beginSQL = "begin isolation level read committed"
	// The setting is local to the transaction; the next unit of another practice overwrites it.
	practiceSQL = "select set_config('carekeep.practice', $1, true)"
	commitSQL   = "commit"
)

// transaction runs groups, one at a time, in two round trips each. Its slices
// are used again and again.
type transaction struct {
	pool  *pgxpool.Pool
	opts  Options
	batch pgx.Batch
	order []*request // units with statements, as queued
	begun int        // how many of them had a statement sent whose result was looked at
	all   []*auditv1.Event
}

func newTransaction(pool *pgxpool.Pool, opts Options) *transaction {
	return &transaction{pool: pool, opts: opts}
}

// queue adds the statements of a unit, and a mark on the first of them: results are
// read in order, so the last unit that was marked is the one that failed.
func (t *transaction) queue(r *request) {
	from := len(t.batch.QueuedQueries)
	r.unit.Queue(&t.batch)
	if len(t.batch.QueuedQueries) == from {
		return
	}
	t.order = append(t.order, r)
	first := t.batch.QueuedQueries[from]
	read := first.Fn
	first.Fn = func(br pgx.BatchResults) error {
		t.begun++
		if read != nil {
			return read(br)
		}
		_, err := br.Exec()
		return err
	}
}

// guarded is attempt for a goroutine that serves many callers: a panic in the
// functions of one unit sends all of them to run alone, where it is its owner's.
func (t *transaction) guarded(ctx context.Context, group []*request) (out outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = lost, fmt.Errorf("panic in a unit: %T", p)
		}
	}()
	return t.attempt(ctx, group)
}

// attempt runs the group once. After refused, the units at fault are marked
// culprits where they are known.
func (t *transaction) attempt(ctx context.Context, group []*request) (outcome, error) {
	defer t.reset()
	for _, r := range group {
		r.culprit, r.events = false, nil
	}
	conn, err := t.pool.Acquire(ctx)
	if err != nil {
		return lost, err
	}
	// Release destroys a connection that is not idle, say after a panic.
	defer conn.Release()

	if out, err := t.statements(ctx, conn, group); out != committed {
		return out, err
	}
	if err := t.decide(group); err != nil {
		return t.rollback(ctx, conn), err
	}
	return t.commit(ctx, conn)
}

// reset lets go of arguments and results: an idle worker holds no patient data.
func (t *transaction) reset() {
	t.emptyBatch()
	clear(t.order)
	t.order = t.order[:0]
	clear(t.all)
	t.all = t.all[:0]
	t.begun = 0
}

func (t *transaction) emptyBatch() {
	clear(t.batch.QueuedQueries)
	t.batch.QueuedQueries = t.batch.QueuedQueries[:0]
}

// statements is the first round trip. It stays out where no unit has any.
func (t *transaction) statements(ctx context.Context, conn *pgxpool.Conn, group []*request) (outcome, error) {
	t.batch.Queue(beginSQL)
	var set *uuid.UUID
	for _, r := range group {
		if r.unit.Queue == nil {
			continue
		}
		if practice := &r.unit.Practice; set == nil || *set != *practice {
			t.batch.Queue(practiceSQL, practice.String())
			set = practice
		}
		t.queue(r)
	}
	if len(t.order) == 0 {
		return committed, nil // the begin goes with the events
	}
	err := conn.SendBatch(ctx, &t.batch).Close()
	if err == nil {
		t.emptyBatch()
		return committed, nil
	}
	if conn.Conn().IsClosed() {
		t.dropOthers(ctx)
		return lost, err
	}
	if t.begun > 0 {
		t.order[t.begun-1].culprit = true
	}
	return t.rollback(ctx, conn), fmt.Errorf("statement: %w", err)
}

func (t *transaction) decide(group []*request) error {
	var first error
	for _, r := range group {
		if r.unit.Decide == nil {
			continue
		}
		events, err := r.unit.Decide()
		if err != nil {
			r.culprit = true
			if first == nil {
				first = err
			}
			continue
		}
		if t.opts.Inspect != nil && len(events) > 0 {
			t.opts.Inspect(r.ctx, events, &t.batch)
		}
		r.events = events
		t.all = append(t.all, events...)
	}
	return first
}

// commit is the second round trip: events and COMMIT. It goes on when the
// caller has left, for a commit that is under way cannot be taken back.
func (t *transaction) commit(ctx context.Context, conn *pgxpool.Conn) (outcome, error) {
	if len(t.all) == 0 {
		if len(t.batch.QueuedQueries) > 0 {
			return committed, nil // no statements, no events: nothing to commit
		}
		return t.send(ctx, conn)
	}
	ended := t.opts.Append(&t.batch, t.all)
	out, err := t.send(ctx, conn)
	if out != unknown {
		ended(out == committed)
	}
	if out == committed && t.opts.Committed != nil {
		t.opts.Committed()
	}
	return out, err
}

// send sends what is queued, and COMMIT.
func (t *transaction) send(ctx context.Context, conn *pgxpool.Conn) (outcome, error) {
	var tag pgconn.CommandTag
	t.batch.Queue(commitSQL).Exec(func(ct pgconn.CommandTag) error { tag = ct; return nil })

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.opts.Timeout)
	defer cancel()
	err := conn.SendBatch(ctx, &t.batch).Close()
	var sql *pgconn.PgError
	switch {
	case err == nil && tag.String() == "COMMIT":
		return committed, nil
	case err == nil:
		return t.rollback(ctx, conn), fmt.Errorf("commit answered %q", tag)
	case conn.Conn().IsClosed():
		t.dropOthers(ctx)
		return unknown, err
	case errors.As(err, &sql):
		return t.rollback(ctx, conn), fmt.Errorf("commit: %w", err)
	default:
		return unknown, err // the server is content, and only reading its answer failed
	}
}

// rollback leaves the connection fit for use, or closed.
func (t *transaction) rollback(ctx context.Context, conn *pgxpool.Conn) outcome {
	if conn.Conn().PgConn().TxStatus() == 'I' {
		return refused
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.opts.Timeout)
	defer cancel()
	// If this fails Release destroys the connection, and the server rolls back.
	_, _ = conn.Exec(ctx, "rollback")
	return refused
}

// dropOthers empties the pool when the server went away, so that the next
// attempt does not meet another dead connection. A timeout of ours is no reason.
func (t *transaction) dropOthers(ctx context.Context) {
	if ctx.Err() == nil {
		t.pool.Reset()
	}
}

// transient errors are worth another attempt at once: they come from meeting
// other transactions, not from the unit.
func transient(err error) bool {
	var sql *pgconn.PgError
	return errors.As(err, &sql) && (sql.Code == "40001" || sql.Code == "40P01")
}
