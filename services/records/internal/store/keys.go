package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// PracticeKeys are the wrapped keys that a practice has once: of its index, and
// of its directory.
type PracticeKeys struct {
	Index, Directory NewKey
}

// ReadPracticeKeys reads a practice's keys.
func ReadPracticeKeys(b *pgx.Batch, practice uuid.UUID, out *PracticeKeys, found *bool) {
	one(b, found, func(r pgx.Rows) error {
		return r.Scan(&out.Index.ID, &out.Index.Wrapped, &out.Directory.ID, &out.Directory.Wrapped)
	}, `SELECT i.key_id, i.wrapped, k.key_id, k.wrapped FROM practice_keys i
		JOIN patients p ON p.practice_id = $1 AND p.patient_id = '00000000-0000-0000-0000-000000000000'
		JOIN data_keys k ON k.practice_id = $1 AND k.key_id = p.key_id
		WHERE i.practice_id = $1`, practice)
}

// CreatePracticeKeys stores a practice's keys unless it has some.
func CreatePracticeKeys(b *pgx.Batch, practice uuid.UUID, keys PracticeKeys, now time.Time, done *bool) {
	changed(b, done, `WITH go AS (
			INSERT INTO practice_keys (practice_id, key_id, wrapped, created_at) VALUES ($1, $2, $3, $6)
			ON CONFLICT DO NOTHING RETURNING 1),
		keys AS (INSERT INTO data_keys (practice_id, key_id, patient_id, wrapped, created_at)
			SELECT $1, $4, '00000000-0000-0000-0000-000000000000', $5, $6 FROM go)
		INSERT INTO patients (practice_id, patient_id, key_id, created_at)
		SELECT $1, '00000000-0000-0000-0000-000000000000', $4, $6 FROM go RETURNING 1`,
		practice, keys.Index.ID, keys.Index.Wrapped, keys.Directory.ID, keys.Directory.Wrapped, now)
}
