package store

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Stored is a version of a resource as a scrub finds it.
type Stored struct {
	Document
	// Owned is false where the patient, or the key of the patient, is not there.
	Owned bool
	// Index holds the index entries of a current version.
	Index []IndexEntry
	// Indexed is true where the document is to be found through the index.
	Indexed bool
}

// The order is that of patients, so that each data key is unwrapped once or twice in a whole walk; the indexes by
// patient give it.
func walk(table, which, current string) string {
	return `SELECT d.type, d.id, d.patient_id, d.version, d.key_id, coalesce(k.wrapped, ''), d.digest, d.sealed, d.deleted,
		p.patient_id IS NOT NULL AND k.key_id IS NOT NULL, p.deleted_at IS NULL AND ` + current + `,
		i.generations, i.indexes, i.tokens
	FROM (SELECT * FROM ` + table + ` WHERE practice_id = $1 AND (patient_id, type, id, version) > ($2, $3, $4, $5) AND ` + which + `
		ORDER BY patient_id, type, id, version LIMIT $6) d
	LEFT JOIN patients p ON p.practice_id = $1 AND p.patient_id = d.patient_id
	LEFT JOIN data_keys k ON k.practice_id = $1 AND k.key_id = d.key_id AND k.patient_id = d.patient_id
	LEFT JOIN LATERAL (SELECT array_agg(i.generation ORDER BY i.generation, i.token) AS generations,
		array_agg(i.index_id ORDER BY i.generation, i.token) AS indexes, array_agg(i.token ORDER BY i.generation, i.token) AS tokens
		FROM resource_index i WHERE i.practice_id = $1 AND i.patient_id = d.patient_id AND i.type = d.type AND i.id = d.id) i ON ` + current + `
	ORDER BY d.patient_id, d.type, d.id, d.version`
}

// Part is what a walk goes through.
type Part string

// The parts of a store.
var (
	PartCurrent = Part(walk("documents", "NOT deleted", "true"))
	PartDeleted = Part(walk("documents", "deleted", "true"))
	PartFormer  = Part(walk("document_history", "true", "false"))
)

// Walk reads the versions of a part behind a place.
func Walk(b *pgx.Batch, practice uuid.UUID, part Part, at Place, limit int, out *[]Stored) {
	many(b, out, func(r pgx.Rows, d *Stored) error {
		var generations []int32
		var indexes []int16
		var tokens [][]byte
		err := r.Scan(&d.Type, &d.ID, &d.Patient, &d.Version, &d.KeyID, &d.Wrapped, &d.Digest, &d.Sealed, &d.Deleted,
			&d.Owned, &d.Indexed, &generations, &indexes, &tokens)
		for i := range tokens {
			d.Index = append(d.Index, IndexEntry{Generation: generations[i], Index: indexes[i], Token: tokens[i]})
		}
		return err
	}, string(part), practice, at.Patient, at.Type, at.ID, at.Version, limit)
}

// WalkKeys reads a practice's data keys behind one.
func WalkKeys(b *pgx.Batch, practice, behind uuid.UUID, limit int, out *[]DataKey) {
	many(b, out, scanDataKey, dataKeys+`k.key_id > $2 ORDER BY k.key_id LIMIT $3`, practice, behind, limit)
}

// Astray reads patients who have index entries of documents that are not there, and patients whose key for new
// documents is not there.
func Astray(b *pgx.Batch, practice uuid.UUID, limit int, out *[]uuid.UUID) {
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) }, `SELECT DISTINCT i.patient_id FROM resource_index i
		WHERE i.practice_id = $1 AND NOT EXISTS (SELECT FROM documents d WHERE d.practice_id = $1 AND d.type = i.type AND d.id = i.id
			AND d.patient_id = i.patient_id AND NOT d.deleted)
		UNION SELECT p.patient_id FROM patients p WHERE p.practice_id = $1 AND NOT EXISTS (SELECT FROM data_keys k
			WHERE k.practice_id = $1 AND k.key_id = p.key_id AND k.patient_id = p.patient_id)
		LIMIT $2`, practice, limit)
}

// CountStored counts what a scrub of a practice walks through.
func CountStored(b *pgx.Batch, practice uuid.UUID, out *int64) {
	var found bool
	one(b, &found, func(r pgx.Rows) error { return r.Scan(out) }, `SELECT (SELECT count(*) FROM documents WHERE practice_id = $1)
		+ (SELECT count(*) FROM document_history WHERE practice_id = $1) + (SELECT count(*) FROM data_keys WHERE practice_id = $1)
		+ (SELECT count(*) FROM `+rest+`)`, practice, uuid.Nil)
}
