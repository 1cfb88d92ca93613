package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// KeyVersion is a version of a practice's key since the first rotation. Times
// that have not come are zero.
type KeyVersion struct {
	Version                     int
	Rotated, Rewrapped, Trimmed time.Time
}

// LockVersions makes who notes a version and who ends a rewrap wait for each other: the rewrap goes on, or another begins.
func LockVersions(b *pgx.Batch, practice uuid.UUID) {
	queue(b, `SELECT pg_advisory_xact_lock(hashtextextended('carekeep.versions.' || $1::uuid, 0))`, practice)
}

// AddKeyVersion notes a version; one that is noted stays as it is.
func AddKeyVersion(b *pgx.Batch, practice uuid.UUID, version int, rotated time.Time, done *bool) {
	changed(b, done, `INSERT INTO practice_key_versions (practice_id, version, rotated_at) VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING RETURNING 1`, practice, version, rotated)
}

// ReadKeyVersions reads the noted versions, oldest first.
func ReadKeyVersions(b *pgx.Batch, practice uuid.UUID, out *[]KeyVersion) {
	many(b, out, func(r pgx.Rows, v *KeyVersion) error {
		var rewrapped, trimmed *time.Time
		err := r.Scan(&v.Version, &v.Rotated, &rewrapped, &trimmed)
		if rewrapped != nil {
			v.Rewrapped = *rewrapped
		}
		if trimmed != nil {
			v.Trimmed = *trimmed
		}
		return err
	}, `SELECT version, rotated_at, rewrapped_at, trimmed_at FROM practice_key_versions WHERE practice_id = $1 ORDER BY version`, practice)
}

// MarkRewrapped notes that nothing is wrapped under an older version.
func MarkRewrapped(b *pgx.Batch, practice uuid.UUID, version int, now time.Time) {
	queue(b, `UPDATE practice_key_versions SET rewrapped_at = $3
		WHERE practice_id = $1 AND version <= $2 AND rewrapped_at IS NULL`, practice, version, now)
}

// NewestVersion reads the newest version that is noted, 1 where none is.
func NewestVersion(b *pgx.Batch, practice uuid.UUID, out *int) {
	queue(b, `SELECT coalesce(max(version), 1) FROM practice_key_versions WHERE practice_id = $1`, practice).
		QueryRow(func(r pgx.Row) error { return r.Scan(out) })
}

// MarkTrimmed notes that all older versions are destroyed.
func MarkTrimmed(b *pgx.Batch, practice uuid.UUID, version int, now time.Time) {
	queue(b, `UPDATE practice_key_versions SET trimmed_at = $3
		WHERE practice_id = $1 AND version <= $2 AND trimmed_at IS NULL`, practice, version, now)
}

// OldWraps reads keys that are wrapped under older versions than below, by id, behind one.
func OldWraps(b *pgx.Batch, practice uuid.UUID, below int, behind uuid.UUID, limit int, out *[]NewKey) {
	many(b, out, func(r pgx.Rows, k *NewKey) error { return r.Scan(&k.ID, &k.Wrapped) },
		`SELECT key_id, wrapped FROM old_wraps($1, $2, $3, $4) ORDER BY key_id LIMIT $4`, practice, below, behind, limit)
}

// Rewrap stores keys wrapped anew, each where it is still wrapped as before.
func Rewrap(b *pgx.Batch, practice uuid.UUID, keys []NewKey, wrapped []string, stored *int64) {
	ids, old := make([]uuid.UUID, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		ids[i], old[i] = k.ID, k.Wrapped
	}
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(stored) }, `SELECT rewrap($1, $2, $3, $4)`, practice, ids, old, wrapped)
}

// WrapCount is how many keys are wrapped under a version.
type WrapCount struct {
	Version int
	Keys    int64
}

// CountWraps counts a practice's wrapped keys by version.
func CountWraps(b *pgx.Batch, practice uuid.UUID, out *[]WrapCount) {
	many(b, out, func(r pgx.Rows, c *WrapCount) error { return r.Scan(&c.Version, &c.Keys) },
		`SELECT coalesce(substring(wrapped FROM '^vault:v([0-9]{1,9}):')::integer, 0), count(*)
		FROM (SELECT wrapped FROM data_keys WHERE practice_id = $1
			UNION ALL SELECT wrapped FROM practice_keys WHERE practice_id = $1
			UNION ALL SELECT wrapped FROM index_generations WHERE practice_id = $1 AND wrapped IS NOT NULL) w GROUP BY 1 ORDER BY 1`, practice)
}

// DataKeyFigures sums a practice's data keys up.
type DataKeyFigures struct {
	Keys, MostSeals, Due int64
	Oldest               *time.Time
}

// ReadDataKeyFigures counts the keys for new documents that were made before cutoff, or sealed
// as much as seals, as due.
func ReadDataKeyFigures(b *pgx.Batch, practice uuid.UUID, cutoff time.Time, seals int64, out *DataKeyFigures) {
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(&out.Keys, &out.MostSeals, &out.Oldest, &out.Due) },
		`SELECT count(*), coalesce(max(k.seals), 0), min(k.created_at),
			count(*) FILTER (WHERE p.key_id IS NOT NULL AND (k.created_at < $2 OR k.seals >= $3))
		FROM data_keys k LEFT JOIN patients p ON p.practice_id = $1 AND p.patient_id = k.patient_id AND p.key_id = k.key_id
		WHERE k.practice_id = $1`, practice, cutoff, seals)
}

