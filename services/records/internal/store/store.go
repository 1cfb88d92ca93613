// Package store holds the SQL of the records database. Its functions queue
// statements on a batch and fill results when the batch runs, so that libs/pg can commit
// many accesses at once. It seals and opens nothing: what it stores is ciphertext,
// keyed digests and wrapped keys.
package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// MaxSeals is how many documents may be sealed with one key: half of what
// SP 800-38D allows with random nonces.
const MaxSeals = 1 << 31

// Viewer is whose eyes a statement looks through.
type Viewer struct {
	Practice uuid.UUID
	// User is for whom a glass was broken; nil does not look through any.
	User uuid.UUID
	// Subjects are the doctors whose care teams open patients.
	Subjects []uuid.UUID
	// Whole opens every patient of the practice but those who are Closed to that.
	Whole  bool
	Closed []uuid.UUID
}

// The viewer is $1 practice, $2 whom the whole practice does not open, or NULL where it opens
// nobody, and $3, in which the user comes first and then the subjects. Times are the database's:
// all replicas go by one clock. OFFSET 0 keeps an EXISTS from being answered for all patients at
// once, which reads the whole list of a doctor.
const (
	subjects = `($3::uuid[])[2:]`

	// treated is true where the viewer may see patient p as the care team or the whole
	// practice may. The directory, the nil patient, is everybody's.
	treated = `(coalesce(p.patient_id <> ALL ($2::uuid[]), false) OR p.patient_id = '00000000-0000-0000-0000-000000000000' OR EXISTS (
	SELECT FROM care_team c WHERE c.practice_id = $1 AND c.patient_id = p.patient_id AND c.user_id = ANY(` + subjects + `) AND ` + current + ` OFFSET 0))`

	// entitled is treated, or a doctor to whom the patient is referred.
	entitled = `(` + treated + ` OR EXISTS (
	SELECT FROM referrals c WHERE c.practice_id = $1 AND c.patient_id = p.patient_id AND c.to_user = ANY(` + subjects + `) AND ` + inForce + ` OFFSET 0))`

	// current is true of members of a care team c, or of referrals, whose time it is.
	current = `statement_timestamp() >= c.starts_at AND statement_timestamp() < c.ends_at`
	// inForce is true of referrals c that were accepted and not withdrawn, and whose time it is.
	inForce = `c.decision = 1 AND c.withdrawn_at IS NULL AND ` + current

	opened = `EXISTS (
	SELECT FROM glass_openings g WHERE g.practice_id = $1 AND g.patient_id = p.patient_id AND g.user_id = ($3::uuid[])[1]
	  AND statement_timestamp() < g.ends_at OFFSET 0)`

	// visible is true where the viewer may see patient p, also through a broken glass.
	visible = `(` + entitled + ` OR ` + opened + `)`

	// sight joins both answers as v: OFFSET 0 keeps the planner from putting a question in
	// every place of its answer.
	sight = `CROSS JOIN LATERAL (SELECT e.entitled, e.entitled OR ` + opened + ` AS visible
		FROM (SELECT ` + entitled + ` AS entitled OFFSET 0) e OFFSET 0) v`
	// broken is true where the viewer sees a patient through a broken glass alone.
	broken = `v.visible AND NOT v.entitled`
)

// args are the first three arguments of every statement that asks what a viewer sees.
func (v Viewer) args(more ...any) []any {
	var whole any
	if v.Whole {
		whole = append([]uuid.UUID{}, v.Closed...)
	}
	return append([]any{v.Practice, whole, append([]uuid.UUID{v.User}, v.Subjects...)}, more...)
}

// Document is one version of a resource as it is stored.
type Document struct {
	Type             string
	ID, Patient      uuid.UUID
	Version          int64
	KeyID            uuid.UUID
	Wrapped          string // the data key
	Digest, Sealed   []byte
	Created, Updated time.Time
	// Visible is false where the viewer may not see the patient; Sealed is then empty.
	Visible bool
	// Glass is true where the viewer sees the patient through a broken glass alone.
	Glass bool
	// Deleted marks a version without content.
	Deleted bool
}

// Read says whether the row came with its content: one beyond the bytes of a page does not.
func (d Document) Read() bool { return d.Sealed != nil }

// At is where a list goes on after the row.
func (d Document) At() Cursor { return Cursor{Created: d.Created, ID: d.ID} }

// Patient is a patient's row with the key for new documents.
type Patient struct {
	ID      uuid.UUID
	KeyID   uuid.UUID
	Wrapped string
	Seals   int64
	Created time.Time
	Visible bool
	// Glass is true where the viewer sees the patient through a broken glass alone.
	Glass   bool
	Deleted bool
}

// Exhausted reports whether the patient's key may seal no more.
func (p Patient) Exhausted() bool { return p.Seals >= MaxSeals }

// queue queues a statement. pgx would take UUIDs through their text form; as its
// own type they go as they are, which a profile of reads showed.
func queue(b *pgx.Batch, sql string, args ...any) *pgx.QueuedQuery {
	for i, arg := range args {
		switch v := arg.(type) {
		case uuid.UUID:
			args[i] = pgtype.UUID{Bytes: v, Valid: true}
		case []uuid.UUID:
			list := make(pgtype.FlatArray[pgtype.UUID], len(v))
			for j, id := range v {
				list[j] = pgtype.UUID{Bytes: id, Valid: true}
			}
			args[i] = list
		}
	}
	return b.Queue(sql, args...)
}

// one queues a query for at most one row; found says whether there was one.
func one(b *pgx.Batch, found *bool, scan func(pgx.Rows) error, sql string, args ...any) {
	*found = false
	queue(b, sql, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			*found = true
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// many queues a query whose rows are appended to out.
func many[T any](b *pgx.Batch, out *[]T, scan func(pgx.Rows, *T) error, sql string, args ...any) {
	*out = (*out)[:0]
	queue(b, sql, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var item T
			if err := scan(rows, &item); err != nil {
				return err
			}
			*out = append(*out, item)
		}
		return rows.Err()
	})
}

// changed queues a statement and says whether it changed a row.
func changed(b *pgx.Batch, done *bool, sql string, args ...any) {
	one(b, done, func(pgx.Rows) error { return nil }, sql, args...)
}
