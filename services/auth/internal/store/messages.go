package store

import (
	"time"

	"github.com/google/uuid"
)

// Campaign is a practice's registered use of a sending number.
type Campaign struct {
	ID           uuid.UUID
	Registration string
	Sender       string
	Brand        string
	Contact      string
	Created      time.Time
}

const campaignSelect = "SELECT id, registration, sender, brand, contact, created FROM campaigns "

// InsertCampaign registers a campaign. No row: the number is registered already, maybe elsewhere.
func (t *Tx) InsertCampaign(c Campaign, creator uuid.UUID) *Rows[Campaign] {
	return query[Campaign](t, `INSERT INTO campaigns (id, practice_id, registration, sender, brand, contact, created, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, coalesce($7::timestamptz, clock_timestamp()), $8) ON CONFLICT DO NOTHING
		RETURNING id, registration, sender, brand, contact, created`,
		c.ID, t.practice, c.Registration, c.Sender, c.Brand, c.Contact, t.at(), creator)
}

// Campaign reads a campaign of the practice.
func (t *Tx) Campaign(id uuid.UUID) *Rows[Campaign] {
	return query[Campaign](t, campaignSelect+"WHERE id = $1 AND practice_id = $2", id, t.practice)
}

// Campaigns reads the campaigns of the practice.
func (t *Tx) Campaigns() *Rows[Campaign] {
	return query[Campaign](t, campaignSelect+"WHERE practice_id = $1 ORDER BY id", t.practice)
}

// Line is whose a number is that messages come in on.
type Line struct {
	Practice uuid.UUID
	Brand    string
	Contact  string
}

// LineOf finds whose number a message came in on, in any practice.
func (t *Tx) LineOf(number string) *Rows[Line] {
	return query[Line](t, "SELECT practice_id, brand, contact FROM campaign_of($1)", number)
}

// CodesTo lists the practices whose users got one-time codes at a number, by its index in the installation.
func (t *Tx) CodesTo(wide []byte) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, "SELECT practice_id FROM codes_to($1)", wide)
}

// Consent is a recorded consent, without its number.
type Consent struct {
	ID       uuid.UUID
	Category Category
	Source   int16
	Given    time.Time
	Created  time.Time
	Revoked  *time.Time
}

const consentColumns = "id, category, source, given, created, revoked"

// Consents reads the consents of a number in the practice, ended ones too.
func (t *Tx) Consents(token []byte) *Rows[Consent] {
	return query[Consent](t, "SELECT "+consentColumns+" FROM consents WHERE practice_id = $1 AND token = $2 ORDER BY id", t.practice, token)
}

// LiveConsent reads the consent of a number and category that holds.
func (t *Tx) LiveConsent(token []byte, category Category) *Rows[Consent] {
	return query[Consent](t, "SELECT "+consentColumns+" FROM consents WHERE practice_id = $1 AND token = $2 AND category = $3 AND revoked IS NULL",
		t.practice, token, int16(category))
}

// RevokeConsent ends a consent and, where asked to, stops everything to its number. No row: there is none, or it has no number any more.
func (t *Tx) RevokeConsent(id, by uuid.UUID, stop bool) *Rows[Consent] {
	if stop {
		t.exec(`INSERT INTO suppressions (practice_id, token, created) SELECT practice_id, token, coalesce($3::timestamptz, clock_timestamp())
			FROM consents WHERE id = $1 AND practice_id = $2 AND token IS NOT NULL ON CONFLICT DO NOTHING`, id, t.practice, t.at())
	}
	t.exec(`UPDATE consents SET revoked = coalesce($4::timestamptz, clock_timestamp()), revoked_by = $3
		WHERE id = $1 AND practice_id = $2 AND revoked IS NULL`, id, t.practice, by, t.at())
	return query[Consent](t, "SELECT "+consentColumns+" FROM consents WHERE id = $1 AND practice_id = $2", id, t.practice)
}

