package store

import (
	"time"

	"github.com/google/uuid"
)

// Practice is a row of practices.
type Practice struct {
	ID          uuid.UUID
	DisplayName string
	Disabled    bool
	Version     int64
	Created     time.Time
	Updated     time.Time
}

const practiceColumns = "id, display_name, disabled, version, created, updated"

// Practice reads one practice, where the transaction may see it.
func (t *Tx) Practice(id uuid.UUID) *Rows[Practice] {
	return query[Practice](t, "SELECT "+practiceColumns+" FROM practices WHERE id = $1", id)
}

// Practices reads a page of practices after an id.
func (t *Tx) Practices(after uuid.UUID, limit int) *Rows[Practice] {
	return query[Practice](t, "SELECT "+practiceColumns+" FROM practices WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
}

// PracticeOfRequest finds what an earlier call with the same request id created.
func (t *Tx) PracticeOfRequest(creator, request uuid.UUID) *Rows[Practice] {
	return query[Practice](t, "SELECT "+practiceColumns+" FROM practices WHERE created_by = $1 AND request_id = $2", creator, request)
}

// InsertPractice creates a practice and its billing settings. No row comes back where the request id was used before.
func (t *Tx) InsertPractice(id uuid.UUID, displayName string, creator uuid.UUID, request *uuid.UUID) *Rows[Practice] {
	t.alone = true
	created := query[Practice](t, `INSERT INTO practices (id, display_name, created, updated, created_by, request_id)
		SELECT $1, $2, now, now, $3, $4 FROM (SELECT coalesce($5::timestamptz, clock_timestamp()) AS now) clock
		ON CONFLICT (created_by, request_id) DO NOTHING RETURNING `+practiceColumns,
		id, displayName, creator, request, t.at())
	t.exec("INSERT INTO billing_settings (practice_id) SELECT id FROM practices WHERE id = $1", id)
	return created
}

// UpdatePractice changes what is not nil, if the version is still the given one.
func (t *Tx) UpdatePractice(id uuid.UUID, version int64, displayName *string, disabled *bool) *Rows[Practice] {
	return query[Practice](t, `UPDATE practices SET display_name = coalesce($3, display_name), disabled = coalesce($4, disabled),
		version = version + 1, updated = coalesce($5::timestamptz, clock_timestamp())
		WHERE id = $1 AND version = $2 RETURNING `+practiceColumns, id, version, displayName, disabled, t.at())
}

// Billing is a row of billing_settings.
type Billing struct {
	LegalName   string
	EmailSealed string
	Currency    string
	Version     int64
}

const billingColumns = "legal_name, billing_email_sealed, currency, version"

// Billing reads the billing settings of the practice.
func (t *Tx) Billing() *Rows[Billing] {
	return query[Billing](t, "SELECT "+billingColumns+" FROM billing_settings WHERE practice_id = $1", t.practice)
}

// UpdateBilling changes what is not nil, if the version is still the given one.
func (t *Tx) UpdateBilling(version int64, legalName, emailSealed, currency *string) *Rows[Billing] {
	return query[Billing](t, `UPDATE billing_settings SET legal_name = coalesce($3, legal_name),
		billing_email_sealed = coalesce($4, billing_email_sealed), currency = coalesce($5, currency), version = version + 1
		WHERE practice_id = $1 AND version = $2 RETURNING `+billingColumns, t.practice, version, legalName, emailSealed, currency)
}
