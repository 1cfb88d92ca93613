// Package store is the audit database: what the appender writes in one
// transaction, what readers see of it under row-level security, and the rows of the
// registers. It decides nothing about events, trees or signatures.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carekeep/carekeep/libs/errs"
)

// Store reads the log for callers, each query under one practice.
type Store struct{ pool *pgxpool.Pool }

// New returns a store over the service's own pool.
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }

// Ready says whether the database answers.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.pool.Ping(ctx); err != nil {
		return fmt.Errorf("audit database: %w", err)
	}
	return nil
}

// Queryer is a connection, pool or transaction.
type Queryer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Alert is an entry that somebody should look at.
type Alert struct {
	Seq      int64
	Reason   string
	Practice uuid.UUID
	Risk     int16
	Time     time.Time
}

// asPractice starts a batch that sees one practice only. A batch without BEGIN is
// one implicit transaction, so the setting ends with it.
func asPractice(practice uuid.UUID) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue("SELECT set_config('carekeep.practice', $1, true)", practice.String())
	return b
}

// failed turns a database error into one that clients may see.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if pgErr := new(pgconn.PgError); errors.As(err, &pgErr) && !transient(pgErr.Code) {
		return err
	}
	return errs.Wrap(err, errs.KindUnavailable, "AUDIT_STORE_UNAVAILABLE", "the audit store cannot be reached now")
}

// transient reports whether an error class says nothing about the query: connection
// (08), resources (53), operator intervention (57), system (58).
func transient(code string) bool {
	if len(code) < 2 {
		return false
	}
	switch code[:2] {
	case "08", "53", "57", "58":
		return true
	}
	return false
}
