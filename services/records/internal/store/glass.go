package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Opening is a chart that one user opened by breaking the glass.
type Opening struct {
	ID, Patient, User uuid.UUID
	KeyID             uuid.UUID
	Wrapped           string // the data key
	Reason            []byte // sealed
	Opened, Ends      time.Time
	Reviewed          time.Time // zero until then
	Reviewer          uuid.UUID
	Finding           int16
}

const openingColumns = `g.opening_id, g.patient_id, g.user_id, g.key_id, k.wrapped, g.reason, g.opened_at, g.ends_at,
	g.reviewed_at, coalesce(g.reviewed_by, '00000000-0000-0000-0000-000000000000'), g.finding`

// Without its key an opening shows no reason; that it was is kept.
const openingKey = ` LEFT JOIN data_keys k ON k.practice_id = g.practice_id AND k.key_id = g.key_id `

func scanOpening(r pgx.Rows, o *Opening) error {
	var wrapped *string
	var reviewed *time.Time
	err := r.Scan(&o.ID, &o.Patient, &o.User, &o.KeyID, &wrapped, &o.Reason, &o.Opened, &o.Ends, &reviewed, &o.Reviewer, &o.Finding)
	if wrapped != nil {
		o.Wrapped = *wrapped
	}
	o.Opened, o.Ends, o.Reviewed = o.Opened.UTC(), o.Ends.UTC(), instant(reviewed)
	return err
}

// ReadDesignated reads whether a user may break the glass.
func ReadDesignated(b *pgx.Batch, practice, user uuid.UUID, out *bool) {
	one(b, out, func(pgx.Rows) error { return nil },
		`SELECT FROM glass_users WHERE practice_id = $1 AND user_id = $2`, practice, user)
}

// BreakGlass stores an opening that ends after some minutes, unless the user is not
// designated, is entitled to see the patient anyway, or has the chart open already.
func BreakGlass(b *pgx.Batch, v Viewer, o Opening, minutes int, out *Opening, done *bool) {
	one(b, done, func(r pgx.Rows) error { return scanOpening(r, out) }, `WITH can AS (
			SELECT 1 FROM patients p WHERE p.practice_id = $1 AND p.patient_id = $4 AND p.key_id = $6 AND p.deleted_at IS NULL
			  AND NOT `+visible+` AND EXISTS (SELECT FROM glass_users u WHERE u.practice_id = $1 AND u.user_id = ($3::uuid[])[1])),
		seal AS (UPDATE data_keys SET seals = seals + 1
			WHERE practice_id = $1 AND key_id = $6 AND seals < 2147483648 AND EXISTS (SELECT FROM can) RETURNING key_id, wrapped),
		g AS (INSERT INTO glass_openings (practice_id, opening_id, patient_id, user_id, key_id, reason, ends_at)
			SELECT $1, $5, $4, ($3::uuid[])[1], $6, $7, statement_timestamp() + $8 * interval '1 minute' FROM seal RETURNING *)
		SELECT `+openingColumns+` FROM g JOIN seal k USING (key_id)`, v.args(o.Patient, o.ID, o.KeyID, o.Reason, minutes)...)
}

// EndGlass ends an opening of the user's own.
func EndGlass(b *pgx.Batch, practice, user, opening uuid.UUID, out *Opening, done *bool) {
	one(b, done, func(r pgx.Rows) error { return scanOpening(r, out) }, `WITH g AS (
			UPDATE glass_openings SET ends_at = least(ends_at, statement_timestamp())
			WHERE practice_id = $1 AND user_id = $2 AND opening_id = $3 RETURNING *)
		SELECT `+openingColumns+` FROM g`+openingKey, practice, user, opening)
}

// ListOpenings reads openings, newest first; without all, those that nobody reviewed.
func ListOpenings(b *pgx.Batch, practice uuid.UUID, all bool, after Cursor, limit int, out *[]Opening) {
	many(b, out, scanOpening, `SELECT `+openingColumns+` FROM glass_openings g`+openingKey+`
		WHERE g.practice_id = $1 AND ($2 OR g.reviewed_at IS NULL) AND (g.opened_at, g.opening_id) < ($3, $4)
		ORDER BY g.opened_at DESC, g.opening_id DESC LIMIT $5`, practice, all, after.Created, after.ID, limit)
}

// ReadOpening reads one opening.
func ReadOpening(b *pgx.Batch, practice, opening uuid.UUID, out *Opening, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanOpening(r, out) },
		`SELECT `+openingColumns+` FROM glass_openings g`+openingKey+`WHERE g.practice_id = $1 AND g.opening_id = $2`, practice, opening)
}

// ReviewGlass stores the finding of somebody else than who broke the glass, once.
func ReviewGlass(b *pgx.Batch, practice, reviewer, opening uuid.UUID, finding int16, out *Opening, done *bool) {
	one(b, done, func(r pgx.Rows) error { return scanOpening(r, out) }, `WITH g AS (
			UPDATE glass_openings SET reviewed_at = statement_timestamp(), reviewed_by = $2, finding = $4
			WHERE practice_id = $1 AND opening_id = $3 AND user_id <> $2 AND reviewed_at IS NULL RETURNING *)
		SELECT `+openingColumns+` FROM g`+openingKey, practice, reviewer, opening, finding)
}

// MarkOverdue marks the openings of a practice that nobody reviewed within 24 hours.
func MarkOverdue(b *pgx.Batch, practice uuid.UUID, out *[]Opening) {
	many(b, out, scanOpening, `WITH g AS (
			UPDATE glass_openings SET overdue_at = statement_timestamp()
			WHERE practice_id = $1 AND reviewed_at IS NULL AND overdue_at IS NULL
			  AND opened_at < statement_timestamp() - interval '24 hours' RETURNING *)
		SELECT `+openingColumns+` FROM g`+openingKey, practice)
}

// Designated is who may break the glass.
type Designated struct {
	User, By uuid.UUID
	At       time.Time
}

const designatedColumns = `user_id, designated_by, designated_at`

func scanDesignated(r pgx.Rows, d *Designated) error { return r.Scan(&d.User, &d.By, &d.At) }

// ListDesignated reads who may break the glass in a practice.
func ListDesignated(b *pgx.Batch, practice uuid.UUID, out *[]Designated) {
	many(b, out, scanDesignated, `SELECT `+designatedColumns+` FROM glass_users WHERE practice_id = $1 ORDER BY user_id`, practice)
}

// Designate lets a user break the glass. Who is designated stays as they are.
func Designate(b *pgx.Batch, practice, user, by uuid.UUID, out *Designated, done *bool) {
	one(b, done, func(r pgx.Rows) error { return scanDesignated(r, out) }, `WITH made AS (
			INSERT INTO glass_users (practice_id, user_id, designated_by) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING *)
		SELECT `+designatedColumns+` FROM made
		UNION ALL SELECT `+designatedColumns+` FROM glass_users WHERE practice_id = $1 AND user_id = $2`, practice, user, by)
}

// Withdraw takes a designation back and ends what the user has open.
func Withdraw(b *pgx.Batch, practice, user uuid.UUID, done *bool) {
	queue(b, `UPDATE glass_openings SET ends_at = statement_timestamp()
		WHERE practice_id = $1 AND user_id = $2 AND ends_at > statement_timestamp()`, practice, user)
	changed(b, done, `DELETE FROM glass_users WHERE practice_id = $1 AND user_id = $2 RETURNING 1`, practice, user)
}
