package store

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Exit is how far a practice's leaving is.
type Exit struct {
	ID                 uuid.UUID
	State              int16
	RequestedBy        uuid.UUID
	Requested          time.Time
	ApprovedBy         uuid.UUID
	Approved, Exported time.Time
	ManifestDigest     string
	// Versions is how many versions of documents and rights rows the newest export has.
	Versions    int64
	Certificate string
}

// LockExit reads the exit for a change in the same transaction.
func LockExit(b *pgx.Batch, practice uuid.UUID, out *Exit, found *bool) {
	one(b, found, func(r pgx.Rows) error {
		return r.Scan(&out.ID, &out.State, &out.RequestedBy, &out.Requested, &out.ApprovedBy, &out.Approved, &out.Exported, &out.ManifestDigest, &out.Certificate, &out.Versions)
	}, `SELECT exit_id, state, requested_by, requested_at, coalesce(approved_by, '00000000-0000-0000-0000-000000000000'),
			coalesce(approved_at, 'epoch'), coalesce(exported_at, 'epoch'), manifest_digest, certificate, exported_versions
		FROM practice_exits WHERE practice_id = $1 FOR UPDATE`, practice)
}

// RequestExit begins an exit, unless one is under way.
func RequestExit(b *pgx.Batch, practice uuid.UUID, e Exit, done *bool) {
	changed(b, done, `INSERT INTO practice_exits AS x (practice_id, exit_id, state, requested_by, requested_at) VALUES ($1, $2, 1, $3, $4)
		ON CONFLICT (practice_id) DO UPDATE SET exit_id = excluded.exit_id, state = 1, requested_by = excluded.requested_by,
			requested_at = excluded.requested_at, approved_by = NULL, approved_at = NULL, exported_at = NULL, manifest_digest = ''
		WHERE x.state = 6 RETURNING 1`, practice, e.ID, e.RequestedBy, e.Requested)
}

// MoveExit stores the next state, if the exit is still in the one before.
func MoveExit(b *pgx.Batch, practice uuid.UUID, e Exit, from int16, done *bool) {
	changed(b, done, `UPDATE practice_exits SET state = $4, approved_by = nullif($5, '00000000-0000-0000-0000-000000000000'::uuid),
			approved_at = $6, exported_at = $7, manifest_digest = $8, certificate = $9, exported_versions = $10
		WHERE practice_id = $1 AND exit_id = $2 AND state = $3 RETURNING 1`,
		practice, e.ID, from, e.State, e.ApprovedBy, e.Approved, e.Exported, e.ManifestDigest, e.Certificate, e.Versions)
}

// LockPractice makes holds of a practice wait, and is what they take; it waits for all writes that are under way, and
// those that come after it see what it decided.
func LockPractice(b *pgx.Batch, practice uuid.UUID) {
	queue(b, `SELECT pg_advisory_xact_lock(hashtextextended('carekeep.exit.' || $1::uuid, 0))`, practice)
	queue(b, `SELECT pg_advisory_xact_lock(hashtextextended('carekeep.hold.' || $1::uuid, 0))`, practice)
}

// Unready says what speaks against a practice's destruction: a hold that stands, or versions that
// were stored since a moment or are not as many as the export has.
func Unready(b *pgx.Batch, practice uuid.UUID, since time.Time, versions int64, held, stale *bool) {
	queue(b, `SELECT EXISTS (SELECT FROM legal_holds WHERE practice_id = $1 AND released_at IS NULL),
			EXISTS (SELECT FROM documents WHERE practice_id = $1 AND updated_at >= $2)
			OR EXISTS (SELECT FROM rights_rows WHERE practice_id = $1 AND updated_at >= $2)
			OR (SELECT count(*) FROM documents WHERE practice_id = $1) + (SELECT count(*) FROM document_history WHERE practice_id = $1)
				+ (SELECT count(*) FROM rights_rows WHERE practice_id = $1) <> $3`, practice, since, versions).
		QueryRow(func(r pgx.Row) error { return r.Scan(held, stale) })
}

func scanCounts(out *map[string]int64) func(pgx.Row) error {
	return func(r pgx.Row) error {
		*out = nil
		var text []byte
		if err := r.Scan(&text); err != nil {
			return err
		}
		return json.Unmarshal(text, out)
	}
}

// CountPractice counts what DestroyPractice would destroy, by table.
func CountPractice(b *pgx.Batch, practice uuid.UUID, out *map[string]int64) {
	queue(b, `SELECT count_practice($1)::text`, practice).QueryRow(scanCounts(out))
}

// DestroyPractice destroys all rows of a practice that is leaving, and counts them.
func DestroyPractice(b *pgx.Batch, practice uuid.UUID, out *map[string]int64) {
	queue(b, `SELECT destroy_practice($1)::text`, practice).QueryRow(scanCounts(out))
}

// ListClosed reads which practices have left.
func ListClosed(b *pgx.Batch, out *[]uuid.UUID) {
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) }, `SELECT closed_practices()`)
}

// VersionKey is where an export goes on: after this version.
type VersionKey struct {
	Type    string
	ID      uuid.UUID
	Version int64
}

const exportVersions = `SELECT d.type, d.id, d.patient_id, d.version, d.key_id, k.wrapped, d.digest, d.sealed, d.created_at, d.updated_at, true, false, d.deleted
	FROM (
		(SELECT ` + columns + ` FROM documents WHERE practice_id = $1 AND (type, id, version) > ($2, $3, $4) ORDER BY type, id, version LIMIT $5)
		UNION ALL
		(SELECT ` + columns + ` FROM document_history WHERE practice_id = $1 AND (type, id, version) > ($2, $3, $4) ORDER BY type, id, version LIMIT $5)
	) d JOIN data_keys k ON k.practice_id = $1 AND k.key_id = d.key_id
	ORDER BY d.type, d.id, d.version LIMIT $5`

// ExportVersions reads versions of all resources of a practice, those of deleted ones too, in order.
func ExportVersions(b *pgx.Batch, practice uuid.UUID, after VersionKey, limit int, out *[]Document) {
	many(b, out, scanDocument, exportVersions, practice, after.Type, after.ID, after.Version, limit)
}

// ExportTeams reads the care teams of a practice, each row as JSON.
func ExportTeams(b *pgx.Batch, practice uuid.UUID, out *[]string) {
	many(b, out, func(r pgx.Rows, line *string) error { return r.Scan(line) },
		`SELECT json_build_object('patient', patient_id, 'user', user_id, 'added', added_at)::text
		FROM care_team WHERE practice_id = $1 ORDER BY patient_id, user_id`, practice)
}
