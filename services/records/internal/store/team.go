package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Member is a doctor on a care team. A zero time is no bound.
type Member struct {
	User         uuid.UUID
	Starts, Ends time.Time
	// Current says whether it is the member's time now.
	Current bool
}

// ReadTeam reads the care team of a patient. It asks nobody: the caller of this
// function has to have read whether the viewer may see the patient.
func ReadTeam(b *pgx.Batch, practice, patient uuid.UUID, out *[]Member) {
	many(b, out, func(r pgx.Rows, m *Member) error {
		var starts, ends *time.Time
		err := r.Scan(&m.User, &starts, &ends, &m.Current)
		m.Starts, m.Ends = instant(starts), instant(ends)
		return err
	}, `SELECT c.user_id, nullif(c.starts_at, '-infinity'), nullif(c.ends_at, 'infinity'), `+current+`
		FROM care_team c WHERE c.practice_id = $1 AND c.patient_id = $2 ORDER BY c.user_id`, practice, patient)
}

func instant(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// bound is what the database stores for no bound.
func bound(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// AddMember adds a doctor to the care team of a patient whom the viewer treats, or
// changes the member's time. Through a broken glass or by a referral nobody changes a
// team: they would open the chart for good.
func AddMember(b *pgx.Batch, v Viewer, patient uuid.UUID, m Member, now time.Time) {
	queue(b, `INSERT INTO care_team AS t (practice_id, patient_id, user_id, added_at, starts_at, ends_at)
		SELECT $1, p.patient_id, $5, $6, coalesce($7::timestamptz, '-infinity'), coalesce($8::timestamptz, 'infinity') FROM (
			SELECT p.patient_id FROM patients p WHERE p.practice_id = $1 AND p.patient_id = $4 AND p.deleted_at IS NULL AND `+treated+`
			FOR KEY SHARE OF p) p -- an erasure that is under way leaves no member
		WHERE true
		ON CONFLICT (practice_id, patient_id, user_id) DO UPDATE
		SET added_at = excluded.added_at, starts_at = excluded.starts_at, ends_at = excluded.ends_at
		WHERE (t.starts_at, t.ends_at) <> (excluded.starts_at, excluded.ends_at)`,
		v.args(patient, m.User, now, bound(m.Starts), bound(m.Ends))...)
}

// RemoveMember takes a doctor off the care team of a patient whom the viewer treats.
func RemoveMember(b *pgx.Batch, v Viewer, patient, user uuid.UUID) {
	queue(b, `DELETE FROM care_team t USING patients p
		WHERE t.practice_id = $1 AND t.patient_id = $4 AND t.user_id = $5
		  AND p.practice_id = $1 AND p.patient_id = $4 AND p.deleted_at IS NULL AND `+treated, v.args(patient, user)...)
}

// ReadOwners reads which of the users are in a care team or made a record by a request of theirs.
func ReadOwners(b *pgx.Batch, practice uuid.UUID, users []uuid.UUID, out *[]uuid.UUID) {
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) },
		`SELECT user_id FROM care_team WHERE practice_id = $1 AND user_id = ANY ($2)
		UNION SELECT user_id FROM requests WHERE practice_id = $1 AND user_id = ANY ($2)
		UNION SELECT user_id FROM makers WHERE practice_id = $1 AND user_id = ANY ($2)`, practice, users)
}
