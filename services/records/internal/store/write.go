package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Request makes a create idempotent (AIP-155). The zero value is none.
type Request struct {
	ID     uuid.UUID
	Digest []byte
}

// NewKey is a data key that was just made.
type NewKey struct {
	ID      uuid.UUID
	Wrapped string
}

// requested stores the request ($4 id, $5 user, $6 digest) of what $7 type and $8 id
// make, and goes on only where it is new. Without a request id it just goes on.
const requested = `req AS (
		INSERT INTO requests (practice_id, user_id, request_id, type, id, digest, created_at)
		SELECT $1, $5, $4, $7, $8, $6, $9 FROM can WHERE $4::uuid <> '00000000-0000-0000-0000-000000000000'
		ON CONFLICT DO NOTHING RETURNING 1),
	go AS (SELECT 1 FROM can WHERE $4::uuid = '00000000-0000-0000-0000-000000000000' OR EXISTS (SELECT FROM req))`

const createPatient = `WITH can AS (SELECT 1), ` + requested + `,
	pat AS (INSERT INTO patients (practice_id, patient_id, key_id, created_at) SELECT $1, $8, $10, $9 FROM go),
	keys AS (INSERT INTO data_keys (practice_id, key_id, patient_id, wrapped, seals, created_at)
		SELECT $1, $10, $8, $2, 1, $9 FROM go),
	team AS (INSERT INTO care_team (practice_id, patient_id, user_id, added_at)
		SELECT DISTINCT $1::uuid, $8::uuid, u, $9::timestamptz FROM go, unnest($3::uuid[]) u)
	INSERT INTO documents (practice_id, type, id, patient_id, version, key_id, created_at, updated_at, digest, sealed)
	SELECT $1, $7, $8, $8, 1, $10, $9, $9, $11, $12 FROM go RETURNING 1`

// CreatePatient stores a new patient whose care team is team.
func CreatePatient(b *pgx.Batch, practice, user uuid.UUID, team []uuid.UUID, r Request, d Document, done *bool) {
	changed(b, done, createPatient, practice, d.Wrapped, team, r.ID, user, notNil(r.Digest), d.Type, d.ID, d.Created,
		d.KeyID, d.Digest, d.Sealed)
}

const createDocument = `WITH can AS (
		SELECT 1 FROM patients p WHERE p.practice_id = $1 AND p.patient_id = $13 AND p.key_id = $10
		  AND p.deleted_at IS NULL AND ` + visible + `), ` + requested + `,
	seal AS (UPDATE data_keys SET seals = seals + 1
		WHERE practice_id = $1 AND key_id = $10 AND seals < 2147483648 AND EXISTS (SELECT FROM go) RETURNING 1)
	INSERT INTO documents (practice_id, type, id, patient_id, version, key_id, created_at, updated_at, digest, sealed)
	SELECT $1, $7, $8, $13, 1, $10, $9, $9, $11, $12 FROM seal RETURNING 1`

// CreateDocument stores a new resource of a patient whom the viewer may see.
func CreateDocument(b *pgx.Batch, v Viewer, user uuid.UUID, r Request, d Document, done *bool) {
	changed(b, done, createDocument, v.args(r.ID, user, notNil(r.Digest), d.Type, d.ID, d.Created,
		d.KeyID, d.Digest, d.Sealed, d.Patient)...)
}

// Made is what an earlier request made.
type Made struct {
	Type   string
	ID     uuid.UUID
	Digest []byte
}

// ReadRequest reads what a user's request made.
func ReadRequest(b *pgx.Batch, practice, user, request uuid.UUID, out *Made, found *bool) {
	one(b, found, func(r pgx.Rows) error { return r.Scan(&out.Type, &out.ID, &out.Digest) },
		`SELECT type, id, digest FROM requests WHERE practice_id = $1 AND user_id = $2 AND request_id = $3`,
		practice, user, request)
}

