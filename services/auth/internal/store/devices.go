package store

import (
	"time"

	"github.com/google/uuid"
)

// Arriving is where somebody who signs in comes from.
type Arriving struct {
	User uuid.UUID
	// Claimed is the device that a signed token names, uuid.Nil for none; Fresh is the id
	// of the device that is made where the claim does not hold.
	Claimed, Fresh uuid.UUID
	Features       []byte
	Label          string
	Address        string
	UserAgent      string
	Network, Wide  string // empty where the address is not known
	// Together is how recently a session elsewhere was used to count as in use at once.
	Together time.Duration
}

// Arrival is what came of it. News are the kinds of notices that its user is due.
type Arrival struct {
	Device uuid.UUID
	Fresh  bool
	News   []string
}

// What a sign-in may find, as kinds of notices.
const (
	NewsDevice  = "DEVICE_NEW"
	NewsNetwork = "NETWORK_NEW"
	NewsSharing = "SHARING_SUSPECTED"
)

// Arrive recognises device and network or notes them as new, and looks for another
// device of the user that is in use far away. What its user is to be told is
// kept with it; a new device from a new network is one mail. Nothing is news for an
// account that was never used. Two devices are reported once a day. LockUser
// must come before it, OpenSession after it.
func (t *Tx) Arrive(a Arriving) *Rows[Arrival] {
	return query[Arrival](t, `WITH clock AS (SELECT coalesce($12::timestamptz, clock_timestamp()) AS now),
		used AS (SELECT 1 FROM activity WHERE user_id = $1 AND practice_id = $2 AND cardinality(hits) > 0),
		known AS (
			UPDATE devices d SET last_use = clock.now FROM clock
			WHERE d.id = $3 AND d.user_id = $1 AND d.practice_id = $2 AND d.forgotten IS NULL AND d.features = $5 RETURNING d.id
		), added AS (
			INSERT INTO devices (id, practice_id, user_id, label, features, created, last_use)
			SELECT $4, $2, $1, $6, $5, now, now FROM clock WHERE NOT EXISTS (SELECT FROM known) RETURNING id
		), device AS (
			SELECT id, false AS fresh FROM known UNION ALL SELECT id, true FROM added
		), place AS (
			INSERT INTO networks (user_id, network, practice_id, first_use, last_use)
			SELECT $1, $7::text, $2, now, now FROM clock WHERE $7::text <> ''
			ON CONFLICT (user_id, network) DO UPDATE SET last_use = excluded.last_use RETURNING xmax = 0 AS fresh
		), shared AS (
			INSERT INTO sharings (user_id, low, high, practice_id, last)
			SELECT DISTINCT $1::uuid, least(s.device_id, d.id), greatest(s.device_id, d.id), $2::uuid, clock.now
			FROM sessions s, device d, clock
			WHERE s.user_id = $1 AND s.practice_id = $2 AND s.ended IS NULL AND s.expires > clock.now AND s.last_use > clock.now - $9::interval
			AND s.device_id <> d.id AND s.wide <> '' AND $8::text <> '' AND s.wide <> $8::text
			ON CONFLICT (user_id, low, high) DO UPDATE SET last = excluded.last WHERE sharings.last <= excluded.last - interval '1 day'
			RETURNING 1
		), news AS (
			SELECT 'DEVICE_NEW' AS kind FROM device WHERE fresh AND EXISTS (SELECT FROM used)
			UNION ALL SELECT 'NETWORK_NEW' FROM place WHERE fresh AND EXISTS (SELECT FROM used)
			UNION ALL SELECT 'SHARING_SUSPECTED' WHERE EXISTS (SELECT FROM shared)
		), told AS (
			INSERT INTO occasions (id, practice_id, user_id, kind, address, user_agent, created)
			SELECT gen_random_uuid(), $2, $1, n.kind, $10, $11, clock.now FROM news n, clock
			WHERE n.kind <> 'NETWORK_NEW' OR NOT EXISTS (SELECT FROM news m WHERE m.kind = 'DEVICE_NEW')
		)
		SELECT d.id, d.fresh, ARRAY(SELECT kind FROM news) FROM device d`,
		a.User, t.practice, a.Claimed, a.Fresh, a.Features, a.Label, a.Network, a.Wide, a.Together, a.Address, a.UserAgent, t.at())
}

// Move notes the network in which a session is verified anew, and whether that is news for its user.
func (t *Tx) Move(user uuid.UUID, network, address string) *Rows[string] {
	return scalars[string](t, `WITH clock AS (SELECT coalesce($5::timestamptz, clock_timestamp()) AS now),
		place AS (
			INSERT INTO networks (user_id, network, practice_id, first_use, last_use)
			SELECT $1, $3::text, $2, now, now FROM clock WHERE $3::text <> ''
			ON CONFLICT (user_id, network) DO UPDATE SET last_use = excluded.last_use RETURNING xmax = 0 AS fresh
		)
		INSERT INTO occasions (id, practice_id, user_id, kind, address, user_agent, created)
		SELECT gen_random_uuid(), $2, $1, 'NETWORK_NEW', $4, '', clock.now FROM place, clock WHERE fresh
		AND EXISTS (SELECT FROM activity WHERE user_id = $1 AND practice_id = $2 AND cardinality(hits) > 0)
		RETURNING kind`, user, t.practice, network, address, t.at())
}

// Device is a device as its user sees it.
type Device struct {
	ID       uuid.UUID
	Label    string
	Created  time.Time
	LastUse  time.Time
	Attested *time.Time
	Current  bool
}

const deviceColumns = "d.id, d.label, d.created, d.last_use, d.attested, d.id IS NOT DISTINCT FROM (SELECT device_id FROM sessions WHERE id = $3)"

// Devices lists the user's devices, the latest used first. Session is the one that asks.
func (t *Tx) Devices(user, session uuid.UUID, limit int) *Rows[Device] {
	return query[Device](t, "SELECT "+deviceColumns+` FROM devices d WHERE d.user_id = $1 AND d.practice_id = $2 AND d.forgotten IS NULL
		ORDER BY d.last_use DESC, d.id DESC LIMIT $4`, user, t.practice, session, limit)
}

// RenameDevice changes the label. No row: the user has no such device.
func (t *Tx) RenameDevice(id, user, session uuid.UUID, label string) *Rows[Device] {
	return query[Device](t, `UPDATE devices d SET label = $5
		WHERE d.id = $4 AND d.user_id = $1 AND d.practice_id = $2 AND d.forgotten IS NULL RETURNING `+deviceColumns,
		user, t.practice, session, id, label)
}

// ForgetDevice makes a device unknown. No row: the user has no such device.
func (t *Tx) ForgetDevice(id, user uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE devices SET forgotten = coalesce($4::timestamptz, clock_timestamp())
		WHERE id = $1 AND user_id = $2 AND practice_id = $3 AND forgotten IS NULL RETURNING id`, id, user, t.practice, t.at())
}

// EndDeviceSessions ends the user's open sessions on a device. LockUser must come before it.
func (t *Tx) EndDeviceSessions(device, user uuid.UUID, reason string) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE sessions SET ended = coalesce($4::timestamptz, clock_timestamp()), end_reason = $5
		WHERE device_id = $1 AND user_id = $2 AND practice_id = $3 AND ended IS NULL RETURNING id`, device, user, t.practice, t.at(), reason)
}
