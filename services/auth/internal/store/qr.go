package store

import (
	"time"

	"github.com/google/uuid"
)

// QRState is how a QR sign-in stands; the numbers are stored.
type QRState int16

// States of a QR sign-in.
const (
	QRPending QRState = 1 + iota
	QRApproved
	QRDenied
	QRUsed
)

// NewQR is a sign-in that waits for a phone.
type NewQR struct {
	ID         uuid.UUID
	SecretHash []byte
	Number     int32
	Numbers    []int32
	Network    string
	UserAgent  string
	Life       time.Duration
}

// InsertQR keeps it. The row is when it expires.
func (t *Tx) InsertQR(n NewQR) *Rows[time.Time] {
	return scalars[time.Time](t, `INSERT INTO qr_sign_ins (id, secret_hash, number, numbers, network, user_agent, created, expires)
		SELECT $1, $2, $3, $4, $5, $6, now, now + $7 FROM (SELECT coalesce($8::timestamptz, clock_timestamp()) AS now) clock RETURNING expires`,
		n.ID, n.SecretHash, n.Number, n.Numbers, n.Network, n.UserAgent, n.Life, t.at())
}

// QR is a sign-in that a phone decides on.
type QR struct {
	SecretHash []byte
	Numbers    []int32
	Network    string
	UserAgent  string
	Created    time.Time
	Expires    time.Time
	State      QRState
	User       *uuid.UUID
	Expired    bool
}

// QR reads one. It belongs to no practice.
func (t *Tx) QR(id uuid.UUID) *Rows[QR] {
	return query[QR](t, `SELECT secret_hash, numbers, network, user_agent, created, expires, state, user_id,
		expires <= coalesce($2::timestamptz, clock_timestamp()) FROM qr_sign_ins WHERE id = $1`, id, t.at())
}

// DecideQR approves a pending sign-in for the user where the number is the one that
// the other device shows, and denies it otherwise; 0 is never shown. The row says
// which. No row: it is not pending.
func (t *Tx) DecideQR(id uuid.UUID, number int32, user, session uuid.UUID) *Rows[QRState] {
	t.alone = true
	return scalars[QRState](t, `UPDATE qr_sign_ins SET state = CASE WHEN number = $2 THEN 2 ELSE 3 END, user_id = $3, session_id = $4
		WHERE id = $1 AND state = 1 AND expires > coalesce($5::timestamptz, clock_timestamp()) RETURNING state`,
		id, number, user, session, t.at())
}

// TakeQR uses an approved sign-in up. LockUser must come before it. No row: it was
// used, it expired, or meanwhile its user may not sign in or has ended the session that approved.
func (t *Tx) TakeQR(id, user uuid.UUID) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE qr_sign_ins q SET state = 4 FROM users u, sessions s
		WHERE q.id = $1 AND q.user_id = $2 AND q.state = 2 AND q.expires > coalesce($4::timestamptz, clock_timestamp())
		AND u.id = q.user_id AND u.practice_id = $3 AND NOT u.disabled AND u.frozen IS NULL AND u.closed IS NULL
		AND s.id = q.session_id AND s.user_id = u.id AND s.ended IS NULL RETURNING q.id`, id, user, t.practice, t.at())
}
