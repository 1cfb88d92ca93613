package store

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// readAny is readDocument that also finds a deleted version, for FHIR tells a resource
// that was deleted from one that never was.
var readAny = strings.Replace(readDocument, " AND NOT d.deleted", "", 1)

// ReadAnyDocument reads the current version of a resource, deleted or not.
func ReadAnyDocument(b *pgx.Batch, v Viewer, resourceType string, id uuid.UUID, out *Document, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanDocument(r, out) }, readAny, v.args(resourceType, id, anyPatient)...)
}

var readStates = strings.Replace(`SELECT `+documentColumns+` FROM unnest($4::text[], $5::uuid[]) AS w(type, id)
	JOIN documents d ON d.practice_id = $1 AND d.type = w.type AND d.id = w.id`+joins+`
	WHERE p.deleted_at IS NULL`, "CASE WHEN v.visible THEN d.sealed END", "NULL::bytea", 1)

// ReadStates reads what many resources are now, without their content; those that do not
// exist, or whose patient is deleted, are left out.
func ReadStates(b *pgx.Batch, v Viewer, refs []Ref, out *[]Document) {
	*out = (*out)[:0]
	if len(refs) == 0 {
		return
	}
	types, ids := make([]string, len(refs)), make([]uuid.UUID, len(refs))
	for i, r := range refs {
		types[i], ids[i] = r.Type, r.ID
	}
	many(b, out, scanDocument, readStates, v.args(types, ids)...)
}

// history lists the versions of a resource from the newest on; beyond pageBytes rows come
// without content.
var history = strings.Replace(`SELECT `+documentColumns+` FROM (
	SELECT `+columns+`, sum(octet_length(sealed)) OVER (ORDER BY version DESC) - octet_length(sealed) AS before FROM (
		SELECT `+columns+` FROM documents WHERE practice_id = $1 AND type = $4 AND id = $5 AND version < $6
		UNION ALL
		SELECT `+columns+` FROM document_history WHERE practice_id = $1 AND type = $4 AND id = $5 AND version < $6
		ORDER BY version DESC LIMIT $7) l) d`+joins+`
	WHERE p.deleted_at IS NULL ORDER BY d.version DESC`, `WHEN v.visible`, `WHEN v.visible AND d.before < $8`, 1)

// ListVersions reads the versions of a resource below one, newest first, deleted ones too.
func ListVersions(b *pgx.Batch, v Viewer, resourceType string, id uuid.UUID, below int64, limit int, out *[]Document) {
	many(b, out, scanDocument, history, v.args(resourceType, id, below, limit, pageBytes)...)
}

// chart walks a patient's documents by type and, within a type, newest first: the order
// of the index. A keyset instead of an offset costs a page the same wherever it is.
var chart = strings.Replace(`SELECT `+documentColumns+` FROM (
	SELECT `+columns+`, sum(octet_length(sealed)) OVER (ORDER BY type, created_at DESC, id DESC) - octet_length(sealed) AS before
	FROM documents
	WHERE practice_id = $1 AND patient_id = $4 AND type = ANY($5::text[]) AND NOT deleted AND updated_at >= $6
	  AND (type > $7 OR type = $7 AND (created_at, id) < ($8, $9))
	ORDER BY type, created_at DESC, id DESC LIMIT $10) d`+joins+`
	WHERE p.deleted_at IS NULL AND v.visible
	ORDER BY d.type, d.created_at DESC, d.id DESC`, `WHEN v.visible`, `WHEN d.before < $11`, 1)

// ListChart reads a patient's documents of the types, from after the cursor on; none where
// the viewer may not see the patient. Beyond bytes it reads rows without content.
func ListChart(b *pgx.Batch, v Viewer, patient uuid.UUID, types []string, since time.Time, afterType string, after Cursor,
	limit, bytes int, out *[]Document,
) {
	many(b, out, scanDocument, chart, v.args(patient, types, since, afterType, after.Created, after.ID, limit, bytes)...)
}
