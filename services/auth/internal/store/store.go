// Package store holds the SQL of auth. A Tx collects the statements of one
// operation in one practice; they go to the database in one round trip and
// commit together with the audit events that the operation decides on. It makes
// no decisions itself: rules live in the packages of the operations.
package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/pg"
)

// Platform is the practice of superadmins: none.
var Platform = uuid.Nil

// Accessor commits a unit; *pg.Access does.
type Accessor interface {
	Do(ctx context.Context, u pg.Unit) error
}

// Store begins transactions.
type Store struct {
	access Accessor
	now    func() time.Time
}

// New makes a store. Where now is nil the database's clock counts, so that all
// replicas measure idle times and limits with one clock; tests inject theirs.
func New(access Accessor, now func() time.Time) *Store { return &Store{access: access, now: now} }

// Tx collects statements. It is used once: Do ends it.
type Tx struct {
	store    *Store
	practice uuid.UUID
	steps    []func(*pgx.Batch)
	// alone: the statements wait for locks, and must not hold up or deadlock with
	// other operations that share a commit.
	alone bool
}

// In begins a transaction that sees the rows of one practice.
func (s *Store) In(practice uuid.UUID) *Tx { return &Tx{store: s, practice: practice} }

// Do runs what was collected. Decide sees the results; its error rolls everything
// back, its events commit with everything. Only then does Do return.
func (t *Tx) Do(ctx context.Context, decide func() ([]*auditv1.Event, error)) error {
	return t.store.access.Do(ctx, pg.Unit{
		Practice: t.practice,
		Alone:    t.alone,
		Queue: func(b *pgx.Batch) {
			for _, step := range t.steps {
				step(b)
			}
		},
		Decide: decide,
	})
}

// Read runs what was collected without events of its own.
func (t *Tx) Read(ctx context.Context) error {
	return t.Do(ctx, func() ([]*auditv1.Event, error) { return nil, nil })
}

// at is the injected time, or NULL: statements write coalesce($n, clock_timestamp()).
func (t *Tx) at() *time.Time {
	if t.store.now == nil {
		return nil
	}
	now := t.store.now()
	return &now
}

// Rows is the result of a statement, there once the transaction was sent.
type Rows[T any] struct{ list []T }

// All returns every row.
func (r *Rows[T]) All() []T { return r.list }

// One returns the first row, and whether there is one.
func (r *Rows[T]) One() (T, bool) {
	var none T
	if len(r.list) == 0 {
		return none, false
	}
	return r.list[0], true
}

// Found reports whether there is a row.
func (r *Rows[T]) Found() bool { return len(r.list) > 0 }

// query adds a statement whose rows become values of T, column by column.
func query[T any](t *Tx, sql string, args ...any) *Rows[T] {
	return collect(t, pgx.RowToStructByPos[T], sql, args...)
}

// scalars adds a statement with one column.
func scalars[T any](t *Tx, sql string, args ...any) *Rows[T] {
	return collect(t, pgx.RowTo[T], sql, args...)
}

func collect[T any](t *Tx, scan pgx.RowToFunc[T], sql string, args ...any) *Rows[T] {
	result := &Rows[T]{}
	t.steps = append(t.steps, func(b *pgx.Batch) {
		result.list = nil // the unit may be sent again
		b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
			list, err := pgx.CollectRows(rows, scan)
			result.list = list
			return err
		})
	})
	return result
}

// exec adds a statement without a result.
func (t *Tx) exec(sql string, args ...any) {
	t.steps = append(t.steps, func(b *pgx.Batch) { b.Queue(sql, args...) })
}
