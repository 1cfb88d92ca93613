package store

import "github.com/google/uuid"

// Freeze freezes an account. No row: it is frozen already. LockUser must come before it.
func (t *Tx) Freeze(user uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE users SET frozen = coalesce($3::timestamptz, clock_timestamp())
		WHERE id = $1 AND practice_id = $2 AND frozen IS NULL RETURNING id`, user, t.practice, t.at())
}

// Thaw ends a freeze and closes the account, so that its password has to be reset. No row: it is not frozen.
func (t *Tx) Thaw(user uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE users SET frozen = NULL, closed = coalesce(closed, $3::timestamptz, clock_timestamp())
		WHERE id = $1 AND practice_id = $2 AND frozen IS NOT NULL RETURNING id`, user, t.practice, t.at())
}
