package store

import (
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
)

// User is a row of users, and whether the user has accepted the invitation and confirmed a factor.
type User struct {
	ID            uuid.UUID
	Practice      uuid.UUID
	Username      string
	DisplayName   string
	EmailSealed   string
	Kind          accessv1.RoleKind
	Template      string
	Disabled      bool
	Version       int64
	Created       time.Time
	Updated       time.Time
	HasPassword   bool
	TotpConfirmed bool
}

// Role is the user's kind of role and template.
func (u User) Role() roles.Role { return roles.Role{Kind: u.Kind, Template: u.Template} }

const userSelect = `SELECT u.id, u.practice_id, u.username, u.display_name, u.email_sealed, u.role, u.template, u.disabled,
	u.version, u.created, u.updated, c.password_hash <> '', c.totp_sealed <> ''
	FROM users u JOIN credentials c ON c.user_id = u.id `

// User reads a user of the practice. The condition repeats what row-level
// security enforces: isolation is there twice.
func (t *Tx) User(id uuid.UUID) *Rows[User] {
	return query[User](t, userSelect+"WHERE u.id = $1 AND u.practice_id = $2", id, t.practice)
}

// Users reads a page of the practice's users after an id.
func (t *Tx) Users(after uuid.UUID, limit int) *Rows[User] {
	return query[User](t, userSelect+"WHERE u.practice_id = $1 AND u.id > $2 ORDER BY u.id LIMIT $3", t.practice, after, limit)
}

// UserOfRequest finds what an earlier call with the same request id created.
func (t *Tx) UserOfRequest(creator, request uuid.UUID) *Rows[User] {
	return query[User](t, userSelect+"WHERE u.created_by = $1 AND u.request_id = $2 AND u.practice_id = $3", creator, request, t.practice)
}

// NewUser is what it takes to create a user.
type NewUser struct {
	ID          uuid.UUID
	Username    string
	DisplayName string
	EmailSealed string
	Role        roles.Role
	Creator     uuid.UUID
	Request     *uuid.UUID
}

// InsertUser creates a user with empty credentials in the practice. No row comes
// back where the sign-in name or the request id was used before.
func (t *Tx) InsertUser(n NewUser) *Rows[User] {
	t.alone = true
	t.exec(`INSERT INTO users
		(id, practice_id, username, display_name, email_sealed, role, template, created, updated, created_by, request_id)
		SELECT $1, $2, $3, $4, $5, $6, $7, now, now, $8, $9 FROM (SELECT coalesce($10::timestamptz, clock_timestamp()) AS now) clock
		ON CONFLICT DO NOTHING`,
		n.ID, t.practice, n.Username, n.DisplayName, n.EmailSealed, n.Role.Kind, n.Role.Template, n.Creator, n.Request, t.at())
	t.exec("INSERT INTO credentials (user_id, practice_id) SELECT id, practice_id FROM users WHERE id = $1", n.ID)
	t.exec("INSERT INTO activity (user_id, practice_id) SELECT id, practice_id FROM users WHERE id = $1", n.ID)
	return t.User(n.ID)
}

// UserChange is what UpdateUser may change; nil leaves a value alone.
type UserChange struct {
	DisplayName *string
	EmailSealed *string
	Role        *roles.Role
	Disabled    *bool
	// NewMailbox: EmailSealed replaces the address of somebody who has a password.
	NewMailbox bool
}

// UpdateUser changes a user, if the version is still the given one. A new role
// ends the custom role and the training of the old one.
func (t *Tx) UpdateUser(id uuid.UUID, version int64, c UserChange) *Rows[User] {
	var kind *accessv1.RoleKind
	var template *string
	if c.Role != nil {
		kind, template = &c.Role.Kind, &c.Role.Template
	}
	t.exec(`UPDATE users SET display_name = coalesce($4, display_name), email_sealed = coalesce($5, email_sealed),
		role = coalesce($6, role), template = coalesce($7, template), disabled = coalesce($8, disabled),
		role_id = CASE WHEN $6::smallint IS NULL THEN role_id END,
		trained_until = CASE WHEN $6::smallint IS NULL THEN trained_until END,
		email_changed = CASE WHEN $10 THEN coalesce($9::timestamptz, clock_timestamp()) ELSE email_changed END,
		role_since = CASE WHEN $6::smallint IS NULL THEN role_since ELSE coalesce($9::timestamptz, clock_timestamp()) END,
		version = version + 1, updated = coalesce($9::timestamptz, clock_timestamp())
		WHERE id = $1 AND practice_id = $2 AND version = $3`,
		id, t.practice, version, c.DisplayName, c.EmailSealed, kind, template, c.Disabled, t.at(), c.NewMailbox)
	return query[User](t, userSelect+"WHERE u.id = $1 AND u.practice_id = $2 AND u.version = $3 + 1", id, t.practice, version)
}

// LockUser orders this transaction against everything else that changes or admits the user's sessions.
func (t *Tx) LockUser(id uuid.UUID) {
	t.alone = true
	t.exec("SELECT 1 FROM activity WHERE user_id = $1 AND practice_id = $2 FOR UPDATE", id, t.practice)
}

// LockRoles orders transactions that could take the practice's last administrator away.
func (t *Tx) LockRoles() {
	t.alone = true
	t.exec("SELECT pg_advisory_xact_lock(hashtextextended('roles:' || $1::text, 0))", t.practice)
}

// Administrators counts the enabled users of the practice with one of the kinds.
func (t *Tx) Administrators(kinds ...accessv1.RoleKind) *Rows[int64] {
	return scalars[int64](t, "SELECT count(*) FROM users WHERE practice_id = $1 AND role = ANY ($2) AND NOT disabled", t.practice, kinds)
}

// Superadmin is what Bootstrap must know of a superadmin.
type Superadmin struct {
	ID          uuid.UUID
	Username    string
	HasPassword bool
}

// Superadmins lists the users of the platform, disabled ones too.
func (t *Tx) Superadmins() *Rows[Superadmin] {
	return query[Superadmin](t, `SELECT u.id, u.username, c.password_hash <> '' FROM users u JOIN credentials c ON c.user_id = u.id
		WHERE u.practice_id = $1`, Platform)
}
