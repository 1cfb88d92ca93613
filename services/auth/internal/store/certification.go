package store

import (
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// Item is a row of certification_items.
type Item struct {
	ID      uuid.UUID
	User    uuid.UUID
	Kind    int32
	Subject uuid.UUID
	Due     time.Time
	Outcome int32
}

const itemColumns = "id, user_id, kind, subject, due, outcome"

// OpenCertifications opens the review of the quarter, in every practice.
func (t *Tx) OpenCertifications() *Rows[int64] {
	t.alone = true
	return scalars[int64](t, "SELECT open_certifications($1)", t.at())
}

// Lapsed is an item that nobody decided in time.
type Lapsed struct {
	ID       uuid.UUID
	Practice uuid.UUID
	User     uuid.UUID
}

// LapseCertifications revokes what nobody confirmed, in every practice.
func (t *Tx) LapseCertifications() *Rows[Lapsed] {
	t.alone = true
	return query[Lapsed](t, "SELECT id, practice_id, user_id FROM lapse_certifications($1)", t.at())
}

// Items lists what is under review, undecided first, then the newest.
func (t *Tx) Items(most int) *Rows[Item] {
	return query[Item](t, "SELECT "+itemColumns+" FROM certification_items WHERE practice_id = $1 ORDER BY outcome > 0, due DESC, id LIMIT $2",
		t.practice, most)
}

// Item reads one.
func (t *Tx) Item(id uuid.UUID) *Rows[Item] {
	return query[Item](t, "SELECT "+itemColumns+" FROM certification_items WHERE id = $1 AND practice_id = $2", id, t.practice)
}

// Certify decides an item. A lost role can still be confirmed; a grant or an
// assignment that is gone cannot. No row: it is not to be decided, or is about the one who decides.
func (t *Tx) Certify(id, by uuid.UUID, confirm bool) *Rows[Item] {
	t.alone = true
	decided := query[Item](t, `UPDATE certification_items SET outcome = CASE WHEN $4 THEN 1 ELSE 2 END, decided_by = $3,
		decided = coalesce($5::timestamptz, clock_timestamp())
		WHERE id = $1 AND practice_id = $2 AND user_id <> $3 AND (outcome = 0 OR $4 AND kind IN (1, 2) AND outcome IN (2, 3))
		RETURNING `+itemColumns, id, t.practice, by, confirm, t.at())
	t.exec(`SELECT revoke_certified(id, decided) FROM certification_items
		WHERE id = $1 AND practice_id = $2 AND decided_by = $3 AND outcome = 2 AND NOT $4`, id, t.practice, by, confirm)
	// Both the role and the custom role must stand.
	t.exec(`UPDATE users u SET certified_until = NULL FROM certification_items i
		WHERE i.id = $1 AND i.practice_id = $2 AND i.outcome = 1 AND i.kind IN (1, 2) AND u.id = i.user_id
		AND NOT EXISTS (SELECT FROM certification_items o WHERE o.user_id = i.user_id AND o.quarter = i.quarter AND o.kind IN (1, 2)
			AND o.outcome IN (2, 3) AND (o.kind = 1 OR o.subject = u.role_id))`, id, t.practice)
	return decided
}

// Use is a permission that a user used, and when that was last.
type Use struct {
	User       uuid.UUID
	Permission accessv1.Permission
	Day        time.Time
}

// NoteUse keeps uses from every practice.
func (t *Tx) NoteUse(uses []Use) {
	t.alone = true
	users, permissions, days := make([]uuid.UUID, len(uses)), make([]int32, len(uses)), make([]time.Time, len(uses))
	for i, u := range uses {
		users[i], permissions[i], days[i] = u.User, int32(u.Permission), u.Day
	}
	t.exec("SELECT note_permission_use($1, $2, $3)", users, permissions, days)
}

// Used lists what the user used within so many days.
func (t *Tx) Used(user uuid.UUID, days int) *Rows[accessv1.Permission] {
	return scalars[accessv1.Permission](t, `SELECT permission FROM permission_use WHERE user_id = $1 AND practice_id = $2
		AND last_use > (coalesce($4::timestamptz, clock_timestamp()) AT TIME ZONE 'UTC')::date - $3::integer ORDER BY permission`,
		user, t.practice, days, t.at())
}
