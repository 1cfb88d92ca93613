package store

import (
	"time"

	"github.com/google/uuid"
)

// Invitation is what an invitation token leads to.
type Invitation struct {
	ID          uuid.UUID
	User        uuid.UUID
	Practice    uuid.UUID
	Username    string
	DisplayName string
	EmailSealed string
	Expires     time.Time
	Used        bool
	Disabled    bool
}

// InvitationOf looks an invitation up by its token's hash, across practices.
func (t *Tx) InvitationOf(tokenHash []byte) *Rows[Invitation] {
	return query[Invitation](t, "SELECT * FROM invitation_of($1)", tokenHash)
}

// InsertInvitation replaces the user's open invitations by a new one. It does nothing for an unknown user.
func (t *Tx) InsertInvitation(id, user uuid.UUID, tokenHash []byte, life time.Duration) {
	t.exec("UPDATE invitations SET used = coalesce($3::timestamptz, clock_timestamp()) WHERE user_id = $1 AND practice_id = $2 AND used IS NULL",
		user, t.practice, t.at())
	t.exec(`INSERT INTO invitations (id, user_id, practice_id, token_hash, created, expires)
		SELECT $1, u.id, u.practice_id, $3, now, now + $4
		FROM users u, (SELECT coalesce($5::timestamptz, clock_timestamp()) AS now) clock WHERE u.id = $2`,
		id, user, tokenHash, life, t.at())
}

// UseInvitation uses an invitation up. No row: it is used, expired, or its user is disabled.
func (t *Tx) UseInvitation(id uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE invitations i SET used = clock.now
		FROM users u, (SELECT coalesce($3::timestamptz, clock_timestamp()) AS now) clock
		WHERE i.id = $1 AND i.practice_id = $2 AND i.used IS NULL AND i.expires > clock.now AND u.id = i.user_id AND NOT u.disabled
		RETURNING i.user_id`, id, t.practice, t.at())
}
