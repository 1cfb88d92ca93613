package store

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const sealedUnder = `SELECT type, id, version, digest, sealed, deleted FROM (
	(SELECT type, id, version, digest, sealed, deleted FROM documents
		WHERE practice_id = $1 AND patient_id = $2 AND key_id = $3 AND NOT deleted LIMIT $4)
	UNION ALL (SELECT type, id, version, digest, sealed, deleted FROM documents
		WHERE practice_id = $1 AND patient_id = $2 AND key_id = $3 AND deleted LIMIT $4)
	UNION ALL (SELECT type, id, version, digest, sealed, deleted FROM document_history
		WHERE practice_id = $1 AND patient_id = $2 AND key_id = $3 LIMIT $4)) d
	WHERE (type, id, version) <> ALL (SELECT * FROM unnest($5::text[], $6::uuid[], $7::bigint[]))
	LIMIT $4`

// SealedUnder reads documents of a patient under a key, current and former ones, except those that
// skip names.
func SealedUnder(b *pgx.Batch, practice, patient, key uuid.UUID, skip []Document, limit int, out *[]Document) {
	types, ids, versions := names(skip)
	// The limit grows by what is skipped, so that the broken ones never hide the rest.
	many(b, out, func(r pgx.Rows, d *Document) error {
		d.Patient, d.KeyID = patient, key
		return r.Scan(&d.Type, &d.ID, &d.Version, &d.Digest, &d.Sealed, &d.Deleted)
	}, sealedUnder, practice, patient, key, limit+len(skip), types, ids, versions)
}

// CountSealedUnder counts them.
func CountSealedUnder(b *pgx.Batch, practice, patient, key uuid.UUID, out *int64) {
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(out) }, `SELECT
		(SELECT count(*) FROM documents WHERE practice_id = $1 AND patient_id = $2 AND key_id = $3 AND NOT deleted)
		+ (SELECT count(*) FROM documents WHERE practice_id = $1 AND patient_id = $2 AND key_id = $3 AND deleted)
		+ (SELECT count(*) FROM document_history WHERE practice_id = $1 AND patient_id = $2 AND key_id = $3)`, practice, patient, key)
}

// Reseal puts documents under another key, each where it is still the version that was read.
func Reseal(b *pgx.Batch, practice, old, fresh uuid.UUID, docs []Document, stored *int64) {
	types, ids, versions := names(docs)
	digests, sealed := make([][]byte, len(docs)), make([][]byte, len(docs))
	for i, d := range docs {
		digests[i], sealed[i] = notNil(d.Digest), notNil(d.Sealed)
	}
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(stored) },
		`SELECT reseal($1, $2, $3, $4, $5, $6, $7, $8)`, practice, old, fresh, types, ids, versions, digests, sealed)
}

func names(docs []Document) (types []string, ids []uuid.UUID, versions []int64) {
	types, ids, versions = make([]string, len(docs)), make([]uuid.UUID, len(docs)), make([]int64, len(docs))
	for i, d := range docs {
		types[i], ids[i], versions[i] = d.Type, d.ID, d.Version
	}
	return types, ids, versions
}
