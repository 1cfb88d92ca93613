package store

import (
	"time"

	"github.com/google/uuid"
)

// Restraint is why and how long a sign-in has to wait.
type Restraint struct {
	Reason string
	Wait   time.Duration
}

// Restrained looks whether the network is blocked or the account delayed. No row: neither, and
// where the account's delay was over this attempt has taken the turn.
func (t *Tx) Restrained(account []byte, network string) *Rows[Restraint] {
	t.alone = true
	return query[Restraint](t, "SELECT * FROM restrained($1, $2, $3)", account, network, t.at())
}

// Failures is what a failure led to.
type Failures struct {
	InARow int32
	// Closed: this one closed the account.
	Closed bool
}

// Failed counts a failure in a row against an account; uuid.Nil where there is none of
// that name. LockUser must come before it where there is one.
func (t *Tx) Failed(account []byte, user uuid.UUID, address string) *Rows[Failures] {
	t.alone = true
	return query[Failures](t, "SELECT * FROM failed($1, $2, $3, $4)", account, user, address, t.at())
}

// Succeeded ends the row of failures.
func (t *Tx) Succeeded(account []byte) { t.exec("DELETE FROM failures WHERE key = $1", account) }

// Blame adds points to the score of a network. The row is the end of the block that this made, or NULL.
func (t *Tx) Blame(network string, points, threshold int, reason string) *Rows[*time.Time] {
	t.alone = true
	return scalars[*time.Time](t, "SELECT blame($1, $2, $3, $4, $5)", network, points, threshold, reason, t.at())
}

// Block is a network that is refused for a while.
type Block struct {
	Network string
	Until   time.Time
	Reason  string
	Strikes int32
	Created time.Time
}

// Blocks lists the blocks in force after a network, in its order.
func (t *Tx) Blocks(after string, limit int) *Rows[Block] {
	return query[Block](t, `SELECT network, until, reason, strikes, created FROM blocks
		WHERE network > $1 AND until > coalesce($3::timestamptz, clock_timestamp()) ORDER BY network LIMIT $2`, after, limit, t.at())
}

// DeleteBlock lifts a block. No row: there is none.
func (t *Tx) DeleteBlock(network string, by uuid.UUID) *Rows[string] {
	t.closeContainments(nil, &network, by)
	return scalars[string](t, "DELETE FROM blocks WHERE network = $1 RETURNING network", network)
}

// Unlock opens an account that too many failures closed, and nothing else did. The
// version changes, so that the user's row tells of it.
func (t *Tx) Unlock(user uuid.UUID) *Rows[User] {
	t.exec(`UPDATE users SET closed = NULL, version = version + 1, updated = coalesce($3::timestamptz, clock_timestamp())
		WHERE id = $1 AND practice_id = $2 AND NOT disabled AND closed IS NOT NULL AND frozen IS NULL AND NOT reset_due`, user, t.practice, t.at())
	return t.User(user)
}

// Reset is what a reset token leads to.
type Reset struct {
	ID           uuid.UUID
	User         uuid.UUID
	Practice     uuid.UUID
	Username     string
	DisplayName  string
	EmailSealed  string
	PasswordHash string
	Expires      time.Time
	Used         bool
	Disabled     bool
}

// ResetOf looks a reset up by its token's hash, across practices.
func (t *Tx) ResetOf(tokenHash []byte) *Rows[Reset] {
	return query[Reset](t, "SELECT * FROM reset_of($1)", tokenHash)
}

// InsertReset replaces the user's open resets by a new one.
func (t *Tx) InsertReset(id, user uuid.UUID, tokenHash []byte, life time.Duration) {
	t.exec("UPDATE resets SET used = coalesce($3::timestamptz, clock_timestamp()) WHERE user_id = $1 AND practice_id = $2 AND used IS NULL",
		user, t.practice, t.at())
	t.exec(`INSERT INTO resets (id, user_id, practice_id, token_hash, created, expires)
		SELECT $1, u.id, u.practice_id, $3, now, now + $4
		FROM users u, (SELECT coalesce($5::timestamptz, clock_timestamp()) AS now) clock WHERE u.id = $2`,
		id, user, tokenHash, life, t.at())
}

// UseReset uses a reset up. No row: it is used or expired, or its user is disabled.
func (t *Tx) UseReset(id uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE resets r SET used = clock.now
		FROM users u, (SELECT coalesce($3::timestamptz, clock_timestamp()) AS now) clock
		WHERE r.id = $1 AND r.practice_id = $2 AND r.used IS NULL AND r.expires > clock.now AND u.id = r.user_id AND NOT u.disabled
		RETURNING r.user_id`, id, t.practice, t.at())
}

// ForgetAttempts is Purge for scores, blocks and resets.
func (t *Tx) ForgetAttempts() *Rows[int64] {
	return scalars[int64](t, "SELECT forget_attempts($1)", t.at())
}

// MailboxSettled reads whether the user's mail address is one that no administrator changed for a while.
func (t *Tx) MailboxSettled(user uuid.UUID, settle time.Duration) *Rows[bool] {
	return scalars[bool](t, `SELECT coalesce(email_changed + $3::interval <= coalesce($4::timestamptz, clock_timestamp()), true)
		FROM users WHERE id = $1 AND practice_id = $2`, user, t.practice, settle, t.at())
}

// EndResets uses up the resets of a user that wait.
func (t *Tx) EndResets(user uuid.UUID) {
	t.exec(`UPDATE resets SET used = coalesce($3::timestamptz, clock_timestamp()) WHERE user_id = $1 AND practice_id = $2 AND used IS NULL`,
		user, t.practice, t.at())
}

// Reopen opens a closed account whose password was reset.
func (t *Tx) Reopen(user uuid.UUID) {
	t.exec("UPDATE users SET closed = NULL, reset_due = false WHERE id = $1 AND practice_id = $2", user, t.practice)
}
