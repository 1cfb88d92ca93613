package store

import (
	"time"

	"github.com/google/uuid"
)

// Freeze freezes an account. No row: it is frozen already. LockUser must come before it.
func (t *Tx) Freeze(user uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE users SET frozen = coalesce($3::timestamptz, clock_timestamp())
		WHERE id = $1 AND practice_id = $2 AND frozen IS NULL RETURNING id`, user, t.practice, t.at())
}

// Report notes what an account is frozen for. The rows are those reports that were not there before.
func (t *Tx) Report(user uuid.UUID, reports []uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `INSERT INTO freeze_reports (practice_id, id, user_id, at)
		SELECT $2, r, $1, coalesce($4::timestamptz, clock_timestamp()) FROM unnest($3::uuid[]) r ON CONFLICT DO NOTHING RETURNING id`,
		user, t.practice, reports, t.at())
}

// Thaw ends a freeze and closes the account, so that its password has to be reset. No row: it is not frozen.
func (t *Tx) Thaw(user, by uuid.UUID) *Rows[uuid.UUID] {
	t.closeContainments(&user, nil, by)
	return scalars[uuid.UUID](t, `UPDATE users SET frozen = NULL, reset_due = true, closed = coalesce(closed, $3::timestamptz, clock_timestamp())
		WHERE id = $1 AND practice_id = $2 AND frozen IS NOT NULL RETURNING id`, user, t.practice, t.at())
}

// Idle is an account that nobody used for a while and that owns nothing in auth.
type Idle struct {
	User     uuid.UUID
	Practice uuid.UUID
	Username string
	// Seen is when it was last used; Due whether it is to be purged, not only warned.
	Seen time.Time
	Due  bool
}

// IdleAccounts reads a page of them across practices, in order of their ids.
func (t *Tx) IdleAccounts(after uuid.UUID, limit int) *Rows[Idle] {
	return query[Idle](t, "SELECT * FROM idle_accounts($1, $2, $3)", after, limit, t.at())
}

// Warned notes that the user was told that the account will be removed.
func (t *Tx) Warned(user uuid.UUID) {
	t.exec("UPDATE users SET warned = coalesce($3::timestamptz, clock_timestamp()) WHERE id = $1 AND practice_id = $2", user, t.practice, t.at())
}

// PurgeAccount removes an account's personal data; false where it was used since. LockUser must come before it.
func (t *Tx) PurgeAccount(user uuid.UUID, seen time.Time) *Rows[bool] {
	return scalars[bool](t, "SELECT purge_account($1, $2, $3, $4)", user, t.practice, seen, t.at())
}
