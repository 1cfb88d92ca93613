package store

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// documentColumns are what scanDocument reads. Who may not see the patient
// gets no ciphertext either.
const documentColumns = `d.type, d.id, d.patient_id, d.version, d.key_id, coalesce(k.wrapped, ''), d.digest,
	CASE WHEN v.visible THEN d.sealed END, d.created_at, d.updated_at, v.visible, ` + broken + `, d.deleted`

func scanDocument(rows pgx.Rows, d *Document) error {
	return rows.Scan(&d.Type, &d.ID, &d.Patient, &d.Version, &d.KeyID, &d.Wrapped, &d.Digest,
		&d.Sealed, &d.Created, &d.Updated, &d.Visible, &d.Glass, &d.Deleted)
}

// A document whose key is not there is lost and not absent, so its row comes, without the key.
//
// OFFSET 0 keeps the planner from another order than this one, from a document to its patient and its
// key. Without statistics, after a first import say, it takes practices for small and reads all patients of one.
const joins = ofPatient + `
	LEFT JOIN LATERAL (SELECT k.wrapped FROM data_keys k WHERE k.practice_id = d.practice_id AND k.key_id = d.key_id OFFSET 0) k ON true
	` + sight

// ofPatient joins the patient of a document d as p.
const ofPatient = `
	CROSS JOIN LATERAL (SELECT p.patient_id, p.deleted_at FROM patients p
		WHERE p.practice_id = d.practice_id AND p.patient_id = d.patient_id OFFSET 0) p`

// anyPatient in place of a patient's id lets a read find the resource wherever it is.
// It is the maximum UUID, which FHIR ids do not take: the nil one is the directory.
var anyPatient = uuid.Max

const readDocument = `SELECT ` + documentColumns + ` FROM documents d` + joins + `
	WHERE d.practice_id = $1 AND d.type = $4 AND d.id = $5 AND NOT d.deleted AND p.deleted_at IS NULL
	  AND ($6::uuid = 'ffffffff-ffff-ffff-ffff-ffffffffffff' OR d.patient_id = $6)`

// ReadDocument reads the current version of a resource of a patient.
func ReadDocument(b *pgx.Batch, v Viewer, resourceType string, id, patient uuid.UUID, out *Document, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanDocument(r, out) }, readDocument, v.args(resourceType, id, patient)...)
}

// LockDocument is ReadDocument for a change in the same transaction.
func LockDocument(b *pgx.Batch, v Viewer, resourceType string, id, patient uuid.UUID, out *Document, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanDocument(r, out) }, readDocument+` FOR UPDATE OF d`,
		v.args(resourceType, id, patient)...)
}

// FindDocument reads the current version of a resource whose patient is not known.
func FindDocument(b *pgx.Batch, v Viewer, resourceType string, id uuid.UUID, out *Document, found *bool) {
	ReadDocument(b, v, resourceType, id, anyPatient, out, found)
}

const columns = `practice_id, type, id, patient_id, version, key_id, created_at, updated_at, deleted, digest, sealed`

const readVersion = `SELECT ` + documentColumns + ` FROM (
	SELECT ` + columns + ` FROM documents WHERE practice_id = $1 AND type = $4 AND id = $5 AND version = $6
	UNION ALL
	SELECT ` + columns + ` FROM document_history WHERE practice_id = $1 AND type = $4 AND id = $5 AND version = $6) d` + joins + `
	WHERE NOT d.deleted AND p.deleted_at IS NULL`

// ReadVersion reads one version of a resource, also of one that was deleted, though not of a patient who was.
func ReadVersion(b *pgx.Batch, v Viewer, resourceType string, id uuid.UUID, version int64, out *Document, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanDocument(r, out) }, readVersion, v.args(resourceType, id, version)...)
}

const readPatient = `SELECT p.patient_id, p.key_id, coalesce(k.wrapped, ''), coalesce(k.seals, 0), p.created_at, v.visible, ` + broken + `, p.deleted_at IS NOT NULL
	FROM patients p
	LEFT JOIN data_keys k ON k.practice_id = p.practice_id AND k.key_id = p.key_id
	` + sight + `
	WHERE p.practice_id = $1 AND p.patient_id = `

