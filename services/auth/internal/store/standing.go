package store

import (
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/services/auth/internal/method"
)

// RecordTraining keeps the proof and says until when it counts. No row: it lies in
// the future, before the user's present role, or the user is not there.
func (t *Tx) RecordTraining(user uuid.UUID, course string, completed time.Time, days int, by uuid.UUID) *Rows[time.Time] {
	t.exec(`INSERT INTO trainings (id, practice_id, user_id, course, completed, recorded, recorded_by)
		SELECT gen_random_uuid(), u.practice_id, u.id, $3, $4, now, $5 FROM users u, (SELECT coalesce($6::timestamptz, clock_timestamp()) AS now) clock
		WHERE u.id = $1 AND u.practice_id = $2 AND $4 <= now AND $4 >= coalesce(u.role_since, '-infinity')`,
		user, t.practice, course, completed, by, t.at())
	return scalars[time.Time](t, `UPDATE users u SET trained_until = greatest(u.trained_until, $3 + make_interval(days => $4))
		WHERE u.id = $1 AND u.practice_id = $2 AND $3 <= coalesce($5::timestamptz, clock_timestamp())
		AND $3 >= coalesce(u.role_since, '-infinity') RETURNING u.trained_until`, user, t.practice, completed, days, t.at())
}

// Attested is a device and when it was attested.
type Attested struct {
	Device uuid.UUID
	At     time.Time
}

// Attest notes that the user attests the device of the session. No row: the session has none.
func (t *Tx) Attest(user, session uuid.UUID) *Rows[Attested] {
	return query[Attested](t, `UPDATE devices d SET attested = coalesce($4::timestamptz, clock_timestamp()) FROM sessions s
		WHERE s.id = $2 AND s.user_id = $1 AND s.practice_id = $3 AND s.ended IS NULL
		AND d.id = s.device_id AND d.user_id = $1 AND d.practice_id = $3 AND d.forgotten IS NULL RETURNING d.id, d.attested`,
		user, session, t.practice, t.at())
}

// Agreement is a row of agreements; Ends is what counts now.
type Agreement struct {
	Version   string
	Signatory string
	Begins    time.Time
	Ends      time.Time
}

// Agreement reads what was recorded last for the practice.
func (t *Tx) Agreement(practice uuid.UUID) *Rows[Agreement] {
	return query[Agreement](t, `SELECT a.version, a.signatory, p.baa_from, p.baa_until FROM agreements a JOIN practices p ON p.id = a.practice_id
		WHERE a.practice_id = $1 AND p.baa_until IS NOT NULL ORDER BY a.recorded DESC, a.id DESC LIMIT 1`, practice)
}

// RecordAgreement keeps the proof and puts the agreement in force. No row: there
// is no such practice, or the text is not the latest.
func (t *Tx) RecordAgreement(practice uuid.UUID, a Agreement, by uuid.UUID) *Rows[uuid.UUID] {
	t.alone = true
	changed := scalars[uuid.UUID](t, `UPDATE practices SET baa_version = $2, baa_from = $3, baa_until = $4
		WHERE id = $1 AND $2 = coalesce((SELECT version FROM agreement_texts ORDER BY published DESC LIMIT 1), $2) RETURNING id`,
		practice, a.Version, a.Begins, a.Ends)
	t.exec(`INSERT INTO agreements (id, practice_id, version, signatory, begins, ends, recorded, recorded_by)
		SELECT $7, p.id, $2, $3, $4, $5, coalesce($8::timestamptz, clock_timestamp()), $6 FROM practices p WHERE p.id = $1 AND p.baa_version = $2`,
		practice, a.Version, a.Signatory, a.Begins, a.Ends, by, uuid.Must(uuid.NewV7()), t.at())
	return changed
}

// ReviseAgreement publishes a text; agreements to others end after the grace. No row: it was published before.
func (t *Tx) ReviseAgreement(version string, grace time.Duration) *Rows[string] {
	t.alone = true
	published := scalars[string](t, `INSERT INTO agreement_texts (version, published) VALUES ($1, coalesce($2::timestamptz, clock_timestamp()))
		ON CONFLICT DO NOTHING RETURNING version`, version, t.at())
	t.exec(`UPDATE practices SET baa_until = least(baa_until, (SELECT published FROM agreement_texts WHERE version = $1) + $2::interval)
		WHERE baa_version <> $1 AND $1 = (SELECT version FROM agreement_texts ORDER BY published DESC LIMIT 1)`, version, grace)
	return published
}

// Policy is what a practice accepts as safe enough.
type Policy struct {
	AcceptEmailCode bool
	RequirePasskey  bool
	Version         int64
}

// Policy reads the practice's policy.
func (t *Tx) Policy() *Rows[Policy] {
	return query[Policy](t, "SELECT accept_email_code, require_passkey, version FROM practices WHERE id = $1", t.practice)
}

// UpdatePolicy changes it, if the version is still the given one. Sessions that only a
// code by mail raised fall back where it no longer counts.
func (t *Tx) UpdatePolicy(p Policy) *Rows[Policy] {
	if !p.AcceptEmailCode {
		t.exec("UPDATE sessions SET assurance = $2::smallint WHERE practice_id = $1 AND ended IS NULL AND assurance > $2::smallint AND methods & $3 = 0",
			t.practice, accessv1.Assurance_ASSURANCE_AAL1, method.Second|method.QR)
	}
	return query[Policy](t, `UPDATE practices SET accept_email_code = $2, require_passkey = $3, version = version + 1,
		updated = coalesce($5::timestamptz, clock_timestamp()) WHERE id = $1 AND version = $4
		RETURNING accept_email_code, require_passkey, version`, t.practice, p.AcceptEmailCode, p.RequirePasskey, p.Version, t.at())
}