// DataKey is a data key as it is stored; Current where it is the one for new documents.
type DataKey struct {
	ID, Patient uuid.UUID
	Wrapped     string
	Current     bool
}

func scanDataKey(r pgx.Rows, k *DataKey) error {
	return r.Scan(&k.ID, &k.Patient, &k.Wrapped, &k.Current)
}

const dataKeys = `SELECT k.key_id, k.patient_id, k.wrapped, p.key_id IS NOT NULL
	FROM data_keys k LEFT JOIN patients p ON p.practice_id = $1 AND p.patient_id = k.patient_id AND p.key_id = k.key_id
	WHERE k.practice_id = $1 AND `

// DueDataKeys reads keys for new documents that were made before cutoff, or sealed as much as seals.
func DueDataKeys(b *pgx.Batch, practice uuid.UUID, cutoff time.Time, seals int64, limit int, out *[]DataKey) {
	many(b, out, scanDataKey, dataKeys+`p.key_id IS NOT NULL AND (k.created_at < $2 OR k.seals >= $3) LIMIT $4`,
		practice, cutoff, seals, limit)
}

// ReadDataKey reads a data key, and the one for new documents of the same patient.
func ReadDataKey(b *pgx.Batch, practice, id uuid.UUID, out, current *DataKey, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanDataKey(r, out) }, dataKeys+`k.key_id = $2`, practice, id)
	var known bool
	one(b, &known, func(r pgx.Rows) error { return scanDataKey(r, current) }, dataKeys+`p.key_id IS NOT NULL
		AND k.patient_id = (SELECT patient_id FROM data_keys WHERE practice_id = $1 AND key_id = $2)`, practice, id)
}

// ReadCurrentKey reads the key for new documents of a patient, or of the nil patient's directory.
func ReadCurrentKey(b *pgx.Batch, practice, patient uuid.UUID, out *DataKey, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanDataKey(r, out) },
		dataKeys+`p.key_id IS NOT NULL AND k.patient_id = $2`, practice, patient)
}

// ReplaceDataKey stores a new key for a patient's new documents, where old is the one so far.
func ReplaceDataKey(b *pgx.Batch, practice, patient, old uuid.UUID, fresh NewKey, now time.Time, done *bool) {
	queue(b, `INSERT INTO data_keys (practice_id, key_id, patient_id, wrapped, created_at) VALUES ($1, $2, $3, $4, $5)`,
		practice, fresh.ID, patient, fresh.Wrapped, now)
	*done = false
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(done) }, `SELECT replace_data_key($1, $2, $3, $4)`, practice, patient, old, fresh.ID)
}

// DropDataKey deletes a key that nothing is sealed with any more.
func DropDataKey(b *pgx.Batch, practice, key uuid.UUID, done *bool) {
	*done = false
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(done) }, `SELECT drop_data_key($1, $2)`, practice, key)
}

// Debt is what erasures ask of a practice's key: versions under which copies of erased keys are wrapped, in
// backups, are to be destroyed. Times that are zero ask for nothing.
type Debt struct {
	// Unrotated is when the first erasure was that no version of the key is young enough for.
	Unrotated time.Time
	// Untrimmed are the first erasures by the version whose predecessors are to be destroyed, where they are not.
	Untrimmed []Owed
}

// Owed is when the first erasure was that a version is for.
type Owed struct {
	Version int
	Since   time.Time
}

// ReadDebt reads it.
func ReadDebt(b *pgx.Batch, practice uuid.UUID, out *Debt) {
	*out = Debt{}
	queue(b, `SELECT min(decided_at) FROM erasures WHERE practice_id = $1 AND state = 3 AND coalesce(key_version, 0) NOT BETWEEN 1 AND
			coalesce((SELECT max(version) FROM practice_key_versions WHERE practice_id = $1), 1)`, practice).
		QueryRow(func(r pgx.Row) error {
			var first *time.Time
			err := r.Scan(&first)
			out.Unrotated = instant(first)
			return err
		})
	many(b, &out.Untrimmed, func(r pgx.Rows, o *Owed) error { return r.Scan(&o.Version, &o.Since) },
		`SELECT key_version, min(decided_at) FROM erasures WHERE practice_id = $1 AND state = 3 AND key_version >
			coalesce((SELECT max(version) FROM practice_key_versions WHERE practice_id = $1 AND trimmed_at IS NOT NULL), 1)
		GROUP BY 1 ORDER BY 1`, practice)
}

// TakeErasures notes that erasures that no version of the key covers are about to be covered.
func TakeErasures(b *pgx.Batch, practice uuid.UUID) {
	queue(b, `UPDATE erasures SET key_version = 0 WHERE practice_id = $1 AND state = 3 AND key_version IS NULL`, practice)
}

// CoverErasures notes which version covers those that were taken.
func CoverErasures(b *pgx.Batch, practice uuid.UUID, version int) {
	queue(b, `UPDATE erasures SET key_version = $2 WHERE practice_id = $1 AND state = 3 AND key_version = 0`, practice, version)
}
