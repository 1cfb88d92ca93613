package store

import (
	"time"

	"github.com/google/uuid"
)

// Purpose is what a one-time code is for; the numbers are stored.
type Purpose int16

// Purposes of one-time codes.
const (
	PurposeEmail Purpose = 1 + iota
	PurposeSMS
	PurposePhone // the first code to a number that is being enrolled
)

// NewCode is a one-time code that was made for a session.
type NewCode struct {
	ID           uuid.UUID
	User         uuid.UUID
	Session      uuid.UUID
	Purpose      Purpose
	Hash         []byte
	NumberSealed string
	Life         time.Duration
}

// SetCode keeps a code and ends the one that the user had for the purpose. The row is when it expires.
func (t *Tx) SetCode(n NewCode) *Rows[time.Time] {
	return scalars[time.Time](t, `INSERT INTO codes AS c
		(user_id, practice_id, purpose, id, session_id, code_hash, number_sealed, created, expires)
		SELECT $1, $2, $3, $4, $5, $6, $7, now, now + $8 FROM (SELECT coalesce($9::timestamptz, clock_timestamp()) AS now) clock
		ON CONFLICT (user_id, purpose) DO UPDATE SET id = excluded.id, session_id = excluded.session_id, code_hash = excluded.code_hash,
		number_sealed = excluded.number_sealed, created = excluded.created, expires = excluded.expires, tries = 0, used = NULL
		WHERE c.practice_id = excluded.practice_id RETURNING expires`,
		n.User, t.practice, n.Purpose, n.ID, n.Session, n.Hash, n.NumberSealed, n.Life, t.at())
}

// CodeTry is what came of trying a code.
type CodeTry struct {
	Right        bool
	NumberSealed string
}

// TryCode counts a try at a code and uses it up where it is right, in one
// statement, so that one of many tries at the same moment is let through. No row:
// there is no such code, it expired, it was used, or it was tried too often.
func (t *Tx) TryCode(n NewCode, tries int) *Rows[CodeTry] {
	t.alone = true
	return query[CodeTry](t, `UPDATE codes SET tries = tries + 1, used = CASE WHEN code_hash = $6 THEN clock.now END
		FROM (SELECT coalesce($8::timestamptz, clock_timestamp()) AS now) clock
		WHERE user_id = $1 AND practice_id = $2 AND purpose = $3 AND id = $4 AND session_id = $5
		AND used IS NULL AND tries < $7 AND expires > clock.now RETURNING used IS NOT NULL, number_sealed`,
		n.User, t.practice, n.Purpose, n.ID, n.Session, n.Hash, tries, t.at())
}

// Phone is the sealed number that the user's codes go to.
func (t *Tx) Phone(user uuid.UUID) *Rows[string] {
	return scalars[string](t, "SELECT number_sealed FROM phones WHERE user_id = $1 AND practice_id = $2", user, t.practice)
}

// SetPhone makes a confirmed number the user's, in place of another.
func (t *Tx) SetPhone(user uuid.UUID, sealed string) {
	t.exec(`INSERT INTO phones AS p (user_id, practice_id, number_sealed, confirmed) VALUES ($1, $2, $3, coalesce($4::timestamptz, clock_timestamp()))
		ON CONFLICT (user_id) DO UPDATE SET number_sealed = excluded.number_sealed, confirmed = excluded.confirmed
		WHERE p.practice_id = excluded.practice_id`, user, t.practice, sealed, t.at())
}

// DropPhone forgets the user's number, and ends the codes that were sent to it or to one that waits.
func (t *Tx) DropPhone(user uuid.UUID) {
	t.exec(`UPDATE codes SET used = coalesce($3::timestamptz, clock_timestamp()), number_sealed = ''
		WHERE user_id = $1 AND practice_id = $2 AND purpose <> $4 AND used IS NULL`, user, t.practice, t.at(), PurposeEmail)
	t.exec("DELETE FROM phones WHERE user_id = $1 AND practice_id = $2", user, t.practice)
}

// EndMailedCodes uses up the codes that were mailed to a user.
func (t *Tx) EndMailedCodes(user uuid.UUID) {
	t.exec(`UPDATE codes SET used = coalesce($3::timestamptz, clock_timestamp()) WHERE user_id = $1 AND practice_id = $2 AND purpose = $4 AND used IS NULL`,
		user, t.practice, t.at(), PurposeEmail)
}

// DropTotp forgets the user's TOTP secret and an enrolment that waits.
func (t *Tx) DropTotp(user uuid.UUID) {
	t.exec(`UPDATE credentials SET totp_sealed = '', pending_sealed = '', pending_session = NULL, pending_since = NULL
		WHERE user_id = $1 AND practice_id = $2`, user, t.practice)
}

// SetRecoveryCodes replaces the user's recovery codes.
func (t *Tx) SetRecoveryCodes(user uuid.UUID, hashes [][]byte) {
	t.DropRecoveryCodes(user)
	t.exec(`INSERT INTO recovery_codes (user_id, code_hash, practice_id, created)
		SELECT $1, hash, $2, coalesce($4::timestamptz, clock_timestamp()) FROM unnest($3::bytea[]) AS hash`, user, t.practice, hashes, t.at())
}

// DropRecoveryCodes forgets the user's recovery codes.
func (t *Tx) DropRecoveryCodes(user uuid.UUID) {
	t.exec("DELETE FROM recovery_codes WHERE user_id = $1 AND practice_id = $2", user, t.practice)
}

// UseRecoveryCode uses one up. No row: there is none like it, or it was used.
func (t *Tx) UseRecoveryCode(user uuid.UUID, hash []byte) *Rows[time.Time] {
	t.alone = true
	return scalars[time.Time](t, `UPDATE recovery_codes SET used = coalesce($4::timestamptz, clock_timestamp())
		WHERE user_id = $1 AND practice_id = $2 AND code_hash = $3 AND used IS NULL RETURNING used`, user, t.practice, hash, t.at())
}

// RecoveryCodes counts those that are left.
func (t *Tx) RecoveryCodes(user uuid.UUID) *Rows[int64] {
	return scalars[int64](t, "SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND practice_id = $2 AND used IS NULL", user, t.practice)
}
