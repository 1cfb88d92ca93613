package store

import (
	"time"

	"github.com/google/uuid"
)

// Occasion is something that a user is to be told.
type Occasion struct {
	ID        uuid.UUID
	Practice  uuid.UUID
	User      uuid.UUID
	Kind      string
	Address   string
	UserAgent string
	Created   time.Time
}

// Tell keeps an occasion; a worker writes the mail after the commit.
func (t *Tx) Tell(user uuid.UUID, kind, address, userAgent string) {
	t.exec(`INSERT INTO occasions (id, practice_id, user_id, kind, address, user_agent, created)
		VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, coalesce($6::timestamptz, clock_timestamp()))`,
		t.practice, user, kind, address, userAgent, t.at())
}

// WaitingOccasions are the oldest of all practices.
func (t *Tx) WaitingOccasions(limit int) *Rows[Occasion] {
	return query[Occasion](t, "SELECT * FROM waiting_occasions($1)", limit)
}

// TakeOccasion removes an occasion. No row: another worker was faster.
func (t *Tx) TakeOccasion(id uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, "DELETE FROM occasions WHERE id = $1 AND practice_id = $2 RETURNING id", id, t.practice)
}
