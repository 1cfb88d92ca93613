package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// PatientToken is a patient's one-time token, as far as it is kept.
type PatientToken struct {
	Hash                     []byte
	Patient, Request, Issuer uuid.UUID
	Issued, Expires          time.Time
}

// IssueToken ends the earlier tokens of the request and stores a new one, unless limit
// of them were issued since.
func IssueToken(b *pgx.Batch, practice uuid.UUID, t PatientToken, since time.Time, limit int, done *bool) {
	queue(b, `UPDATE patient_tokens SET revoked_at = $3 WHERE practice_id = $1 AND request_id = $2 AND revoked_at IS NULL`,
		practice, t.Request, t.Issued)
	changed(b, done, `INSERT INTO patient_tokens (practice_id, token_hash, patient_id, request_id, issued_by, issued_at, expires_at)
		SELECT $1, $2, p.patient_id, $4, $5, $6, $7 FROM (SELECT patient_id FROM patients
			WHERE practice_id = $1 AND patient_id = $3 FOR KEY SHARE) p
		WHERE (SELECT count(*) FROM patient_tokens WHERE practice_id = $1 AND request_id = $4 AND issued_at > $8) < $9 RETURNING 1`,
		practice, t.Hash, t.Patient, t.Request, t.Issuer, t.Issued, t.Expires, since, limit)
}

// What a token is used for: the column that says when it was.
const (
	UseView      = "viewed_at"
	UseStatement = "stated_at"
)

const stillGood = `practice_id = $1 AND token_hash = $2 AND expires_at > $3 AND revoked_at IS NULL`

func scanToken(t *PatientToken) func(pgx.Rows) error {
	return func(r pgx.Rows) error { return r.Scan(&t.Patient, &t.Request) }
}

// SpendToken uses a token for one action, which it does once.
func SpendToken(b *pgx.Batch, practice uuid.UUID, hash []byte, use string, now time.Time, out *PatientToken, found *bool) {
	one(b, found, scanToken(out), `UPDATE patient_tokens SET `+use+` = $3 WHERE `+stillGood+` AND `+use+` IS NULL
		RETURNING patient_id, request_id`, practice, hash, now)
}

// ClaimExport keeps others from exporting with the token until then.
func ClaimExport(b *pgx.Batch, practice uuid.UUID, hash []byte, now, until time.Time, out *PatientToken, found *bool) {
	one(b, found, scanToken(out), `UPDATE patient_tokens SET claimed_until = $4 WHERE `+stillGood+`
		AND exported_at IS NULL AND (claimed_until IS NULL OR claimed_until <= $3) RETURNING patient_id, request_id`, practice, hash, now, until)
}

// EndExport ends the claim that runs until then: for good where the export was delivered.
func EndExport(b *pgx.Batch, practice uuid.UUID, hash []byte, until time.Time, delivered bool, now time.Time, done *bool) {
	changed(b, done, `UPDATE patient_tokens SET claimed_until = NULL, exported_at = CASE WHEN $4 THEN $5::timestamptz END
		WHERE practice_id = $1 AND token_hash = $2 AND claimed_until = $3 AND exported_at IS NULL RETURNING 1`, practice, hash, until, delivered, now)
}

// CountFailures reads how many wrong tokens came from a network since then.
func CountFailures(b *pgx.Batch, network string, since time.Time, out *int) {
	*out = 0
	queue(b, `SELECT coalesce(sum(failures), 0)::int FROM token_failures WHERE practice_id = $1 AND network = $2 AND hour > $3`,
		uuid.Nil, network, since).QueryRow(func(r pgx.Row) error { return r.Scan(out) })
}

// AddFailure counts a wrong token, and forgets those before.
func AddFailure(b *pgx.Batch, network string, now, before time.Time) {
	queue(b, `DELETE FROM token_failures WHERE practice_id = $1 AND hour < $2`, uuid.Nil, before)
	queue(b, `INSERT INTO token_failures (practice_id, network, hour, failures) VALUES ($1, $2, $3, 1)
		ON CONFLICT (practice_id, network, hour) DO UPDATE SET failures = token_failures.failures + 1`, uuid.Nil, network, now.Truncate(time.Hour))
}
