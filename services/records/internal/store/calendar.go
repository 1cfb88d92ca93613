package store

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Cell is a step of time that an appointment covers.
type Cell struct {
	Token []byte
	Holds bool // for nobody else
}

// Booking is an Appointment document and the steps of time that it covers.
type Booking struct {
	Document Document
	Cells    []Cell
}

// Occupied says how many cells of an appointment were stored.
type Occupied struct {
	Appointment uuid.UUID
	Cells       int
}

// Occupy makes cells those of each appointment, where the document is the stored one: statements
// before it in the transaction store it. A cell that another appointment holds is left out, so
// fewer cells than asked for are a double booking, which the caller has to undo. The insert waits for
// others who want the same cell; in order of the tokens, so that two do not wait for each other.
func Occupy(b *pgx.Batch, practice uuid.UUID, bookings []Booking, out *[]Occupied) {
	*out = (*out)[:0]
	if len(bookings) == 0 {
		return
	}
	var ids, owners []uuid.UUID
	var versions []int64
	digests, tokens, holds := [][]byte{}, [][]byte{}, []bool{}
	for _, k := range bookings {
		ids, versions, digests = append(ids, k.Document.ID), append(versions, k.Document.Version), append(digests, k.Document.Digest)
		for _, c := range k.Cells {
			owners, tokens, holds = append(owners, k.Document.ID), append(tokens, c.Token), append(holds, c.Holds)
		}
	}
	const is = ` unnest($2::uuid[], $3::bigint[], $4::bytea[]) AS t(id, version, digest)
		JOIN documents d ON d.practice_id = $1 AND d.type = 'Appointment' AND d.id = t.id AND d.version = t.version AND d.digest = t.digest`
	queue(b, `DELETE FROM appointment_cells c USING`+is+` WHERE c.practice_id = $1 AND c.appointment_id = t.id`,
		practice, ids, versions, digests)
	many(b, out, func(r pgx.Rows, o *Occupied) error { return r.Scan(&o.Appointment, &o.Cells) },
		`WITH put AS (INSERT INTO appointment_cells (practice_id, token, appointment_id, patient_id, holds)
			SELECT $1, w.token, d.id, d.patient_id, w.holds FROM`+is+`
			JOIN unnest($5::uuid[], $6::bytea[], $7::boolean[]) AS w(id, token, holds) ON w.id = t.id
			ORDER BY w.token ON CONFLICT DO NOTHING RETURNING appointment_id)
		SELECT appointment_id, count(*) FROM put GROUP BY 1`,
		practice, ids, versions, digests, owners, tokens, holds)
}

// Vacate takes a deleted appointment out of the calendar.
func Vacate(b *pgx.Batch, practice, appointment uuid.UUID) {
	queue(b, `DELETE FROM appointment_cells WHERE practice_id = $1 AND appointment_id = $2 AND EXISTS (
		SELECT FROM documents d WHERE d.practice_id = $1 AND d.type = 'Appointment' AND d.id = $2 AND d.deleted)`, practice, appointment)
}

// ReadHeld reads which of the tokens somebody holds.
func ReadHeld(b *pgx.Batch, practice uuid.UUID, tokens [][]byte, out *[][]byte) {
	many(b, out, func(r pgx.Rows, token *[]byte) error { return r.Scan(token) },
		`SELECT token FROM appointment_cells WHERE practice_id = $1 AND token = ANY($2::bytea[]) AND holds`, practice, tokens)
}

// Moment is where a calendar goes on: after the appointment that first covers the
// token at this place of the list, and has this id.
type Moment struct {
	Place int64
	ID    uuid.UUID
}

// Dated is an appointment and the first place among the tokens that it covers.
type Dated struct {
	ID    uuid.UUID
	Place int64
}

const listCalendar = `SELECT m.place, ` + documentColumns + ` FROM (
	SELECT c.appointment_id, min(t.place) AS place
	FROM unnest($4::bytea[]) WITH ORDINALITY AS t(token, place)
	JOIN appointment_cells c ON c.practice_id = $1 AND c.token = t.token GROUP BY 1) m
	JOIN documents d ON d.practice_id = $1 AND d.type = 'Appointment' AND d.id = m.appointment_id AND NOT d.deleted` + joins + `
	WHERE p.deleted_at IS NULL AND v.visible AND (m.place, d.id) > ($5, $6)
	ORDER BY m.place, d.id LIMIT $7`

// ListCalendar reads the appointments that cover any of the tokens, of patients whom the viewer
// may see, in the order of the tokens; places says where in it each one stands.
func ListCalendar(b *pgx.Batch, v Viewer, tokens [][]byte, after Moment, limit int, places *[]Dated, out *[]Document) {
	*places = (*places)[:0]
	many(b, out, func(r pgx.Rows, d *Document) error {
		at := Dated{}
		err := r.Scan(&at.Place, &d.Type, &d.ID, &d.Patient, &d.Version, &d.KeyID, &d.Wrapped, &d.Digest,
			&d.Sealed, &d.Created, &d.Updated, &d.Visible, &d.Glass, &d.Deleted)
		at.ID = d.ID
		*places = append(*places, at)
		return err
	}, listCalendar, v.args(tokens, after.Place, after.ID, limit)...)
}
