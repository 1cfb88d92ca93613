package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// BulkExport is an export of many patients' resources, as of a moment.
type BulkExport struct {
	ID, User       uuid.UUID
	Types          []string // sorted
	Since          time.Time
	Request        string
	Created, Ready time.Time
	Expires        time.Time
	// Plan is the resource after which the plan of the files goes on; no type is its end.
	Plan Ref
}

// PutExport stores a new export, counts those of the user that were there, and removes those of
// the practice that are over.
func PutExport(b *pgx.Batch, practice uuid.UUID, e BulkExport, others *int) {
	queue(b, `DELETE FROM fhir_exports WHERE practice_id = $1 AND expires_at <= $2`, practice, e.Created)
	queue(b, `SELECT count(*) FROM fhir_exports WHERE practice_id = $1 AND user_id = $2`, practice, e.User).
		QueryRow(func(r pgx.Row) error { return r.Scan(others) })
	queue(b, `INSERT INTO fhir_exports (practice_id, export_id, user_id, types, since, request, created_at, ready_at, expires_at, plan_type, plan_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		practice, e.ID, e.User, e.Types, e.Since, e.Request, e.Created, e.Ready, e.Expires, e.Plan.Type, e.Plan.ID)
}

// ReadExport reads an export that is not over.
func ReadExport(b *pgx.Batch, practice, id uuid.UUID, now time.Time, out *BulkExport, found *bool) {
	one(b, found, func(r pgx.Rows) error {
		return r.Scan(&out.ID, &out.User, &out.Types, &out.Since, &out.Request, &out.Created, &out.Ready, &out.Expires, &out.Plan.Type, &out.Plan.ID)
	}, `SELECT export_id, user_id, types, since, request, created_at, ready_at, expires_at, plan_type, plan_id FROM fhir_exports
		WHERE practice_id = $1 AND export_id = $2 AND expires_at > $3`, practice, id, now)
}

// EndBulkExport removes an export of a user.
func EndBulkExport(b *pgx.Batch, practice, id, user uuid.UUID) {
	queue(b, `DELETE FROM fhir_exports WHERE practice_id = $1 AND export_id = $2 AND user_id = $3`, practice, id, user)
}

// TypesPresent reads of which of the types the practice ever had a resource.
func TypesPresent(b *pgx.Batch, practice uuid.UUID, types []string, out *[]string) {
	many(b, out, func(r pgx.Rows, t *string) error { return r.Scan(t) }, `SELECT t FROM unnest($2::text[]) AS t
		WHERE EXISTS (SELECT FROM documents WHERE practice_id = $1 AND type = t) ORDER BY t COLLATE "C"`, practice, types)
}

// asOf is what the viewer may see of a type ($4) after one id ($5) and up to another ($6) as it was at a
// moment ($8), if it was stored after $7. A document that was changed after the moment is found
// in the history. What a broken glass alone opens is in no list, so it is in no export.
const asOf = ` FROM (
	SELECT ` + columns + ` FROM documents
	WHERE practice_id = $1 AND type = $4 AND id > $5 AND id <= $6 AND updated_at <= $8
	UNION ALL
	SELECT h.* FROM documents c CROSS JOIN LATERAL (
		SELECT ` + columns + ` FROM document_history
		WHERE practice_id = $1 AND type = $4 AND id = c.id AND updated_at <= $8
		ORDER BY version DESC LIMIT 1) h
	WHERE c.practice_id = $1 AND c.type = $4 AND c.id > $5 AND c.id <= $6 AND c.updated_at > $8) d` + joins + `
	WHERE NOT d.deleted AND d.updated_at > $7 AND p.deleted_at IS NULL AND v.entitled`

// PlanStep is one step of the plan of an export's files.
type PlanStep struct {
	Export BulkExport
	// Type is where the step looks.
	Type string
	// Scan is how many resources it looks at; FileRows and FileBytes bound a file, whose
	// last resource may exceed the bytes.
	Scan, FileRows, FileBytes int
}

// planWindow says up to where the step comes, and whether that is the type's end. Files never cross
// a window, so reading one costs no more than its step did, however little of it the viewer sees.
const planWindow = `SELECT count(*) < $4, (array_agg(id ORDER BY id DESC))[1] FROM (
	SELECT id FROM documents WHERE practice_id = $1 AND type = $2 AND id > $3 ORDER BY id LIMIT $4) w`

// PlanWindow reads the window of a step: its last id, nil where nothing is left, and whether
// the type ends there.
func PlanWindow(b *pgx.Batch, practice uuid.UUID, s PlanStep, last *uuid.UUID, ends *bool) {
	*last = uuid.Nil
	queue(b, planWindow, practice, s.Type, s.after(), s.Scan).QueryRow(func(r pgx.Row) error {
		var id *uuid.UUID
		if err := r.Scan(ends, &id); err != nil {
			return err
		}
		if id != nil {
			*last = *id
		}
		return nil
	})
}

func (s PlanStep) after() uuid.UUID {
	if s.Export.Plan.Type == s.Type {
		return s.Export.Plan.ID
	}
	return uuid.Nil
}

// The lock and the comparison let one of several polls make a step, and the others nothing.
const planFiles = `WITH held AS MATERIALIZED (
	SELECT FROM fhir_exports WHERE practice_id = $1 AND export_id = $9 AND plan_type = $10 AND plan_id = $11 FOR UPDATE),
moved AS (
	UPDATE fhir_exports SET plan_type = $12, plan_id = $13
	WHERE practice_id = $1 AND export_id = $9 AND EXISTS (SELECT FROM held)),
split AS (
	SELECT d.id, (row_number() OVER w - 1) / $14 AS by_rows, sum(octet_length(d.sealed)) OVER w / $15 AS by_bytes` + asOf + `
	WINDOW w AS (ORDER BY d.id))
INSERT INTO fhir_export_files (practice_id, export_id, type, first_id, last_id, resources)
SELECT $1, $9, $4, (array_agg(id ORDER BY id))[1], (array_agg(id ORDER BY id DESC))[1], count(*)
FROM split WHERE EXISTS (SELECT FROM held) GROUP BY by_rows, by_bytes`

// PlanFiles plans the files of a step up to last, and moves the plan on. It reads no content. Where the plan
// is not any more where the step begins, it does nothing.
func PlanFiles(b *pgx.Batch, v Viewer, s PlanStep, last uuid.UUID, to Ref) {
	e := s.Export
	queue(b, planFiles, v.args(s.Type, s.after(), last, e.Since, e.Created, e.ID, e.Plan.Type, e.Plan.ID, to.Type, to.ID, s.FileRows, s.FileBytes)...)
}

// ExportFile is a file of an export: the resources of a type between two ids.
type ExportFile struct {
	Type        string
	First, Last uuid.UUID
	Resources   int
}

func scanFile(r pgx.Rows, f *ExportFile) error {
	return r.Scan(&f.Type, &f.First, &f.Last, &f.Resources)
}

const exportFiles = `SELECT type, first_id, last_id, resources FROM fhir_export_files WHERE practice_id = $1 AND export_id = $2 AND `

// ListExportFiles reads the planned files of the types.
func ListExportFiles(b *pgx.Batch, practice, export uuid.UUID, types []string, out *[]ExportFile) {
	many(b, out, scanFile, exportFiles+`type = ANY($3::text[]) ORDER BY type, first_id`, practice, export, types)
}

// ReadExportFile reads one planned file.
func ReadExportFile(b *pgx.Batch, practice, export uuid.UUID, resourceType string, first uuid.UUID, out *ExportFile, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanFile(r, out) }, exportFiles+`type = $3 AND first_id = $4`, practice, export, resourceType, first)
}

const readPart = `SELECT s.type, s.id, s.patient_id, s.version, s.key_id, s.wrapped, s.digest,
		CASE WHEN s.before < $10 THEN s.sealed END, s.created_at, s.updated_at, true, false, false FROM (
	SELECT d.*, coalesce(k.wrapped, '') AS wrapped, sum(octet_length(d.sealed)) OVER (ORDER BY d.id) - octet_length(d.sealed) AS before` + asOf + `
	ORDER BY d.id LIMIT $9) s ORDER BY s.id`

// ReadPart reads what the viewer may see now of a file. Beyond so many rows and bytes it reads
// none, or rows without content: the viewer may see more patients than when it was planned.
func ReadPart(b *pgx.Batch, v Viewer, e BulkExport, f ExportFile, rows, bytes int, out *[]Document) {
	many(b, out, scanDocument, readPart, v.args(f.Type, below(f.First), f.Last, e.Since, e.Created, rows, bytes)...)
}

// below is the id before one.
func below(id uuid.UUID) uuid.UUID {
	for i := len(id) - 1; i >= 0; i-- {
		id[i]--
		if id[i] != 0xff {
			break
		}
	}
	return id
}
