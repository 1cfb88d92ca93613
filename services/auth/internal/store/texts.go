package store

import (
	"time"

	"github.com/google/uuid"
)

// Category is what a text message is about; the numbers are stored.
type Category int16

// Categories of text messages. Answer replies to a message that came in and needs no consent.
const (
	CategoryAnswer Category = iota
	CategoryAppointments
	CategoryCare
	CategoryCodes
)

// TextState is how far a text message is; the numbers are stored.
type TextState int16

// States of a text message.
const (
	TextQueued TextState = 1 + iota
	TextSent
	TextFailed
	TextWithheld
	TextExpired
)

// NewText is a text message to queue. Token and Wide are the number's blind index
// in the practice and in the installation.
type NewText struct {
	ID          uuid.UUID
	Token, Wide []byte
	Category    Category
	Template    string
	Campaign    *uuid.UUID
	Sealed      string
	Life        time.Duration
	Creator     *uuid.UUID
	Request     *uuid.UUID
}

// LockNumber orders this transaction against others that count messages to the number.
func (t *Tx) LockNumber(token []byte) {
	t.alone = true
	t.exec("SELECT pg_advisory_xact_lock(hashtextextended('number:' || encode($1, 'hex'), 0))", token)
}

// QueueText queues a text message, unless something speaks against it: the row says
// what, or "". One whose id or request id was there before is not queued again.
func (t *Tx) QueueText(n NewText) *Rows[string] {
	return scalars[string](t, `WITH clock AS (SELECT coalesce($10::timestamptz, clock_timestamp()) AS now),
		verdict AS (SELECT text_refusal($2, $3, $4, $5::integer, $1, clock.now) AS refusal FROM clock),
		message AS (INSERT INTO messages (id, practice_id, token, wide, category, template, campaign_id, created, updated, created_by, request_id)
			SELECT $1, $2, $3, $4, $5, $6, $7, clock.now, clock.now, $11, $12 FROM clock, verdict WHERE verdict.refusal = ''
			ON CONFLICT DO NOTHING RETURNING id),
		queue AS (INSERT INTO texts (id, practice_id, sealed, created, due, expires)
			SELECT $1, $2, $8, clock.now, clock.now, clock.now + $9::interval FROM clock, message)
		SELECT refusal FROM verdict`,
		n.ID, t.practice, n.Token, n.Wide, int16(n.Category), n.Template, n.Campaign, n.Sealed, n.Life, t.at(), n.Creator, n.Request)
}

// Text is a queued text message, sealed.
type Text struct {
	ID       uuid.UUID
	Practice uuid.UUID
	Sealed   string
	Tries    int32
	Expired  bool
}

// TakeTexts hands out due messages of every practice, as TakeMail does.
func (t *Tx) TakeTexts(limit int, first, longest time.Duration) *Rows[Text] {
	return query[Text](t, `UPDATE texts m SET tries = tries + 1, due = clock.now + least($3::interval, $2::interval * power(2, least(tries, 16)))
		FROM (SELECT coalesce($4::timestamptz, clock_timestamp()) AS now) clock
		WHERE id IN (SELECT id FROM texts WHERE due <= coalesce($4::timestamptz, clock_timestamp()) ORDER BY due LIMIT $1 FOR UPDATE SKIP LOCKED)
		RETURNING m.id, m.practice_id, m.sealed, m.tries, m.expires <= clock.now`, limit, first, longest, t.at())
}

// Verdict says whether a queued message may still be sent.
type Verdict struct {
	Refusal  string
	Template string
}

// TextVerdict asks again, right before a message is sent, what speaks against it.
// Whoever waits for the limits has taken their place when the message was queued.
func (t *Tx) TextVerdict(id uuid.UUID) *Rows[Verdict] {
	return query[Verdict](t, `SELECT text_refusal(m.practice_id, m.token, m.wide, m.category, m.id, m.created), m.template
		FROM messages m WHERE m.id = $1 AND m.practice_id = $2`, id, t.practice)
}

// FinishText takes a message out of the queue and says how it ended.
func (t *Tx) FinishText(id uuid.UUID, state TextState, reason string) {
	t.exec("DELETE FROM texts WHERE id = $1 AND practice_id = $2", id, t.practice)
	t.exec(`UPDATE messages SET state = $3, reason = $4, updated = coalesce($5::timestamptz, clock_timestamp())
		WHERE id = $1 AND practice_id = $2 AND state = 1`, id, t.practice, int16(state), reason, t.at())
}

// NewConsent is a consent to record.
type NewConsent struct {
	ID       uuid.UUID
	Token    []byte
	Sealed   string
	Category Category
	Source   int16
	Given    *time.Time // nil: now
	Creator  uuid.UUID
}

// InsertConsent records a consent, unless the number has one for the category that still holds.
func (t *Tx) InsertConsent(n NewConsent) {
	t.exec(`INSERT INTO consents (id, practice_id, token, number_sealed, category, source, given, created, created_by)
		SELECT $1, $2, $3, $4, $5, $6, coalesce($7, now), now, $8 FROM (SELECT coalesce($9::timestamptz, clock_timestamp()) AS now) clock
		ON CONFLICT DO NOTHING`,
		n.ID, t.practice, n.Token, n.Sealed, int16(n.Category), n.Source, n.Given, n.Creator, t.at())
}

// Suppress stops everything to the number, in the practice or, for the platform, everywhere, for good.
// No row: it was stopped before.
func (t *Tx) Suppress(token []byte) *Rows[[]byte] {
	return scalars[[]byte](t, `INSERT INTO suppressions (practice_id, token, created)
		VALUES ($1, $2, coalesce($3::timestamptz, clock_timestamp())) ON CONFLICT DO NOTHING RETURNING token`, t.practice, token, t.at())
}
