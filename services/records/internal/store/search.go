package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Span is a time from From on, until before To.
type Span struct{ From, To time.Time }

// Search is what documents have to meet, all of it: clear metadata, and tokens of
// one generation of the blind index. Nil lists ask nothing.
type Search struct {
	Type string
	// Of the patients and ids, the document has one. An empty list that is not nil finds nothing.
	Patients, IDs []uuid.UUID
	// Updated holds lists of spans: the last change lies in one of each list.
	Updated [][]Span
	// Generation is the one that Tokens are of; the document has one token of each list.
	Generation int32
	Tokens     [][][]byte
	// Oldest orders by the time of the last change, the oldest first instead of the newest.
	Oldest bool
	// After is the last document of the page before; the zero value begins.
	After Cursor
	Limit int
}

// statement collects the arguments of a statement as it is written.
type statement struct {
	strings.Builder
	args []any
}

func (s *statement) arg(v any) string {
	s.args = append(s.args, v)
	return fmt.Sprintf("$%d", len(s.args))
}

// Find reads the documents that the viewer may see and that meet the search, in the
// order of their last change. What the viewer may not see counts nowhere: not in
// a page, and not in its limit. Beyond 3 MiB it reads rows without content.
func Find(b *pgx.Batch, v Viewer, q Search, out *[]Document) {
	sql, args := q.find(v)
	many(b, out, scanDocument, sql, args...)
}

func (q Search) find(v Viewer) (string, []any) {
	s := &statement{args: v.args()}
	order := "d.updated_at DESC, d.id DESC"
	if q.Oldest {
		order = "d.updated_at, d.id"
	}
	resourceType := s.arg(q.Type)
	fmt.Fprintf(s, `WITH page AS MATERIALIZED (
		SELECT d.id, sum(octet_length(d.sealed)) OVER (ORDER BY %[1]s) - octet_length(d.sealed) AS before
		FROM %[2]s`+ofPatient+`
		CROSS JOIN LATERAL (SELECT `+visible+` AS visible OFFSET 0) v
		WHERE d.practice_id = $1 AND d.type = %[3]s AND NOT d.deleted AND p.deleted_at IS NULL AND v.visible`,
		order, q.from(s, resourceType), resourceType)
	q.where(s)
	fmt.Fprintf(s, ` ORDER BY %s LIMIT %s)`, order, s.arg(q.Limit))
	shown := strings.Replace(documentColumns, "WHEN v.visible", "WHEN m.before < "+s.arg(pageBytes), 1)
	fmt.Fprintf(s, ` SELECT %s FROM page m CROSS JOIN LATERAL (SELECT `+columns+` FROM documents
		WHERE practice_id = $1 AND type = %s AND id = m.id OFFSET 0) d`+joins+` ORDER BY %s`,
		shown, resourceType, order)
	return s.String(), s.args
}

// from begins with what selects best: tokens before all else, then patients, so that the
// plan does not depend on what the planner believes about them.
func (q Search) from(s *statement, resourceType string) string {
	if len(q.Tokens) == 0 && q.Patients == nil {
		return "documents d"
	}
	if len(q.Tokens) == 0 {
		return fmt.Sprintf(`(SELECT DISTINCT unnest(%s::uuid[]) AS id OFFSET 0) a
			CROSS JOIN LATERAL (SELECT `+columns+` FROM documents WHERE practice_id = $1 AND patient_id = a.id AND type = %s AND NOT deleted OFFSET 0) d`,
			s.arg(q.Patients), resourceType)
	}
	generation := s.arg(q.Generation)
	hits := make([]string, len(q.Tokens))
	for i, any := range q.Tokens {
		hits[i] = fmt.Sprintf(`SELECT i.id FROM unnest(%s::bytea[]) AS t(token) CROSS JOIN LATERAL (SELECT id FROM resource_index
			WHERE practice_id = $1 AND generation = %s AND token = t.token AND type = %s OFFSET 0) i`, s.arg(any), generation, resourceType)
	}
	return `(SELECT DISTINCT h.id FROM (` + strings.Join(hits, " INTERSECT ") + `) h OFFSET 0) h
		CROSS JOIN LATERAL (SELECT ` + columns + ` FROM documents WHERE practice_id = $1 AND type = ` + resourceType + ` AND id = h.id OFFSET 0) d`
}

func (q Search) where(s *statement) {
	if q.Patients != nil {
		fmt.Fprintf(s, " AND d.patient_id = ANY(%s::uuid[])", s.arg(q.Patients))
	}
	if q.IDs != nil {
		fmt.Fprintf(s, " AND d.id = ANY(%s::uuid[])", s.arg(q.IDs))
	}
	for _, spans := range q.Updated {
		from, to := make([]time.Time, len(spans)), make([]time.Time, len(spans))
		for i, span := range spans {
			from[i], to[i] = span.From, span.To
		}
		fmt.Fprintf(s, ` AND EXISTS (SELECT FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS t(since, until)
			WHERE d.updated_at >= t.since AND d.updated_at < t.until)`, s.arg(from), s.arg(to))
	}
	if q.After != (Cursor{}) {
		sign := "<"
		if q.Oldest {
			sign = ">"
		}
		fmt.Fprintf(s, ` AND (d.updated_at, d.id) %s (%s, %s)`, sign, s.arg(q.After.Created), s.arg(q.After.ID))
	}
}

// Asked is a patient whom a search names.
type Asked struct {
	Patient uuid.UUID
	Visible bool
}

// ReadAsked reads which patients a search names, by themselves or by the id of a
// resource of theirs, and whether the viewer may see them.
func ReadAsked(b *pgx.Batch, v Viewer, q Search, out *[]Asked) {
	*out = (*out)[:0]
	if len(q.Patients) == 0 && len(q.IDs) == 0 {
		return
	}
	many(b, out, func(r pgx.Rows, a *Asked) error { return r.Scan(&a.Patient, &a.Visible) }, `SELECT p.patient_id, v.visible
		FROM (SELECT unnest($4::uuid[]) AS id UNION
			SELECT d.patient_id FROM unnest($6::uuid[]) AS i(id) CROSS JOIN LATERAL (SELECT patient_id FROM documents
				WHERE practice_id = $1 AND type = $5 AND id = i.id AND NOT deleted OFFSET 0) d) a
		CROSS JOIN LATERAL (SELECT patient_id, deleted_at FROM patients WHERE practice_id = $1 AND patient_id = a.id OFFSET 0) p
		CROSS JOIN LATERAL (SELECT `+visible+` AS visible OFFSET 0) v
		WHERE p.deleted_at IS NULL`,
		v.args(q.Patients, q.Type, q.IDs)...)
}

// Exists reports whether the viewer may see a document that meets the search.
func Exists(b *pgx.Batch, v Viewer, q Search, out *bool) {
	sql, args := q.find(v)
	changed(b, out, `SELECT FROM (`+sql+`) f`, args...)
}

// LockCondition waits until no other transaction holds the lock of a condition.
func LockCondition(b *pgx.Batch, key int64) {
	queue(b, `SELECT pg_advisory_xact_lock($1::bigint)`, key)
}
