package store

import (
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
)

// CustomRole is a row of roles.
type CustomRole struct {
	ID          uuid.UUID
	DisplayName string
	Kind        accessv1.RoleKind
	Template    string
	Permissions []byte
	Version     int64
}

// Role is the kind and template that the role is made from.
func (r CustomRole) Role() roles.Role { return roles.Role{Kind: r.Kind, Template: r.Template} }

const customColumns = "id, display_name, kind, template, permissions, version"

// CustomRoles lists the practice's own roles.
func (t *Tx) CustomRoles() *Rows[CustomRole] {
	return query[CustomRole](t, "SELECT "+customColumns+" FROM roles WHERE practice_id = $1 ORDER BY id", t.practice)
}

// CustomRole reads one of the practice's own roles.
func (t *Tx) CustomRole(id uuid.UUID) *Rows[CustomRole] {
	return query[CustomRole](t, "SELECT "+customColumns+" FROM roles WHERE id = $1 AND practice_id = $2", id, t.practice)
}

// InsertCustomRole creates a role. No row: the name is taken, or there are as many as may be.
func (t *Tx) InsertCustomRole(r CustomRole, creator uuid.UUID, most int) *Rows[CustomRole] {
	t.LockRoles()
	return query[CustomRole](t, `INSERT INTO roles (id, practice_id, display_name, kind, template, permissions, created, updated, created_by)
		SELECT $1, $2, $3, $4, $5, $6, now, now, $7 FROM (SELECT coalesce($8::timestamptz, clock_timestamp()) AS now) clock
		WHERE (SELECT count(*) FROM roles WHERE practice_id = $2) < $9
		ON CONFLICT DO NOTHING RETURNING `+customColumns,
		r.ID, t.practice, r.DisplayName, r.Kind, r.Template, r.Permissions, creator, t.at(), most)
}

// UpdateCustomRole changes a role, if the version is still the given one and the name is free.
func (t *Tx) UpdateCustomRole(r CustomRole) *Rows[CustomRole] {
	t.LockRoles()
	return query[CustomRole](t, `UPDATE roles SET display_name = $3, permissions = $4, version = version + 1,
		updated = coalesce($6::timestamptz, clock_timestamp()) WHERE id = $1 AND practice_id = $2 AND version = $5
		AND NOT EXISTS (SELECT FROM roles o WHERE o.practice_id = $2 AND o.display_name = $3 AND o.id <> $1)
		RETURNING `+customColumns, r.ID, t.practice, r.DisplayName, r.Permissions, r.Version, t.at())
}

// DeleteCustomRole deletes a role that nobody holds; no row otherwise.
func (t *Tx) DeleteCustomRole(id uuid.UUID) *Rows[uuid.UUID] {
	t.LockRoles()
	return scalars[uuid.UUID](t, `DELETE FROM roles WHERE id = $1 AND practice_id = $2
		AND NOT EXISTS (SELECT FROM users WHERE role_id = $1) RETURNING id`, id, t.practice)
}

// SetUserRole gives the user a custom role, nil for none. Kind and template are
// compared again here. No row: they differ, the user is disabled or not there. A training for the old role ends.
func (t *Tx) SetUserRole(user uuid.UUID, role *uuid.UUID) *Rows[uuid.UUID] {
	t.LockRoles()
	t.LockUser(user)
	return scalars[uuid.UUID](t, `UPDATE users u SET role_id = $3, trained_until = NULL,
		role_since = coalesce($4::timestamptz, clock_timestamp()), version = version + 1, updated = coalesce($4::timestamptz, clock_timestamp())
		WHERE u.id = $1 AND u.practice_id = $2 AND NOT u.disabled AND ($3::uuid IS NULL OR EXISTS (
			SELECT FROM roles r WHERE r.id = $3 AND r.practice_id = $2 AND r.kind = u.role AND r.template = u.template))
		RETURNING u.id`, user, t.practice, role, t.at())
}

// Mask is what a custom role holds, by its holder.
type Mask struct {
	User        uuid.UUID
	Permissions []byte
}

// Masks reads the custom roles of users; who has none has no row.
func (t *Tx) Masks(users ...uuid.UUID) *Rows[Mask] {
	return query[Mask](t, `SELECT u.id, r.permissions FROM users u JOIN roles r ON r.id = u.role_id
		WHERE u.id = ANY ($1) AND u.practice_id = $2`, users, t.practice)
}

// MasksOfStaff reads the custom roles of those who act for the doctor.
func (t *Tx) MasksOfStaff(doctor uuid.UUID) *Rows[Mask] {
	return query[Mask](t, `SELECT u.id, r.permissions FROM assignments a JOIN users u ON u.id = a.staff_id JOIN roles r ON r.id = u.role_id
		WHERE a.doctor_id = $1 AND a.practice_id = $2`, doctor, t.practice)
}

