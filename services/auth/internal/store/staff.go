package store

import (
	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/auth/internal/roles"
)

// Assignment is a member who acts for a doctor.
type Assignment struct {
	Staff   uuid.UUID
	Modules roles.Modules
}

// Assignments lists whom the doctor is served by.
func (t *Tx) Assignments(doctor uuid.UUID) *Rows[Assignment] {
	return query[Assignment](t, "SELECT staff_id, modules FROM assignments WHERE doctor_id = $1 AND practice_id = $2 ORDER BY staff_id",
		doctor, t.practice)
}

// Members reads the users that act for the doctor, in the order of Assignments.
func (t *Tx) Members(doctor uuid.UUID) *Rows[User] {
	return query[User](t, userSelect+`JOIN assignments a ON a.staff_id = u.id
		WHERE a.doctor_id = $1 AND a.practice_id = $2 ORDER BY u.id`, doctor, t.practice)
}

// Assign makes the member act for the doctor; an assignment that is there stays as it is.
// The kinds are checked again here, in the same statement as the insert. No row:
// the kinds changed meanwhile, or the member acts for most doctors already.
func (t *Tx) Assign(doctor, staff uuid.UUID, modules roles.Modules, most int) *Rows[Assignment] {
	t.LockUser(staff)
	t.exec(`INSERT INTO assignments (doctor_id, staff_id, practice_id, modules, created)
		SELECT d.id, s.id, $3, $4, coalesce($5::timestamptz, clock_timestamp()) FROM users d, users s
		WHERE d.id = $1 AND d.role = 3 AND s.id = $2 AND s.role = 4 AND d.practice_id = $3 AND s.practice_id = $3
		AND (SELECT count(*) FROM assignments WHERE staff_id = $2) < $6
		ON CONFLICT DO NOTHING`, doctor, staff, t.practice, modules, t.at(), most)
	return t.Assignment(doctor, staff)
}

// Assignment reads one assignment.
func (t *Tx) Assignment(doctor, staff uuid.UUID) *Rows[Assignment] {
	return query[Assignment](t, "SELECT staff_id, modules FROM assignments WHERE doctor_id = $1 AND staff_id = $2 AND practice_id = $3",
		doctor, staff, t.practice)
}

// SetModules changes what the doctor opens to the member.
func (t *Tx) SetModules(doctor, staff uuid.UUID, modules roles.Modules) *Rows[Assignment] {
	return query[Assignment](t, `UPDATE assignments SET modules = $4 WHERE doctor_id = $1 AND staff_id = $2 AND practice_id = $3
		RETURNING staff_id, modules`, doctor, staff, t.practice, modules)
}

// Unassign ends an assignment. No row: there was none.
func (t *Tx) Unassign(doctor, staff uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, "DELETE FROM assignments WHERE doctor_id = $1 AND staff_id = $2 AND practice_id = $3 RETURNING staff_id",
		doctor, staff, t.practice)
}

// UnassignAll ends what the user is assigned to, on either side: the user changes role or leaves.
func (t *Tx) UnassignAll(user uuid.UUID) {
	t.exec("DELETE FROM assignments WHERE (doctor_id = $1 OR staff_id = $1) AND practice_id = $2", user, t.practice)
}
