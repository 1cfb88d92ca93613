package store

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// WatchList is a practice's sealed list of marks.
type WatchList struct {
	Generation int64
	KeyID      uuid.UUID
	Wrapped    string // the data key
	Sealed     []byte
}

// ReadWatchList reads a practice's list.
func ReadWatchList(b *pgx.Batch, practice uuid.UUID, out *WatchList, found *bool) {
	*out = WatchList{}
	one(b, found, func(r pgx.Rows) error { return r.Scan(&out.Generation, &out.KeyID, &out.Wrapped, &out.Sealed) },
		`SELECT w.generation, w.key_id, coalesce(k.wrapped, ''), w.sealed FROM watch_lists w
		LEFT JOIN data_keys k ON k.practice_id = w.practice_id AND k.key_id = w.key_id WHERE w.practice_id = $1`, practice)
}

// WriteWatchList stores the next generation of a list, where the stored one is the one before.
func WriteWatchList(b *pgx.Batch, practice uuid.UUID, w WatchList, done *bool) {
	changed(b, done, `WITH seal AS (UPDATE data_keys SET seals = seals + 1
			WHERE practice_id = $1 AND key_id = $3 AND seals < 2147483648 RETURNING 1)
		INSERT INTO watch_lists AS w (practice_id, generation, key_id, sealed) SELECT $1, $2, $3, $4 FROM seal
		ON CONFLICT (practice_id) DO UPDATE SET generation = excluded.generation, key_id = excluded.key_id, sealed = excluded.sealed
		WHERE w.generation = excluded.generation - 1 RETURNING 1`, practice, w.Generation, w.KeyID, w.Sealed)
}

// QueueFreeze notes in any unit that a user's account is to be frozen. It sets the practice, for
// the unit may be of none.
func QueueFreeze(b *pgx.Batch, f Freeze, id uuid.UUID) {
	queue(b, `SELECT set_config('carekeep.practice', $1, true)`, f.Practice.String())
	queue(b, `INSERT INTO freezes (practice_id, freeze_id, user_id) VALUES ($1, $2, $3)`, f.Practice, id, f.User)
}

// Freeze is an account that is to be frozen.
type Freeze struct{ Practice, User uuid.UUID }

// DueFreezes reads what is to be done in all practices, the oldest first, for a unit of the nil practice.
func DueFreezes(b *pgx.Batch, limit int, out *[]Freeze) {
	many(b, out, func(r pgx.Rows, f *Freeze) error { return r.Scan(&f.Practice, &f.User) },
		`SELECT practice, person FROM due_freezes($1)`, limit)
}

// Reports are why an account is to be frozen.
type Reports struct {
	Due []uuid.UUID
	// Stored counts those of the given ids that have committed, done or not.
	Stored int
}

// ReadReports reads what is to be done about a user, the oldest first, and whether the given reports are there.
func ReadReports(b *pgx.Batch, f Freeze, ids []uuid.UUID, limit int, out *Reports) {
	*out = Reports{}
	many(b, &out.Due, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) },
		`SELECT freeze_id FROM freezes WHERE practice_id = $1 AND user_id = $2 AND done_at IS NULL ORDER BY freeze_id LIMIT $3`,
		f.Practice, f.User, limit)
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(&out.Stored) },
		`SELECT count(*) FROM freezes WHERE practice_id = $1 AND user_id = $2 AND freeze_id = ANY($3)`, f.Practice, f.User, ids)
}

// EndFreeze notes that a user's account was frozen for the reports.
func EndFreeze(b *pgx.Batch, f Freeze, reports []uuid.UUID) {
	queue(b, `UPDATE freezes SET done_at = statement_timestamp()
		WHERE practice_id = $1 AND user_id = $2 AND freeze_id = ANY($3) AND done_at IS NULL`, f.Practice, f.User, reports)
}
