package store

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The types that stand in the seals of what is no document. Those of rights rows are beside these.
const (
	TypeHold     = "LegalHold"
	TypeOpening  = "GlassOpening"
	TypeReferral = "Referral"
	// TypeWatchList is the one list of a practice's marks, under the key of the directory.
	TypeWatchList = "WatchList"
)

// rest is all that is sealed under data keys and is no document. Whoever seals something in a table of its own adds
// it here and to reseal_rest: without, no data key of its patients is ever dropped.
const rest = `(SELECT patient_id, '` + TypeHold + `' AS type, hold_id AS id, 1::bigint AS version, key_id, ''::bytea AS digest, sealed
		FROM legal_holds WHERE practice_id = $1 AND patient_id >= $2
	UNION ALL SELECT patient_id, '` + TypeOpening + `', opening_id, 1, key_id, '', reason FROM glass_openings WHERE practice_id = $1 AND patient_id >= $2
	UNION ALL SELECT patient_id, '` + TypeReferral + `', referral_id, 1, key_id, '', reason FROM referrals WHERE practice_id = $1 AND patient_id >= $2
	UNION ALL SELECT uuid_nil, '` + TypeWatchList + `', practice_id, generation, key_id, '', sealed FROM watch_lists,
		(VALUES ('00000000-0000-0000-0000-000000000000'::uuid)) AS directory(uuid_nil) WHERE practice_id = $1 AND uuid_nil >= $2
	UNION ALL SELECT patient_id, type, id, version, key_id, digest, sealed FROM rights_rows WHERE practice_id = $1 AND patient_id >= $2) r`

func scanRest(r pgx.Rows, d *Document) error {
	return r.Scan(&d.Patient, &d.Type, &d.ID, &d.Version, &d.KeyID, &d.Digest, &d.Sealed)
}

const restColumns = `SELECT r.patient_id, r.type, r.id, r.version, r.key_id, r.digest, r.sealed`

// RestUnder reads what else a patient has sealed under a key, in order, behind a row. Only rights rows have a digest.
func RestUnder(b *pgx.Batch, practice, patient, key uuid.UUID, behind Document, limit int, out *[]Document) {
	many(b, out, scanRest, restColumns+` FROM `+rest+` WHERE r.patient_id = $2 AND r.key_id = $3
		AND (r.type COLLATE "C", r.id, r.version) > ($4, $5, $6) ORDER BY r.type COLLATE "C", r.id, r.version LIMIT $7`,
		practice, patient, key, behind.Type, behind.ID, behind.Version, limit)
}

// CountRestUnder counts them.
func CountRestUnder(b *pgx.Batch, practice, patient, key uuid.UUID, out *int64) {
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(out) },
		`SELECT count(*) FROM `+rest+` WHERE r.patient_id = $2 AND r.key_id = $3`, practice, patient, key)
}

// ResealRest puts such rows under another key, each where it is still what was read.
func ResealRest(b *pgx.Batch, practice, old, fresh uuid.UUID, rows []Document, resealed [][]byte, stored *int64) {
	types, ids, versions := names(rows)
	was := make([][]byte, len(rows))
	for i, d := range rows {
		was[i] = notNil(d.Sealed)
	}
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(stored) },
		`SELECT reseal_rest($1, $2, $3, $4, $5, $6, $7, $8)`, practice, old, fresh, types, ids, versions, was, resealed)
}

// WalkRest reads them in the whole practice, behind a place, as Walk reads documents.
func WalkRest(b *pgx.Batch, practice uuid.UUID, at Place, limit int, out *[]Stored) {
	many(b, out, func(r pgx.Rows, d *Stored) error {
		return r.Scan(&d.Patient, &d.Type, &d.ID, &d.Version, &d.KeyID, &d.Digest, &d.Sealed, &d.Wrapped, &d.Owned)
	}, restColumns+`, coalesce(k.wrapped, ''), p.patient_id IS NOT NULL AND k.key_id IS NOT NULL
		FROM (SELECT * FROM `+rest+` WHERE (r.patient_id, r.type COLLATE "C", r.id, r.version) > ($2, $3, $4, $5)
			ORDER BY r.patient_id, r.type COLLATE "C", r.id, r.version LIMIT $6) r
		LEFT JOIN patients p ON p.practice_id = $1 AND p.patient_id = r.patient_id
		LEFT JOIN data_keys k ON k.practice_id = $1 AND k.key_id = r.key_id AND k.patient_id = r.patient_id
		ORDER BY r.patient_id, r.type COLLATE "C", r.id, r.version`, practice, at.Patient, at.Type, at.ID, at.Version, limit)
}
