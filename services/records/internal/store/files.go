package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// whole keeps a patient from being erased until the transaction ends: erase_patient takes the same lock for itself
// alone. It is a statement before the others, so that they see what an erasure left.
func whole(b *pgx.Batch, practice, patient uuid.UUID) {
	queue(b, `SELECT pg_advisory_xact_lock_shared(hashtextextended('carekeep.hold.' || $1::uuid || '.' || $2::uuid, 0))`, practice, patient)
}

// StartUpload notes an upload of a patient who is there, and removes those of the practice that began before stale
// and never ended.
func StartUpload(b *pgx.Batch, practice, patient, document uuid.UUID, now, stale time.Time, done *bool) {
	whole(b, practice, patient)
	queue(b, `DELETE FROM document_pieces d USING uploads u WHERE u.practice_id = $1 AND u.started_at < $2
		AND d.practice_id = $1 AND d.document_id = u.document_id`, practice, stale)
	queue(b, `DELETE FROM uploads WHERE practice_id = $1 AND started_at < $2`, practice, stale)
	changed(b, done, `INSERT INTO uploads (practice_id, document_id, patient_id, started_at) SELECT $1, $2, patient_id, $4
		FROM patients WHERE practice_id = $1 AND patient_id = $3 RETURNING 1`, practice, document, patient, now)
}

// PutPiece stores a piece of an upload that is noted.
func PutPiece(b *pgx.Batch, practice, patient, document uuid.UUID, n int, sealed []byte, done *bool) {
	whole(b, practice, patient)
	changed(b, done, `INSERT INTO document_pieces (practice_id, document_id, piece, patient_id, sealed)
		SELECT $1, $2, $3::integer, patient_id, $4::bytea FROM uploads WHERE practice_id = $1 AND document_id = $2 RETURNING 1`,
		practice, document, n, sealed)
}

// FinishUpload takes the note away, where all the pieces are there.
func FinishUpload(b *pgx.Batch, practice, document uuid.UUID, pieces int, done *bool) {
	changed(b, done, `DELETE FROM uploads WHERE practice_id = $1 AND document_id = $2 AND $3 = (
		SELECT count(*) FROM document_pieces WHERE practice_id = $1 AND document_id = $2) RETURNING 1`, practice, document, pieces)
}

// DropUpload removes an upload that did not end.
func DropUpload(b *pgx.Batch, practice, document uuid.UUID) {
	queue(b, `DELETE FROM document_pieces d USING uploads u WHERE u.practice_id = $1 AND u.document_id = $2
		AND d.practice_id = $1 AND d.document_id = $2`, practice, document)
	queue(b, `DELETE FROM uploads WHERE practice_id = $1 AND document_id = $2`, practice, document)
}

// PatientThere reads whether anything of a patient is left.
func PatientThere(b *pgx.Batch, practice, patient uuid.UUID, found *bool) {
	one(b, found, func(pgx.Rows) error { return nil }, `SELECT FROM patients WHERE practice_id = $1 AND patient_id = $2`, practice, patient)
}

// ReadPiece reads a piece of a document's file.
func ReadPiece(b *pgx.Batch, practice, patient, document uuid.UUID, n int, out *[]byte, found *bool) {
	one(b, found, func(r pgx.Rows) error { return r.Scan(out) },
		`SELECT sealed FROM document_pieces WHERE practice_id = $1 AND document_id = $2 AND piece = $3 AND patient_id = $4`,
		practice, document, n, patient)
}
