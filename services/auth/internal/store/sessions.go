package store

import (
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
)

// Lifetimes bound sessions.
type Lifetimes struct {
	Idle     time.Duration
	Absolute time.Duration
	Max      int // open sessions of one user
}

// NewSession is what it takes to open a session.
type NewSession struct {
	ID        uuid.UUID
	User      uuid.UUID
	TokenHash []byte
	Assurance accessv1.Assurance
	Methods   method.Set
	// Full: with these methods the user may change factors.
	Full      bool
	Address   string
	UserAgent string
	// Network is where the session is verified; empty where the address is not known.
	Network string
	// Wide is the neighbourhood of Network.
	Wide string
	// Fresh is the device that Arrive made; where it made none, Claimed is the device.
	Claimed, Fresh uuid.UUID
	// Bound: every request must carry the device's token.
	Bound bool
}

// networks is a session's first verified network as an array.
func (n NewSession) networks() []string {
	if n.Network == "" {
		return []string{}
	}
	return []string{n.Network}
}

// Times say when a session was last used and when it ends at the latest.
type Times struct {
	LastUse time.Time
	Expires time.Time
}

// OpenSession ends what has expired, ends the oldest sessions until there is
// room for one more, and opens the new one. LockUser must come before it in the
// same transaction: sign-ins at the same moment then take turns.
func (t *Tx) OpenSession(n NewSession, life Lifetimes) (opened *Rows[Times], evicted *Rows[uuid.UUID]) {
	t.exec(`UPDATE sessions SET ended = least(expires, last_use + $3), end_reason = 'EXPIRED'
		WHERE user_id = $1 AND practice_id = $2 AND ended IS NULL
		AND least(expires, last_use + $3) <= coalesce($4::timestamptz, clock_timestamp())`,
		n.User, t.practice, life.Idle, t.at())
	evicted = scalars[uuid.UUID](t, `UPDATE sessions SET ended = coalesce($4::timestamptz, clock_timestamp()), end_reason = 'EVICTED'
		WHERE id IN (SELECT id FROM sessions WHERE user_id = $1 AND practice_id = $2 AND ended IS NULL ORDER BY created DESC, id DESC OFFSET $3)
		RETURNING id`, n.User, t.practice, life.Max-1, t.at())
	opened = query[Times](t, `INSERT INTO sessions
		(id, user_id, practice_id, token_hash, assurance, created, last_use, expires, address, user_agent,
		methods, networks, device_id, bound, wide, authenticated)
		SELECT $1, $2, $3, $4, $5::smallint, now, now, now + $6, $7, $8, $10, $11,
		coalesce((SELECT id FROM devices WHERE id = $13), $12), $14, $15, CASE WHEN $16 THEN now END
		FROM (SELECT coalesce($9::timestamptz, clock_timestamp()) AS now) clock
		RETURNING last_use, expires`,
		n.ID, n.User, t.practice, n.TokenHash, n.Assurance, life.Absolute, n.Address, n.UserAgent, t.at(),
		n.Methods, n.networks(), n.Claimed, n.Fresh, n.Bound, n.Wide, n.Full)
	return opened, evicted
}

// Proof is what a session was opened with so far.
type Proof struct {
	Methods     method.Set
	AcceptEmail bool
}

// Proof reads a session's methods, and whether its practice accepts codes by mail.
func (t *Tx) Proof(session, user uuid.UUID) *Rows[Proof] {
	return query[Proof](t, `SELECT s.methods, coalesce(p.accept_email_code, false) FROM sessions s LEFT JOIN practices p ON p.id = s.practice_id
		WHERE s.id = $1 AND s.user_id = $2 AND s.practice_id = $3 AND s.ended IS NULL`, session, user, t.practice)
}

// Raising is what a session gains by a further proof.
type Raising struct {
	Session   uuid.UUID
	User      uuid.UUID
	TokenHash []byte
	// Seen are the methods that the session had when the level was worked out.
	Seen      method.Set
	Methods   method.Set
	Assurance accessv1.Assurance
	// Full: with this proof the user has authenticated with two factors now.
	Full bool
	// Network is where the proof came from, verified from then on; Wide is its neighbourhood.
	Network, Wide string
}

