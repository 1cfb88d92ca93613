package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ToIndex reads the documents that a build of the index has before it, in the order of its place.
func ToIndex(b *pgx.Batch, practice uuid.UUID, types []string, at Ref, limit int, out *[]Stored) {
	many(b, out, func(r pgx.Rows, d *Stored) error {
		return r.Scan(&d.Type, &d.ID, &d.Patient, &d.Version, &d.KeyID, &d.Wrapped, &d.Digest, &d.Sealed, &d.Owned, &d.Indexed)
	}, `SELECT d.type, d.id, d.patient_id, d.version, d.key_id, coalesce(k.wrapped, ''), d.digest, d.sealed,
			p.patient_id IS NOT NULL AND k.key_id IS NOT NULL, p.patient_id IS NOT NULL AND p.deleted_at IS NULL
		FROM (SELECT * FROM documents WHERE practice_id = $1 AND type = ANY($2) AND (type, id) > ($3, $4) AND NOT deleted
			ORDER BY type, id LIMIT $5) d
		LEFT JOIN patients p ON p.practice_id = $1 AND p.patient_id = d.patient_id
		LEFT JOIN data_keys k ON k.practice_id = $1 AND k.key_id = d.key_id AND k.patient_id = d.patient_id
		ORDER BY d.type, d.id`, practice, types, at.Type, at.ID, limit)
}

// FillIndex adds entries of documents that are still the stored ones, of patients who were not deleted. Both are
// locked in a statement before, so that a write is either seen here, or waits and keeps the index itself.
func FillIndex(b *pgx.Batch, practice uuid.UUID, entries []Entry) {
	if len(entries) == 0 {
		return
	}
	args := entryArgs(practice, entries)
	queue(b, `SELECT FROM patients WHERE practice_id = $1 AND patient_id = ANY($2) ORDER BY patient_id FOR SHARE`, practice, args[3])
	queue(b, `SELECT FROM documents d JOIN unnest($2::text[], $3::uuid[]) AS t(type, id) ON d.type = t.type AND d.id = t.id
		WHERE d.practice_id = $1 ORDER BY d.type, d.id FOR SHARE OF d`, practice, args[1], args[2])
	queue(b, `INSERT INTO resource_index (practice_id, generation, token, type, id, patient_id, index_id)
		SELECT $1, w.generation, w.token, d.type, d.id, d.patient_id, w.index_id FROM`+entriesWanted+`
		JOIN (SELECT d.type, d.id, d.patient_id FROM`+indexed+`
			JOIN patients p ON p.practice_id = $1 AND p.patient_id = d.patient_id AND p.deleted_at IS NULL) d
			ON d.type = ($2::text[])[w.n] AND d.id = ($3::uuid[])[w.n]
		ON CONFLICT DO NOTHING`, args...)
}

// SaveBuild stores how far the build of a generation is.
func SaveBuild(b *pgx.Batch, practice uuid.UUID, g Generation) {
	queue(b, `UPDATE index_generations SET at_type = $3, at_id = $4, done = $5, broken = $6
		WHERE practice_id = $1 AND generation = $2 AND state = 'BUILDING'`, practice, g.Number, g.At.Type, g.At.ID, g.Done, g.Broken)
}

// SwitchGenerations makes the generation that was built the live one; the one before it is to be dropped.
func SwitchGenerations(b *pgx.Batch, practice uuid.UUID, number int32, now time.Time) {
	LockGenerations(b, practice)
	queue(b, `UPDATE index_generations SET state = 'DROPPING' WHERE practice_id = $1 AND state = 'LIVE'
		AND EXISTS (SELECT FROM index_generations WHERE practice_id = $1 AND generation = $2 AND state = 'BUILDING')`, practice, number)
	queue(b, `UPDATE index_generations SET state = 'LIVE', live_at = $3
		WHERE practice_id = $1 AND generation = $2 AND state = 'BUILDING'`, practice, number, now)
}

// DropGeneration deletes a part of a generation that is to be dropped, and the generation once nothing of it is left.
func DropGeneration(b *pgx.Batch, practice uuid.UUID, number int32, limit int, dropped *bool) {
	queue(b, `DELETE FROM resource_index WHERE practice_id = $1 AND generation = $2 AND ctid = ANY(ARRAY(
		SELECT ctid FROM resource_index WHERE practice_id = $1 AND generation = $2 LIMIT $3))`, practice, number, limit)
	changed(b, dropped, `DELETE FROM index_generations g WHERE practice_id = $1 AND generation = $2 AND state = 'DROPPING'
		AND NOT EXISTS (SELECT FROM resource_index i WHERE i.practice_id = $1 AND i.generation = $2) RETURNING 1`, practice, number)
}
