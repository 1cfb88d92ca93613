package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Decisions on referrals, as stored.
const (
	ReferralAccepted int16 = 1
	ReferralDeclined int16 = 2
)

// Referral asks a doctor to see a patient too. Times that have not come are zero.
type Referral struct {
	ID, Patient, From, To uuid.UUID
	KeyID                 uuid.UUID
	Wrapped               string // the data key
	Reason                []byte // sealed
	Created, Starts, Ends time.Time
	Decided, Withdrawn    time.Time
	Decision              int16
	// Over says whether its end has passed, by the database's clock.
	Over bool
}

const referralColumns = `g.referral_id, g.patient_id, g.from_user, g.to_user, g.key_id, k.wrapped, g.reason,
	g.created_at, g.starts_at, g.ends_at, g.decided_at, g.withdrawn_at, g.decision, g.ends_at <= statement_timestamp()`

func scanReferral(r pgx.Rows, x *Referral) error {
	var wrapped *string
	var decided, withdrawn *time.Time
	err := r.Scan(&x.ID, &x.Patient, &x.From, &x.To, &x.KeyID, &wrapped, &x.Reason,
		&x.Created, &x.Starts, &x.Ends, &decided, &withdrawn, &x.Decision, &x.Over)
	x.Wrapped = ""
	if wrapped != nil {
		x.Wrapped = *wrapped
	}
	x.Created, x.Starts, x.Ends = x.Created.UTC(), x.Starts.UTC(), x.Ends.UTC()
	x.Decided, x.Withdrawn = instant(decided), instant(withdrawn)
	return err
}

// ReadTreated reads whether the viewer sees a patient by the care team or the whole
// practice, and not by a referral or a broken glass alone.
func ReadTreated(b *pgx.Batch, v Viewer, patient uuid.UUID, out *bool) {
	one(b, out, func(pgx.Rows) error { return nil }, `SELECT FROM patients p
		WHERE p.practice_id = $1 AND p.patient_id = $4 AND p.deleted_at IS NULL AND `+treated, v.args(patient)...)
}

// CreateReferral stores a referral of a patient whose care team the viewer is on.
// Without a start it begins now.
func CreateReferral(b *pgx.Batch, v Viewer, x Referral, out *Referral, done *bool) {
	one(b, done, func(r pgx.Rows) error { return scanReferral(r, out) }, `WITH can AS (
			SELECT 1 FROM patients p WHERE p.practice_id = $1 AND p.patient_id = $4 AND p.key_id = $6 AND p.deleted_at IS NULL AND `+treated+`),
		seal AS (UPDATE data_keys SET seals = seals + 1
			WHERE practice_id = $1 AND key_id = $6 AND seals < 2147483648 AND EXISTS (SELECT FROM can) RETURNING key_id, wrapped),
		g AS (INSERT INTO referrals (practice_id, referral_id, patient_id, from_user, to_user, key_id, reason, starts_at, ends_at)
			SELECT $1, $5, $4, $8, $9, $6, $7, $10, $11 FROM seal RETURNING *)
		SELECT `+referralColumns+` FROM g JOIN seal k USING (key_id)`,
		v.args(x.Patient, x.ID, x.KeyID, x.Reason, x.From, x.To, x.Starts, x.Ends)...)
}

// ListReferrals reads the referrals to and from a user, newest first; without closed, those
// that wait for a decision or are in force. Those of deleted patients are left out.
func ListReferrals(b *pgx.Batch, practice, user uuid.UUID, closed bool, after Cursor, limit int, out *[]Referral) {
	many(b, out, scanReferral, `SELECT `+referralColumns+` FROM referrals g`+openingKey+`
		JOIN patients p ON p.practice_id = g.practice_id AND p.patient_id = g.patient_id AND p.deleted_at IS NULL
		WHERE g.practice_id = $1 AND (g.to_user = $2 OR g.from_user = $2)
		  AND ($3 OR (g.decision <> 2 AND g.withdrawn_at IS NULL AND g.ends_at > statement_timestamp()))
		  AND (g.created_at, g.referral_id) < ($4, $5)
		ORDER BY g.created_at DESC, g.referral_id DESC LIMIT $6`, practice, user, closed, after.Created, after.ID, limit)
}

const referralChange = ` FROM patients p
	WHERE r.practice_id = $1 AND r.referral_id = $3 AND r.withdrawn_at IS NULL AND r.ends_at > statement_timestamp()
	  AND p.practice_id = $1 AND p.patient_id = r.patient_id AND p.deleted_at IS NULL AND `

// DecideReferral stores the decision of the doctor whom a referral asks, once and before it ends.
func DecideReferral(b *pgx.Batch, practice, user, referral uuid.UUID, decision int16, out *Referral, done *bool) {
	one(b, done, func(r pgx.Rows) error { return scanReferral(r, out) }, `WITH g AS (
			UPDATE referrals r SET decision = $4, decided_at = statement_timestamp()`+referralChange+`r.to_user = $2 AND r.decision = 0 RETURNING r.*)
		SELECT `+referralColumns+` FROM g`+openingKey, practice, user, referral, decision)
}

// WithdrawReferral ends a referral that one of its doctors made or was asked, unless it was declined.
func WithdrawReferral(b *pgx.Batch, practice, user, referral uuid.UUID, out *Referral, done *bool) {
	one(b, done, func(r pgx.Rows) error { return scanReferral(r, out) }, `WITH g AS (
			UPDATE referrals r SET withdrawn_at = statement_timestamp()`+referralChange+`$2 IN (r.to_user, r.from_user) AND r.decision <> 2 RETURNING r.*)
		SELECT `+referralColumns+` FROM g`+openingKey, practice, user, referral)
}