// RaiseSession gives a live session further methods and a new token. No row: it is not
// live, or its methods changed meanwhile.
func (t *Tx) RaiseSession(r Raising, idle time.Duration) *Rows[Times] {
	return query[Times](t, `UPDATE sessions s SET token_hash = $4, assurance = $5::smallint, methods = $8, last_use = clock.now, wide = $11,
		authenticated = CASE WHEN $12 THEN clock.now ELSE s.authenticated END,
		networks = CASE WHEN $9::text = '' OR $9::text = ANY (s.networks) THEN s.networks ELSE s.networks || $9::text END
		FROM (SELECT coalesce($7::timestamptz, clock_timestamp()) AS now) clock
		WHERE s.id = $1 AND s.user_id = $2 AND s.practice_id = $3 AND s.ended IS NULL AND s.methods = $10
		AND least(s.expires, s.last_use + $6) > clock.now RETURNING s.last_use, s.expires`,
		r.Session, r.User, t.practice, r.TokenHash, r.Assurance, idle, t.at(), r.Methods, r.Network, r.Seen, r.Wide, r.Full)
}

// Session is an open session as its user sees it.
type Session struct {
	ID        uuid.UUID
	Assurance accessv1.Assurance
	Created   time.Time
	LastUse   time.Time
	Address   string
	UserAgent string
	Methods   method.Set
	Device    *uuid.UUID
}

// Sessions lists the user's live sessions, oldest first.
func (t *Tx) Sessions(user uuid.UUID, idle time.Duration) *Rows[Session] {
	return query[Session](t, `SELECT id, assurance, created, last_use, address, user_agent, methods, device_id FROM sessions
		WHERE user_id = $1 AND practice_id = $2 AND ended IS NULL
		AND least(expires, last_use + $3) > coalesce($4::timestamptz, clock_timestamp()) ORDER BY created, id`,
		user, t.practice, idle, t.at())
}

// EndSession ends one session of the user. No row: there is no such open session.
func (t *Tx) EndSession(id, user uuid.UUID, reason string) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE sessions SET ended = coalesce($4::timestamptz, clock_timestamp()), end_reason = $5
		WHERE id = $1 AND user_id = $2 AND practice_id = $3 AND ended IS NULL RETURNING id`, id, user, t.practice, t.at(), reason)
}

// EndSessions ends all open sessions of the user except one (uuid.Nil for none). LockUser must come before it.
func (t *Tx) EndSessions(user, except uuid.UUID, reason string) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE sessions SET ended = coalesce($4::timestamptz, clock_timestamp()), end_reason = $5
		WHERE user_id = $1 AND practice_id = $2 AND id <> $3 AND ended IS NULL RETURNING id`, user, t.practice, except, t.at(), reason)
}

// Ask is one request in a batch of Admit.
type Ask struct {
	TokenHash  []byte
	Background bool
	// Network is the /24 or /48 of the client's address, Address what blocks name.
	Network, Address string
	// Device is the device whose token came along, if any.
	Device *uuid.UUID
}

// Admission is what admit says about one request. Refusal is empty where it passes.
type Admission struct {
	Place    int32
	Refusal  *string
	Retry    *time.Duration
	Session  *uuid.UUID
	User     *uuid.UUID
	Practice *uuid.UUID
	Username *string
	Kind     *accessv1.RoleKind
	Template *string
	// Custom are the permissions of a custom role, Extra those granted for a while.
	Custom        []byte
	Extra         []accessv1.Permission
	Assurance     *accessv1.Assurance
	Authenticated *time.Time
	Gates         access.Gates
	Modules       *roles.Modules
	Doctors       []uuid.UUID
	// Contained: the user's practice is cut off. CutServices are the services that are.
	Contained   bool
	CutServices []accessv1.Service
}

// Admit decides over a batch of requests; Place counts them from 1.
func (t *Tx) Admit(asks []Ask, idle, window time.Duration, limit int) *Rows[Admission] {
	t.alone = true
	hashes, background := make([][]byte, len(asks)), make([]bool, len(asks))
	networks, addresses, devices := make([]string, len(asks)), make([]string, len(asks)), make([]*uuid.UUID, len(asks))
	for i, ask := range asks {
		hashes[i], background[i] = ask.TokenHash, ask.Background
		networks[i], addresses[i], devices[i] = ask.Network, ask.Address, ask.Device
	}
	return query[Admission](t, `SELECT a.*,
		EXISTS (SELECT FROM containments c WHERE c.practice_id = a.practice_id AND c.released IS NULL AND num_nonnulls(c.service, c.user_id, c.network) = 0),
		(SELECT array_agg(c.service) FROM containments c WHERE c.service IS NOT NULL AND c.since IS NOT NULL AND c.released IS NULL)
		FROM admit($1, $2, $3, $4, $5, $6, $7, $8, $9) a`,
		hashes, background, networks, addresses, devices, t.at(), idle, window, limit)
}
