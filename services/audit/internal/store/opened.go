package store

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/ledger"
)

// ByPatient gives each the entries about patients that a filter matches and the log holds below a size, patient after patient
// and each patient's in the log's order. PostgreSQL sorts, on disk where it has to; here one entry is in memory at
// a time. The transaction lasts as long as each takes, which hinders nobody, since rows never change.
func (s *Store) ByPatient(ctx context.Context, practice uuid.UUID, f Filter, size int64, each func(ledger.Entry) error) error {
	q := f.base(practice)
	f.rest(q)
	q.and("seq < $%d", size)
	q.and("patient_id <> $%d", uuid.Nil)
	var stopped error
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT set_config('carekeep.practice', $1, true)", practice.String()); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT "+entryColumns+" FROM entries WHERE "+q.text()+" ORDER BY patient_id, seq", q.args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			e, err := scanEntry(rows)
			if err != nil {
				return err
			}
			if !f.keeps(e) {
				continue
			}
			if stopped = each(e); stopped != nil {
				return stopped
			}
		}
		return rows.Err()
	})
	if stopped != nil {
		return stopped
	}
	return failed("read entries by patient", err)
}