// NarrowStaff takes modules away from members of the template that the doctor,
// or every doctor with the custom role, can no longer open.
func (t *Tx) NarrowStaff(doctorOrRole uuid.UUID, template string, open roles.Modules) {
	t.exec(`UPDATE assignments a SET modules = a.modules & $4 FROM users d, users s
		WHERE a.practice_id = $2 AND d.id = a.doctor_id AND s.id = a.staff_id AND s.template = $3
		AND (d.id = $1 OR d.role_id = $1)`, doctorOrRole, t.practice, template, open)
}

// Grant is a row of grants, and the time of the database's clock.
type Grant struct {
	ID         uuid.UUID
	User       uuid.UUID
	Permission accessv1.Permission
	Reason     string
	Hours      int32
	Requested  time.Time
	DecidedBy  *uuid.UUID
	Approved   bool
	Expires    *time.Time
	Ended      *time.Time
	Now        time.Time
}

const grantColumns = "id, user_id, permission, reason, hours, requested, decided_by, approved, expires, ended, "

func (t *Tx) grants(where string, args ...any) *Rows[Grant] {
	return query[Grant](t, "SELECT "+grantColumns+"coalesce($1::timestamptz, clock_timestamp()) FROM grants WHERE practice_id = $2 "+where,
		append([]any{t.at(), t.practice}, args...)...)
}

// Grants lists requests and grants, the newest first.
func (t *Tx) Grants(most int) *Rows[Grant] {
	return t.grants("ORDER BY requested DESC, id DESC LIMIT $3", most)
}

// Grant reads one.
func (t *Tx) Grant(id uuid.UUID) *Rows[Grant] { return t.grants("AND id = $3", id) }

// InsertGrant records a request. No row: the user waits for enough decisions already.
func (t *Tx) InsertGrant(g Grant, waiting int, lapse time.Duration) *Rows[Grant] {
	t.LockUser(g.User)
	t.exec(`INSERT INTO grants (id, practice_id, user_id, permission, reason, hours, requested)
		SELECT $1, $2, $3, $4, $5, $6, now FROM (SELECT coalesce($7::timestamptz, clock_timestamp()) AS now) clock
		WHERE (SELECT count(*) FROM grants WHERE user_id = $3 AND decided IS NULL AND ended IS NULL AND requested > now - $9::interval) < $8`,
		g.ID, t.practice, g.User, g.Permission, g.Reason, g.Hours, t.at(), waiting, lapse)
	return t.Grant(g.ID)
}

// DecideGrant approves or refuses a request that still waits. The hours run from here, by the database's clock.
func (t *Tx) DecideGrant(id, by uuid.UUID, approve bool, lapse time.Duration) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE grants g SET decided = now, decided_by = $3, approved = $4,
		expires = CASE WHEN $4 THEN now + make_interval(hours => g.hours) END
		FROM (SELECT coalesce($5::timestamptz, clock_timestamp()) AS now) clock
		WHERE g.id = $1 AND g.practice_id = $2 AND g.user_id <> $3 AND g.decided IS NULL AND g.ended IS NULL
		AND g.requested > now - $6::interval RETURNING g.id`, id, t.practice, by, approve, t.at(), lapse)
}

// EndGrant ends a request that waits or a grant that is live.
func (t *Tx) EndGrant(id uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE grants SET ended = now FROM (SELECT coalesce($3::timestamptz, clock_timestamp()) AS now) clock
		WHERE id = $1 AND practice_id = $2 AND ended IS NULL AND (decided IS NULL OR approved AND expires > now) RETURNING id`,
		id, t.practice, t.at())
}

// EndGrants ends all that the user asked for or was granted: the role changed.
func (t *Tx) EndGrants(user uuid.UUID) {
	t.exec(`UPDATE grants SET ended = coalesce($3::timestamptz, clock_timestamp())
		WHERE user_id = $1 AND practice_id = $2 AND ended IS NULL`, user, t.practice, t.at())
}

// UserOfGrant reads who asked for it.
func (t *Tx) UserOfGrant(id uuid.UUID) *Rows[User] {
	return query[User](t, userSelect+"JOIN grants g ON g.user_id = u.id WHERE g.id = $1 AND g.practice_id = $2", id, t.practice)
}

// HoldsRole has a row where the user holds the custom role.
func (t *Tx) HoldsRole(user, role uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, "SELECT id FROM users WHERE id = $1 AND role_id = $2 AND practice_id = $3", user, role, t.practice)
}
