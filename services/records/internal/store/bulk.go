package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Ref names a resource.
type Ref struct {
	Type string
	ID   uuid.UUID
}

// Current is what a resource is now, without its content.
type Current struct {
	Ref
	Patient uuid.UUID
	Version int64
	Digest  []byte
	Deleted bool
	Created time.Time
}

// ReadCurrent reads what many resources are now; those that do not exist are left out.
func ReadCurrent(b *pgx.Batch, practice uuid.UUID, refs []Ref, out *[]Current) {
	*out = (*out)[:0]
	if len(refs) == 0 {
		return
	}
	types, ids := make([]string, len(refs)), make([]uuid.UUID, len(refs))
	for i, r := range refs {
		types[i], ids[i] = r.Type, r.ID
	}
	many(b, out, func(r pgx.Rows, c *Current) error {
		return r.Scan(&c.Type, &c.ID, &c.Patient, &c.Version, &c.Digest, &c.Deleted, &c.Created)
	}, `SELECT d.type, d.id, d.patient_id, d.version, d.digest, d.deleted, d.created_at
		FROM unnest($2::text[], $3::uuid[]) AS w(type, id)
		JOIN documents d ON d.practice_id = $1 AND d.type = w.type AND d.id = w.id`, practice, types, ids)
}

// NewPatient is a patient that an import brings.
type NewPatient struct {
	Patient uuid.UUID
	Key     NewKey
}

// CreatePatients stores new patients with their keys and the doctor as their care team. A patient
// that exists by now is left out of out, and so is its key.
func CreatePatients(b *pgx.Batch, practice, doctor uuid.UUID, list []NewPatient, now time.Time, out *[]uuid.UUID) {
	*out = (*out)[:0]
	if len(list) == 0 {
		return
	}
	patients, ids, wrapped := make([]uuid.UUID, len(list)), make([]uuid.UUID, len(list)), make([]string, len(list))
	for i, p := range list {
		patients[i], ids[i], wrapped[i] = p.Patient, p.Key.ID, p.Key.Wrapped
	}
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) },
		`WITH w AS (SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::text[]) AS w(patient_id, key_id, wrapped)),
		p AS (INSERT INTO patients (practice_id, patient_id, key_id, created_at)
			SELECT $1, patient_id, key_id, $6 FROM w ON CONFLICT DO NOTHING RETURNING patient_id, key_id),
		k AS (INSERT INTO data_keys (practice_id, key_id, patient_id, wrapped, created_at)
			SELECT $1, p.key_id, p.patient_id, w.wrapped, $6 FROM p JOIN w USING (key_id))
		INSERT INTO care_team (practice_id, patient_id, user_id, added_at)
		SELECT $1, p.patient_id, $5, $6 FROM p RETURNING patient_id`,
		practice, patients, ids, wrapped, doctor, now)
}

// Documents without a row of their key in data_keys are left out: those of a
// patient that another import has just created, and of a key that is used up.
const putDocuments = `WITH n AS (SELECT key_id, count(*) AS c FROM unnest($6::uuid[]) AS key_id GROUP BY key_id),
	seal AS (UPDATE data_keys k SET seals = k.seals + n.c FROM n
		WHERE k.practice_id = $1 AND k.key_id = n.key_id AND k.seals + n.c <= 2147483648 RETURNING k.key_id)
	INSERT INTO documents AS d (practice_id, type, id, patient_id, version, key_id, created_at, updated_at, digest, sealed)
	SELECT $1, t.type, t.id, t.patient_id, t.version, t.key_id, $9, $9, t.digest, t.sealed
	FROM unnest($2::text[], $3::uuid[], $4::uuid[], $5::bigint[], $6::uuid[], $7::bytea[], $8::bytea[])
		AS t(type, id, patient_id, version, key_id, digest, sealed) JOIN seal USING (key_id)
	ON CONFLICT (practice_id, type, id) DO UPDATE SET version = excluded.version, key_id = excluded.key_id,
		updated_at = excluded.updated_at, deleted = false, digest = excluded.digest, sealed = excluded.sealed
	WHERE d.version = excluded.version - 1 AND d.patient_id = excluded.patient_id
	RETURNING d.type, d.id`

// PutDocuments stores documents, each as version 1 or as the version after the current one; out
// names those that were stored.
func PutDocuments(b *pgx.Batch, practice uuid.UUID, docs []Document, now time.Time, out *[]Ref) {
	*out = (*out)[:0]
	if len(docs) == 0 {
		return
	}
	n := len(docs)
	types, ids, patients := make([]string, n), make([]uuid.UUID, n), make([]uuid.UUID, n)
	versions, keys := make([]int64, n), make([]uuid.UUID, n)
	digests, sealed := make([][]byte, n), make([][]byte, n)
	for i, d := range docs {
		types[i], ids[i], patients[i], versions[i], keys[i] = d.Type, d.ID, d.Patient, d.Version, d.KeyID
		digests[i], sealed[i] = d.Digest, d.Sealed
	}
	many(b, out, func(r pgx.Rows, ref *Ref) error { return r.Scan(&ref.Type, &ref.ID) },
		putDocuments, practice, types, ids, patients, versions, keys, digests, sealed, now)
}