// RevokeConsents ends every consent of a number in the practice.
func (t *Tx) RevokeConsents(token []byte) {
	t.exec(`UPDATE consents SET revoked = coalesce($3::timestamptz, clock_timestamp()) WHERE practice_id = $1 AND token = $2 AND revoked IS NULL`,
		t.practice, token, t.at())
}

// RevokeEnrolments ends the user's own consents to codes, but for the number with this token.
func (t *Tx) RevokeEnrolments(user uuid.UUID, except []byte) {
	t.exec(`UPDATE consents SET revoked = coalesce($4::timestamptz, clock_timestamp()), revoked_by = $1
		WHERE created_by = $1 AND practice_id = $2 AND category = $5 AND token IS DISTINCT FROM $3 AND revoked IS NULL`,
		user, t.practice, except, t.at(), int16(CategoryCodes))
}

// Standing is what speaks against messages to a number.
type Standing struct{ OptedOut, Suspended bool }

// StandingOf reads what speaks against messages to a number, in the practice or everywhere.
func (t *Tx) StandingOf(token, wide []byte) *Rows[Standing] {
	return query[Standing](t, `SELECT
		EXISTS (SELECT FROM suppressions WHERE (practice_id, token) IN (($1, $2), ($4, $3))),
		EXISTS (SELECT FROM holds WHERE (practice_id, token) IN (($1, $2), ($4, $3)))`, t.practice, token, wide, Platform)
}

// EraseNumber takes a number out of everything that the practice has of it. Suppressions stay.
func (t *Tx) EraseNumber(token []byte) {
	t.exec("DELETE FROM texts q USING messages m WHERE q.id = m.id AND m.practice_id = $1 AND m.token = $2", t.practice, token)
	t.exec(`UPDATE messages SET token = NULL, wide = NULL, state = CASE state WHEN 1 THEN 4 ELSE state END,
		reason = CASE state WHEN 1 THEN 'ERASED' ELSE reason END WHERE practice_id = $1 AND token = $2`, t.practice, token)
	t.exec(`UPDATE consents SET token = NULL, number_sealed = '', revoked = coalesce(revoked, $3::timestamptz, clock_timestamp())
		WHERE practice_id = $1 AND token = $2`, t.practice, token, t.at())
	t.exec(`UPDATE reviews SET token = NULL, number_sealed = '', text_sealed = '', resolved = coalesce(resolved, $3::timestamptz, clock_timestamp())
		WHERE practice_id = $1 AND token = $2`, t.practice, token, t.at())
	t.exec("DELETE FROM holds WHERE practice_id = $1 AND token = $2", t.practice, token)
}

// Message is the record of a text message.
type Message struct {
	ID       uuid.UUID
	Category Category
	Template string
	Campaign *uuid.UUID
	State    TextState
	Reason   string
	Created  time.Time
	Updated  time.Time
}

const messageSelect = "SELECT id, category, template, campaign_id, state, reason, created, updated FROM messages "

// Message reads the record of a message.
func (t *Tx) Message(id uuid.UUID) *Rows[Message] {
	return query[Message](t, messageSelect+"WHERE id = $1 AND practice_id = $2", id, t.practice)
}

// MessageOfRequest finds what an earlier call with the same request id queued.
func (t *Tx) MessageOfRequest(creator uuid.UUID, request *uuid.UUID) *Rows[Message] {
	return query[Message](t, messageSelect+"WHERE created_by = $1 AND request_id = $2 AND practice_id = $3", creator, request, t.practice)
}

// Messages reads a page of the practice's messages before an id, the newest first.
func (t *Tx) Messages(before uuid.UUID, limit int) *Rows[Message] {
	return query[Message](t, messageSelect+"WHERE practice_id = $1 AND ($2::uuid = $4::uuid OR id < $2::uuid) ORDER BY id DESC LIMIT $3", t.practice, before, limit, uuid.Nil)
}
