package store

import (
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
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
	Address   string
	UserAgent string
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
		(id, user_id, practice_id, token_hash, assurance, created, last_use, expires, address, user_agent)
		SELECT $1, $2, $3, $4, $5, now, now, now + $6, $7, $8 FROM (SELECT coalesce($9::timestamptz, clock_timestamp()) AS now) clock
		RETURNING last_use, expires`,
		n.ID, n.User, t.practice, n.TokenHash, n.Assurance, life.Absolute, n.Address, n.UserAgent, t.at())
	return opened, evicted
}

// RaiseSession gives a live session two factors and a new token. No row: it is not live.
func (t *Tx) RaiseSession(id, user uuid.UUID, tokenHash []byte, idle time.Duration) *Rows[Times] {
	return query[Times](t, `UPDATE sessions s SET token_hash = $4, assurance = $5, last_use = clock.now
		FROM (SELECT coalesce($7::timestamptz, clock_timestamp()) AS now) clock
		WHERE s.id = $1 AND s.user_id = $2 AND s.practice_id = $3 AND s.ended IS NULL
		AND least(s.expires, s.last_use + $6) > clock.now RETURNING s.last_use, s.expires`,
		id, user, t.practice, tokenHash, accessv1.Assurance_ASSURANCE_AAL2, idle, t.at())
}

// Session is an open session as its user sees it.
type Session struct {
	ID        uuid.UUID
	Assurance accessv1.Assurance
	Created   time.Time
	LastUse   time.Time
	Address   string
	UserAgent string
}

// Sessions lists the user's live sessions, oldest first.
func (t *Tx) Sessions(user uuid.UUID, idle time.Duration) *Rows[Session] {
	return query[Session](t, `SELECT id, assurance, created, last_use, address, user_agent FROM sessions
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
}

// Admission is what admit says about one request. Refusal is empty where it passes.
type Admission struct {
	Place     int32
	Refusal   *string
	Retry     *time.Duration
	Session   *uuid.UUID
	User      *uuid.UUID
	Practice  *uuid.UUID
	Username  *string
	Kind      *accessv1.RoleKind
	Template  *string
	Assurance *accessv1.Assurance
	Modules   *roles.Modules
	Doctors   []uuid.UUID
}

// Admit decides over a batch of requests; Place counts them from 1.
func (t *Tx) Admit(asks []Ask, idle, window time.Duration, limit int) *Rows[Admission] {
	t.alone = true
	hashes, background := make([][]byte, len(asks)), make([]bool, len(asks))
	for i, ask := range asks {
		hashes[i], background[i] = ask.TokenHash, ask.Background
	}
	return query[Admission](t, "SELECT * FROM admit($1, $2, $3, $4, $5, $6)", hashes, background, t.at(), idle, window, limit)
}
