package store

import (
	"time"

	"github.com/google/uuid"
)

// Mail is a queued message, sealed.
type Mail struct {
	ID      uuid.UUID
	Sealed  string
	Tries   int32
	Expired bool
}

// QueueMail queues a message for the user, if the transaction created or found the user.
func (t *Tx) QueueMail(id, user uuid.UUID, sealed string, life time.Duration) {
	t.exec(`INSERT INTO mail (id, sealed, created, due, expires) SELECT $1, $2, now, now, now + $3
		FROM (SELECT coalesce($4::timestamptz, clock_timestamp()) AS now) clock WHERE EXISTS (SELECT FROM users WHERE id = $5)`,
		id, sealed, life, t.at(), user)
}

// TakeMail hands out due messages, each to one worker, and puts them off for the
// pause of their next try, in case this worker does not come back.
func (t *Tx) TakeMail(limit int, first, longest time.Duration) *Rows[Mail] {
	return query[Mail](t, `UPDATE mail m SET tries = tries + 1, due = clock.now + least($3::interval, $2::interval * power(2, least(tries, 16)))
		FROM (SELECT coalesce($4::timestamptz, clock_timestamp()) AS now) clock
		WHERE id IN (SELECT id FROM mail WHERE due <= coalesce($4::timestamptz, clock_timestamp()) ORDER BY due LIMIT $1 FOR UPDATE SKIP LOCKED)
		RETURNING m.id, m.sealed, m.tries, m.expires <= clock.now`, limit, first, longest, t.at())
}

// DeleteMail forgets a message that was sent or is of no more use.
func (t *Tx) DeleteMail(id uuid.UUID) { t.exec("DELETE FROM mail WHERE id = $1", id) }
