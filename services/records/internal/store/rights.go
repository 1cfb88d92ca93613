package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The types of rows that rights_rows keeps; part of what each is sealed with.
const (
	TypeRightsRequest  = "carekeep.RightsRequest"
	TypeDisclosure     = "carekeep.Disclosure"
	TypePatientConsent = "carekeep.PatientConsent"
)

// RightsRow is one version of a request, disclosure or consent.
type RightsRow struct {
	Type             string
	ID, Patient      uuid.UUID
	Version          int64
	KeyID            uuid.UUID
	Wrapped          string // the data key
	Digest, Sealed   []byte
	Created, Updated time.Time
	// Due is the day on which an answer is due, midnight UTC, and Zone where it is counted. Zero where no clock runs.
	Due  time.Time
	Zone string
	// Erasure is whether it is a request for erasure, which is no contact: last_contact, by which retention is counted, leaves it out.
	Erasure bool
}

// Read says whether the row came with its content: one beyond the bytes of a page does not.
func (r RightsRow) Read() bool { return r.Sealed != nil }

// At is where a list goes on after the row.
func (r RightsRow) At() Cursor { return Cursor{Created: r.Created, ID: r.ID} }

func rightsColumns(sealed string) string {
	return `r.type, r.id, r.patient_id, r.version, r.key_id, coalesce(k.wrapped, ''), r.digest, ` + sealed + `, r.created_at, r.updated_at,
	coalesce(r.due_on::timestamp AT TIME ZONE 'UTC', 'epoch'), r.due_zone`
}

func scanRights(rows pgx.Rows, r *RightsRow) error {
	err := rows.Scan(&r.Type, &r.ID, &r.Patient, &r.Version, &r.KeyID, &r.Wrapped, &r.Digest, &r.Sealed, &r.Created, &r.Updated, &r.Due, &r.Zone)
	if r.Due.Unix() == 0 {
		r.Due = time.Time{}
	}
	return err
}

// A row whose key is not there is lost and not absent, so it comes, without the key.
const (
	rightsKey = ` LEFT JOIN data_keys k ON k.practice_id = r.practice_id AND k.key_id = r.key_id `
	ofKind    = ` WHERE r.practice_id = $1 AND r.patient_id = $2 AND r.type = $3 `
)

var readRights = `SELECT ` + rightsColumns(`r.sealed`) + ` FROM rights_rows r` + rightsKey + ofKind + `AND r.id = $4 ORDER BY r.version DESC LIMIT 1`

// ReadRights reads the newest version of a row. It asks nobody: the caller of this
// function has to have read whether the viewer may see the patient.
func ReadRights(b *pgx.Batch, practice, patient uuid.UUID, rowType string, id uuid.UUID, out *RightsRow, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanRights(r, out) }, readRights, practice, patient, rowType, id)
}

// The running sum costs no read of large rows: Postgres knows their length.
var listRights = `SELECT ` + rightsColumns(`CASE WHEN r.before < $7 THEN r.sealed END`) + ` FROM (
	SELECT r.*, sum(octet_length(r.sealed)) OVER (ORDER BY r.created_at DESC, r.id DESC) - octet_length(r.sealed) AS before
	FROM rights_rows r ` + ofKind + `AND (r.created_at, r.id) < ($4, $5)
	  AND NOT EXISTS (SELECT FROM rights_rows n WHERE n.practice_id = $1 AND n.type = $3 AND n.id = r.id AND n.version > r.version)
	ORDER BY r.created_at DESC, r.id DESC LIMIT $6) r` + rightsKey + `
	ORDER BY r.created_at DESC, r.id DESC`

// ListRights reads the newest version of each of a patient's rows of a type, newest first, after a place of the list.
// Beyond 3 MiB it reads rows without content. It asks nobody either.
func ListRights(b *pgx.Batch, practice, patient uuid.UUID, rowType string, after Cursor, limit int, out *[]RightsRow) {
	many(b, out, scanRights, listRights, practice, patient, rowType, after.Created, after.ID, limit, pageBytes)
}

// The row of the key serialises what is added for a patient: whatever a later
// statement of the same transaction reads of the patient's rows is what counts.
const appendRights = `WITH can AS (
		SELECT 1 FROM patients p WHERE p.practice_id = $1 AND p.patient_id = $4 AND p.key_id = $8 AND p.deleted_at IS NULL AND ` + visible + `),
	seal AS (UPDATE data_keys SET seals = seals + 1
		WHERE practice_id = $1 AND key_id = $8 AND seals < 2147483648 AND EXISTS (SELECT FROM can) RETURNING 1)
	INSERT INTO rights_rows (practice_id, type, id, patient_id, version, key_id, created_at, updated_at, due_on, due_zone, digest, sealed, contact)
	SELECT $1, $5, $6, $4, $7, $8, $9, $10, $11::date, $12, $13, $14, NOT $15::boolean FROM seal
	ON CONFLICT DO NOTHING RETURNING 1`

// AppendRights adds a version, where nobody else has added it, for a patient whom the viewer may see.
func AppendRights(b *pgx.Batch, v Viewer, r RightsRow, done *bool) {
	var due *string
	if !r.Due.IsZero() {
		text := r.Due.Format(time.DateOnly)
		due = &text
	}
	changed(b, done, appendRights, v.args(r.Patient, r.Type, r.ID, r.Version, r.KeyID, r.Created, r.Updated, due, r.Zone, r.Digest, r.Sealed, r.Erasure)...)
}

// DueRequest is an open request whose day is near or past.
type DueRequest struct {
	ID, Patient uuid.UUID
	Due         time.Time
	Zone        string
}

// ListDueRequests reads a practice's open requests that are due on the day or before it, by their days, after one of
// them; those that were announced as overdue are not among them.
func ListDueRequests(b *pgx.Batch, practice uuid.UUID, until time.Time, after DueRequest, limit int, out *[]DueRequest) {
	many(b, out, func(r pgx.Rows, d *DueRequest) error { return r.Scan(&d.ID, &d.Patient, &d.Due, &d.Zone) },
		`SELECT r.id, r.patient_id, r.due_on::timestamp AT TIME ZONE 'UTC', r.due_zone FROM rights_rows r
		WHERE r.practice_id = $1 AND r.type = '`+TypeRightsRequest+`' AND r.due_on <= $2::date AND (r.due_on, r.id) > ($3::date, $4)
		  AND NOT EXISTS (SELECT FROM rights_rows n WHERE n.practice_id = $1 AND n.type = r.type AND n.id = r.id AND n.version > r.version)
		  AND NOT EXISTS (SELECT FROM rights_notices x WHERE x.practice_id = $1 AND x.id = r.id AND x.due_on = r.due_on AND x.level = 2)
		ORDER BY r.due_on, r.id LIMIT $5`, practice, until.Format(time.DateOnly), after.Due.Format(time.DateOnly), after.ID, limit)
}

// AddNotice notes that a due day was announced; done is false where it was before.
func AddNotice(b *pgx.Batch, practice uuid.UUID, d DueRequest, level int, now time.Time, done *bool) {
	changed(b, done, `INSERT INTO rights_notices (practice_id, id, due_on, level, patient_id, raised_at)
		VALUES ($1, $2, $3::date, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING 1`,
		practice, d.ID, d.Due.Format(time.DateOnly), level, d.Patient, now)
}
