package store

import (
	"time"

	"github.com/google/uuid"
)

// Told is how many notices under a title a user was sent in the window that is open, 0 where none is, and how many were held back since the last one.
type Told struct {
	User       uuid.UUID
	Sent, Held int
}

// Told reads it for the users of the transaction's practice who were told something under the title.
func (t *Tx) Told(title string, window time.Duration) *Rows[Told] {
	return query[Told](t, `SELECT user_id, CASE WHEN since > coalesce($4::timestamptz, clock_timestamp()) - $3::interval THEN sent ELSE 0 END, held
		FROM told WHERE practice_id = $1 AND title = $2`, t.practice, title, window, t.at())
}

// CountTold counts a notice that is sent. The first opens a window, as does the first after it.
func (t *Tx) CountTold(user uuid.UUID, title string, window time.Duration) {
	t.exec(`INSERT INTO told (practice_id, user_id, title, since, sent)
		SELECT $1, $2, $3, coalesce($5::timestamptz, clock_timestamp()), 1
		ON CONFLICT (user_id, title) DO UPDATE SET held = 0,
		sent = CASE WHEN told.since > excluded.since - $4::interval THEN told.sent + 1 ELSE 1 END,
		since = CASE WHEN told.since > excluded.since - $4::interval THEN told.since ELSE excluded.since END`,
		t.practice, user, title, window, t.at())
}

// HoldTold counts a notice that is held back.
func (t *Tx) HoldTold(user uuid.UUID, title string) {
	t.exec("UPDATE told SET held = held + 1 WHERE user_id = $1 AND title = $2", user, title)
}
