package store

import (
	"time"

	"github.com/google/uuid"
)

// Received notes that a message came in. No row: it came before.
func (t *Tx) Received(sid string) *Rows[string] {
	return scalars[string](t, `INSERT INTO received (sid, created) VALUES ($1, coalesce($2::timestamptz, clock_timestamp()))
		ON CONFLICT DO NOTHING RETURNING sid`, sid, t.at())
}

// Hold lets sending to a number rest, unless the message that asks for it came before.
func (t *Tx) Hold(token []byte, sid string) {
	t.exec(`INSERT INTO holds (practice_id, token, created) SELECT $1, $2, coalesce($3::timestamptz, clock_timestamp())
		WHERE NOT EXISTS (SELECT FROM received WHERE sid = $4) ON CONFLICT DO NOTHING`, t.practice, token, t.at(), sid)
}

// Review is a reply that waits to be read, sealed.
type Review struct {
	ID       uuid.UUID
	Number   string
	Text     string
	Received time.Time
}

// InsertReview keeps a reply for somebody to read, unless most replies of the number wait already.
func (t *Tx) InsertReview(r Review, token []byte, most int) {
	t.exec(`INSERT INTO reviews (id, practice_id, token, number_sealed, text_sealed, received)
		SELECT $1, $2, $3, $4, $5, coalesce($6::timestamptz, clock_timestamp())
		WHERE (SELECT count(*) FROM reviews WHERE practice_id = $2 AND token = $3 AND resolved IS NULL) < $7 ON CONFLICT DO NOTHING`,
		r.ID, t.practice, token, r.Number, r.Text, t.at(), most)
}

// Reviews reads a page of the replies that wait, after an id.
func (t *Tx) Reviews(after uuid.UUID, limit int) *Rows[Review] {
	return query[Review](t, `SELECT id, number_sealed, text_sealed, received FROM reviews
		WHERE practice_id = $1 AND resolved IS NULL AND id > $2 ORDER BY id LIMIT $3`, t.practice, after, limit)
}

// ResolveReview closes a reply and, with stop, stops everything to its number.
// Otherwise sending goes on once no other reply of the number waits. No row: it was closed, or never there.
func (t *Tx) ResolveReview(id, by uuid.UUID, stop bool) *Rows[uuid.UUID] {
	resolution := 1
	if stop {
		resolution = 2
		t.exec(`INSERT INTO suppressions (practice_id, token, created) SELECT practice_id, token, coalesce($3::timestamptz, clock_timestamp())
			FROM reviews WHERE id = $1 AND practice_id = $2 AND resolved IS NULL AND token IS NOT NULL ON CONFLICT DO NOTHING`, id, t.practice, t.at())
	}
	resolved := scalars[uuid.UUID](t, `UPDATE reviews SET resolved = coalesce($4::timestamptz, clock_timestamp()), resolved_by = $3, resolution = $5
		WHERE id = $1 AND practice_id = $2 AND resolved IS NULL RETURNING id`, id, t.practice, by, t.at(), resolution)
	t.exec(`DELETE FROM holds h USING reviews r WHERE r.id = $1 AND r.practice_id = $2 AND h.practice_id = $2 AND h.token = r.token
		AND NOT EXISTS (SELECT FROM reviews o WHERE o.practice_id = $2 AND o.token = r.token AND o.resolved IS NULL)`, id, t.practice)
	return resolved
}
