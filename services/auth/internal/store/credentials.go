package store

import (
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/auth/internal/method"
)

// SignIn is what a sign-in name leads to.
type SignIn struct {
	User             uuid.UUID
	Practice         uuid.UUID
	Username         string
	PasswordHash     string
	TotpSealed       string
	TotpStep         int64
	UserDisabled     bool
	PracticeDisabled bool
	Frozen           bool
	Closed           bool
	// Factors are the second factors that the user has.
	Factors     method.Set
	AcceptEmail bool
}

// SignInOf looks a sign-in name up across practices.
func (t *Tx) SignInOf(username string) *Rows[SignIn] {
	return query[SignIn](t, "SELECT * FROM account_of($1, NULL)", username)
}

// AccountOf is SignInOf for a user whom something other than a name leads to, such as a passkey.
func (t *Tx) AccountOf(user uuid.UUID) *Rows[SignIn] {
	return query[SignIn](t, "SELECT * FROM account_of(NULL, $1)", user)
}

// Attempt counts one attempt against every key, or against none where one is
// full; the row is then the time to wait, else nil.
func (t *Tx) Attempt(keys [][]byte, limit int, window time.Duration) *Rows[*time.Duration] {
	t.alone = true
	return scalars[*time.Duration](t, "SELECT attempt($1, $2, $3, $4)", keys, limit, window, t.at())
}

// Credentials is a user's row of credentials.
type Credentials struct {
	PasswordHash   string
	TotpSealed     string
	TotpStep       int64
	PendingSealed  string
	PendingSession *uuid.UUID
	// PendingAge is how long ago the enrolment was asked for.
	PendingAge *time.Duration
	Factors    method.Set
}

// Credentials reads a user's credentials.
func (t *Tx) Credentials(user uuid.UUID) *Rows[Credentials] {
	return query[Credentials](t, `SELECT password_hash, totp_sealed, totp_step, pending_sealed, pending_session,
		coalesce($3::timestamptz, clock_timestamp()) - pending_since, factors
		FROM credentials WHERE user_id = $1 AND practice_id = $2`, user, t.practice, t.at())
}

// UseCredentials notes a successful sign-in: it writes the hash (a new one where
// it was outdated) and the code's time step (0 for none). No row comes back
// where the user was disabled, frozen or closed, the password changed or the step used meanwhile.
func (t *Tx) UseCredentials(user uuid.UUID, seenHash, newHash string, step int64) *Rows[int64] {
	return scalars[int64](t, `UPDATE credentials c SET password_hash = $4, totp_step = greatest(c.totp_step, $5)
		FROM users u WHERE c.user_id = $1 AND c.practice_id = $2 AND c.password_hash = $3 AND (c.totp_step < $5 OR $5 = 0)
		AND u.id = c.user_id AND NOT u.disabled AND u.frozen IS NULL AND u.closed IS NULL RETURNING c.totp_step`, user, t.practice, seenHash, newHash, step)
}

// UseStep takes a time step of the confirmed factor. No row: it was used, or the factor changed, meanwhile.
func (t *Tx) UseStep(user uuid.UUID, seenTotp string, step int64) *Rows[int64] {
	return scalars[int64](t, `UPDATE credentials SET totp_step = $4
		WHERE user_id = $1 AND practice_id = $2 AND totp_sealed = $3 AND totp_step < $4 RETURNING totp_step`,
		user, t.practice, seenTotp, step)
}

// SetPassword replaces the password's hash, if it is still the seen one.
func (t *Tx) SetPassword(user uuid.UUID, seenHash, newHash string) *Rows[int64] {
	return scalars[int64](t, `UPDATE credentials SET password_hash = $4
		WHERE user_id = $1 AND practice_id = $2 AND password_hash = $3 RETURNING totp_step`, user, t.practice, seenHash, newHash)
}

// SetPending keeps an enrolment until its first code, if the factor is still the seen one.
func (t *Tx) SetPending(user uuid.UUID, seenTotp, sealed string, session uuid.UUID) *Rows[int64] {
	return scalars[int64](t, `UPDATE credentials
		SET pending_sealed = $4, pending_session = $5, pending_since = coalesce($6::timestamptz, clock_timestamp())
		WHERE user_id = $1 AND practice_id = $2 AND totp_sealed = $3 RETURNING totp_step`,
		user, t.practice, seenTotp, sealed, session, t.at())
}

// ConfirmPending makes the pending enrolment the factor, if it is still the seen one.
func (t *Tx) ConfirmPending(user uuid.UUID, seenPending string, step int64) *Rows[int64] {
	return scalars[int64](t, `UPDATE credentials
		SET totp_sealed = pending_sealed, totp_step = $4, factors = factors | 2, pending_sealed = '', pending_session = NULL, pending_since = NULL
		WHERE user_id = $1 AND practice_id = $2 AND pending_sealed = $3 RETURNING totp_step`, user, t.practice, seenPending, step)
}

// AddFactor notes that the user has a second factor.
func (t *Tx) AddFactor(user uuid.UUID, m method.Set) {
	t.exec("UPDATE credentials SET factors = factors | $3 WHERE user_id = $1 AND practice_id = $2", user, t.practice, m)
}

// DropFactor notes that the user has it no more, and returns the factors that are left.
func (t *Tx) DropFactor(user uuid.UUID, m method.Set) *Rows[method.Set] {
	return scalars[method.Set](t, "UPDATE credentials SET factors = factors & ~$3::integer WHERE user_id = $1 AND practice_id = $2 RETURNING factors",
		user, t.practice, m)
}