func scanPatient(rows pgx.Rows, p *Patient) error {
	return rows.Scan(&p.ID, &p.KeyID, &p.Wrapped, &p.Seals, &p.Created, &p.Visible, &p.Glass, &p.Deleted)
}

// ReadPatient reads a patient's row; found is false where it is deleted.
func ReadPatient(b *pgx.Batch, v Viewer, patient uuid.UUID, out *Patient, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanPatient(r, out) },
		readPatient+`$4 AND p.deleted_at IS NULL`, v.args(patient)...)
}

// ReadPatients reads the rows of many patients, deleted ones too.
func ReadPatients(b *pgx.Batch, v Viewer, patients []uuid.UUID, out *[]Patient) {
	many(b, out, scanPatient, readPatient+`ANY($4::uuid[])`, v.args(patients)...)
}

// Cursor is where a list goes on: after this resource.
type Cursor struct {
	Created time.Time
	ID      uuid.UUID
}

// Top is the cursor of a first page, newest first.
func Top() Cursor { return Cursor{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), uuid.Max} }

// pageBytes bounds what one page reads of sealed documents: a message has to stay
// below 4 MiB, gRPC's default.
const pageBytes = 3 << 20

// The running sum costs no read of large documents: Postgres knows their length.
var listDocuments = strings.Replace(`SELECT `+documentColumns+` FROM (
	SELECT `+columns+`, sum(octet_length(sealed)) OVER (ORDER BY created_at DESC, id DESC) - octet_length(sealed) AS before
	FROM documents
	WHERE practice_id = $1 AND patient_id = $4 AND type = $5 AND NOT deleted AND (created_at, id) < ($6, $7)
	ORDER BY created_at DESC, id DESC LIMIT $8) d`+joins+`
	WHERE p.deleted_at IS NULL AND v.visible
	ORDER BY d.created_at DESC, d.id DESC`, `WHEN v.visible`, `WHEN d.before < $9`, 1)

// ListDocuments reads a patient's resources of one type, newest first; none where
// the viewer may not see the patient. Beyond 3 MiB it reads rows without content.
func ListDocuments(b *pgx.Batch, v Viewer, patient uuid.UUID, resourceType string, after Cursor, limit int, out *[]Document) {
	many(b, out, scanDocument, listDocuments, v.args(patient, resourceType, after.Created, after.ID, limit, pageBytes)...)
}

const patientDocuments = `JOIN documents d ON d.practice_id = $1 AND d.type = 'Patient' AND d.id = m.patient_id AND NOT d.deleted` + joins + `
	WHERE p.deleted_at IS NULL AND v.visible`

// For each doctor the index gives the next patients in order, so a page costs the
// same at the start of a long list and at its end. A join instead of the subquery on
// patients lets the planner merge from the practice's first patient on.
const listPatients = `SELECT ` + documentColumns + ` FROM (
	SELECT DISTINCT c.patient_id FROM unnest(` + subjects + `) AS s(user_id) CROSS JOIN LATERAL (
		(SELECT c.patient_id FROM care_team c
		WHERE c.practice_id = $1 AND c.user_id = s.user_id AND c.patient_id > $4 AND ` + current + nextPatients + `)
		UNION
		(SELECT c.patient_id FROM referrals c
		WHERE c.practice_id = $1 AND c.to_user = s.user_id AND c.patient_id > $4 AND ` + inForce + nextPatients + `)) c
	ORDER BY c.patient_id LIMIT $5) m ` + patientDocuments + ` ORDER BY d.id`

const nextPatients = `
		  AND (SELECT q.deleted_at IS NULL FROM patients q WHERE q.practice_id = $1 AND q.patient_id = c.patient_id)
		ORDER BY c.patient_id LIMIT $5`

const listAllPatients = `SELECT ` + documentColumns + ` FROM (
	SELECT q.patient_id FROM patients q
	WHERE q.practice_id = $1 AND q.patient_id > $4 AND q.deleted_at IS NULL
	ORDER BY q.patient_id LIMIT $5) m ` + patientDocuments + ` ORDER BY d.id`

// ListPatients reads the Patient documents that the viewer may see, by id, from after on.
func ListPatients(b *pgx.Batch, v Viewer, after uuid.UUID, limit int, out *[]Document) {
	sql := listPatients
	if v.Whole {
		sql = listAllPatients
	}
	many(b, out, scanDocument, sql, v.args(after, limit)...)
}