// ForgetRequests deletes requests from before a moment, the oldest first, and says how many. Who made something by one of
// them stays known (ReadOwners).
func ForgetRequests(b *pgx.Batch, practice uuid.UUID, before time.Time, most int, gone *int) {
	queue(b, `WITH old AS (
			SELECT user_id, request_id FROM requests WHERE practice_id = $1 AND created_at < $2 ORDER BY created_at LIMIT $3),
		gone AS (DELETE FROM requests r USING old
			WHERE r.practice_id = $1 AND r.user_id = old.user_id AND r.request_id = old.request_id RETURNING r.user_id),
		known AS (INSERT INTO makers (practice_id, user_id) SELECT DISTINCT $1::uuid, user_id FROM gone ON CONFLICT DO NOTHING)
		SELECT count(*) FROM gone`, practice, before, most).QueryRow(func(r pgx.Row) error { return r.Scan(gone) })
}

// A second writer waits for the row of the key, and then finds another version.
const replaceDocument = `WITH can AS (
		SELECT 1 FROM patients p JOIN documents d ON d.practice_id = $1 AND d.type = $4 AND d.id = $5 AND d.patient_id = p.patient_id
		WHERE p.practice_id = $1 AND p.patient_id = $6 AND p.key_id = $8 AND p.deleted_at IS NULL
		  AND d.version = $7 - 1 AND NOT d.deleted AND ` + visible + `),
	seal AS (UPDATE data_keys SET seals = seals + 1
		WHERE practice_id = $1 AND key_id = $8 AND seals < 2147483648 AND EXISTS (SELECT FROM can) RETURNING 1)
	UPDATE documents d SET version = $7, key_id = $8, updated_at = $9, digest = $10, sealed = $11
	FROM seal WHERE d.practice_id = $1 AND d.type = $4 AND d.id = $5 AND d.version = $7 - 1 AND NOT d.deleted RETURNING 1`

// ReplaceDocument stores the next version of a resource, if the one before is still current.
func ReplaceDocument(b *pgx.Batch, v Viewer, d Document, done *bool) {
	changed(b, done, replaceDocument, v.args(d.Type, d.ID, d.Patient, d.Version, d.KeyID, d.Updated, d.Digest, d.Sealed)...)
}

// DeleteDocument leaves a version without content, if the one before is
// still current, and the viewer entitled; a patient's whole chart takes the care team. The
// former versions stay in the history.
func DeleteDocument(b *pgx.Batch, v Viewer, resourceType string, id, patient uuid.UUID, etag int64, now time.Time, version *int64, done *bool) {
	one(b, done, func(r pgx.Rows) error { return r.Scan(version) }, `UPDATE documents d
		SET version = d.version + 1, deleted = true, updated_at = $8, digest = '', sealed = ''
		FROM patients p WHERE p.practice_id = $1 AND p.patient_id = $6 AND p.deleted_at IS NULL AND (d.type <> 'Patient' AND `+entitled+` OR `+treated+`)
		  AND d.practice_id = $1 AND d.type = $4 AND d.id = $5 AND d.patient_id = $6 AND NOT d.deleted
		  AND ($7::bigint = 0 OR d.version = $7) RETURNING d.version`,
		v.args(resourceType, id, patient, etag, now)...)
}

// HidePatient marks a patient deleted whose Patient document is deleted, and
// takes all of the patient's resources out of index and calendar.
func HidePatient(b *pgx.Batch, practice, patient uuid.UUID, now time.Time) {
	const gone = `EXISTS (SELECT FROM documents d WHERE d.practice_id = $1 AND d.type = 'Patient' AND d.id = $2 AND d.deleted)`
	queue(b, `UPDATE patients SET deleted_at = $3 WHERE practice_id = $1 AND patient_id = $2 AND deleted_at IS NULL AND `+gone, practice, patient, now)
	queue(b, `DELETE FROM resource_index WHERE practice_id = $1 AND patient_id = $2 AND `+gone, practice, patient)
	queue(b, `DELETE FROM appointment_cells WHERE practice_id = $1 AND patient_id = $2 AND `+gone, practice, patient)
}

// notNil keeps a NOT NULL column content.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
