package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ReadTeam reads the care team of a patient. It asks nobody: the caller of this
// function has to have read whether the viewer may see the patient.
func ReadTeam(b *pgx.Batch, practice, patient uuid.UUID, out *[]uuid.UUID) {
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) },
		`SELECT user_id FROM care_team WHERE practice_id = $1 AND patient_id = $2 ORDER BY user_id`, practice, patient)
}

// AddMember adds a doctor to the care team of a patient whom the viewer may see.
func AddMember(b *pgx.Batch, v Viewer, patient, user uuid.UUID, now time.Time) {
	queue(b, `INSERT INTO care_team (practice_id, patient_id, user_id, added_at)
		SELECT $1, p.patient_id, $5, $6 FROM patients p
		WHERE p.practice_id = $1 AND p.patient_id = $4 AND p.deleted_at IS NULL AND `+visible+`
		ON CONFLICT DO NOTHING`, v.args(patient, user, now)...)
}

// RemoveMember takes a doctor off the care team of a patient whom the viewer may see.
func RemoveMember(b *pgx.Batch, v Viewer, patient, user uuid.UUID) {
	queue(b, `DELETE FROM care_team t USING patients p
		WHERE t.practice_id = $1 AND t.patient_id = $4 AND t.user_id = $5
		  AND p.practice_id = $1 AND p.patient_id = $4 AND p.deleted_at IS NULL AND `+visible, v.args(patient, user)...)
}

// ReadOwners reads which of the users are in a care team or made a record by a request of theirs.
func ReadOwners(b *pgx.Batch, practice uuid.UUID, users []uuid.UUID, out *[]uuid.UUID) {
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) },
		`SELECT user_id FROM care_team WHERE practice_id = $1 AND user_id = ANY ($2)
		UNION SELECT user_id FROM requests WHERE practice_id = $1 AND user_id = ANY ($2)`, practice, users)
}
