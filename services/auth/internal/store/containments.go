package store

import (
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

// Containment is what is cut off, or waits to be: a service, a user or a network; where it is none of these, the practice.
type Containment struct {
	ID            uuid.UUID
	Practice      uuid.UUID
	Service       *accessv1.Service
	User          *uuid.UUID
	Network       *string
	Reason        string
	Detection     *uuid.UUID // whose rule asked for it
	Created       time.Time
	CreatedBy     *uuid.UUID
	Since         *time.Time // nil while it waits for approval
	ApprovedBy    *uuid.UUID
	Released      *time.Time
	ReleasedBy    *uuid.UUID
	ReleaseReason string
}

// OfPractice reports whether the practice itself is what is cut off.
func (c Containment) OfPractice() bool { return c.Service == nil && c.User == nil && c.Network == nil }

const containmentColumns = `id, practice_id, service, user_id, network, reason, detection, created, created_by,
	since, approved_by, released, released_by, release_reason`

// Contain adds a containment in the transaction's practice; a service's waits for approval, everything else is in force at once. No row: the practice
// or service has one already.
func (t *Tx) Contain(c Containment) *Rows[Containment] {
	t.alone = true
	return query[Containment](t, `INSERT INTO containments (id, practice_id, service, user_id, network, reason, detection, created, created_by, since)
		SELECT $1, $2, $3::smallint, $4, $5, $6, $7, now, $8, CASE WHEN $3::smallint IS NULL THEN now END
		FROM (SELECT coalesce($9::timestamptz, clock_timestamp()) AS now) clock
		ON CONFLICT DO NOTHING RETURNING `+containmentColumns,
		c.ID, t.practice, c.Service, c.User, c.Network, c.Reason, c.Detection, c.CreatedBy, t.at())
}

// ApproveContainment puts what waits into force. No row: there is none that somebody else asked for.
func (t *Tx) ApproveContainment(id, by uuid.UUID) *Rows[Containment] {
	t.alone = true
	return query[Containment](t, `UPDATE containments SET since = coalesce($3::timestamptz, clock_timestamp()), approved_by = $2
		WHERE id = $1 AND since IS NULL AND released IS NULL AND created_by IS DISTINCT FROM $2 RETURNING `+containmentColumns, id, by, t.at())
}

// ReleaseContainment ends the containment of a practice or service. No row: there is none.
func (t *Tx) ReleaseContainment(id, by uuid.UUID, reason string) *Rows[Containment] {
	t.alone = true
	return query[Containment](t, `UPDATE containments SET released = coalesce($4::timestamptz, clock_timestamp()), released_by = $2, release_reason = $3
		WHERE id = $1 AND released IS NULL AND user_id IS NULL AND network IS NULL RETURNING `+containmentColumns, id, by, reason, t.at())
}

// Containment reads one.
func (t *Tx) Containment(id uuid.UUID) *Rows[Containment] {
	return query[Containment](t, "SELECT "+containmentColumns+" FROM containments WHERE id = $1", id)
}

// Containments reads a page after an id; ids are in the order of time.
func (t *Tx) Containments(after uuid.UUID, limit int, openOnly bool) *Rows[Containment] {
	return query[Containment](t, "SELECT "+containmentColumns+` FROM containments
		WHERE id > $1 AND (NOT $3 OR released IS NULL) ORDER BY id LIMIT $2`, after, limit, openOnly)
}

// closeContainments notes that an account was thawed or a block lifted; nil where it is not that.
func (t *Tx) closeContainments(user *uuid.UUID, network *string, by uuid.UUID) {
	t.exec(`UPDATE containments SET released = coalesce($4::timestamptz, clock_timestamp()), released_by = $3
		WHERE released IS NULL AND (user_id = $1 OR network = $2)`, user, network, by, t.at())
}

// EndPractice ends all open sessions of the practice. It takes the users' locks in the order in which admit takes them.
func (t *Tx) EndPractice(reason string) *Rows[uuid.UUID] {
	t.alone = true
	t.exec("SELECT 1 FROM activity WHERE practice_id = $1 ORDER BY user_id FOR UPDATE", t.practice)
	return scalars[uuid.UUID](t, `UPDATE sessions SET ended = coalesce($2::timestamptz, clock_timestamp()), end_reason = $3
		WHERE practice_id = $1 AND ended IS NULL RETURNING id`, t.practice, t.at(), reason)
}

// Block blocks a network, or lengthens its block, and answers with the end.
func (t *Tx) Block(network, reason string, life time.Duration) *Rows[time.Time] {
	t.alone = true
	return scalars[time.Time](t, `INSERT INTO blocks (network, until, reason, created)
		SELECT $1, now + $3::interval, $2, now FROM (SELECT coalesce($4::timestamptz, clock_timestamp()) AS now) clock
		ON CONFLICT (network) DO UPDATE SET until = greatest(blocks.until, excluded.until), reason = excluded.reason, created = excluded.created
		RETURNING until`, network, reason, life, t.at())
}

// Respond notes that something is carried out for a detection. No row: it was before.
func (t *Tx) Respond(detection uuid.UUID, kind authv1.ResponseKind) *Rows[uuid.UUID] {
	t.alone = true
	return scalars[uuid.UUID](t, `INSERT INTO responses (detection, kind, at) VALUES ($1, $2, coalesce($3::timestamptz, clock_timestamp()))
		ON CONFLICT DO NOTHING RETURNING detection`, detection, int16(kind), t.at()) //nolint:gosec // a handful of kinds
}

// Chiefs are the enabled administrators of the practice, or the superadmins of the platform, who have accepted their invitation, without one user.
func (t *Tx) Chiefs(limit int, but uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `SELECT u.id FROM users u JOIN credentials c ON c.user_id = u.id
		WHERE u.practice_id = $1 AND u.id <> $3 AND u.role IN (1, 2) AND NOT u.disabled AND c.password_hash <> '' ORDER BY u.id LIMIT $2`, t.practice, limit, but)
}
