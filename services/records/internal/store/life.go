package store

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Retention is the least a practice keeps records: seven calendar years (claim DH-46).
const Retention = 7

// Keeping says how long a practice keeps records, and what becomes of them then.
type Keeping struct {
	Years     int
	Automatic bool // whether a purge needs nobody who calls it
	// ChangedBy decided so; nil where nobody has.
	ChangedBy uuid.UUID
}

// ReadRetention reads how long a practice keeps records.
func ReadRetention(b *pgx.Batch, practice uuid.UUID, out *Keeping) {
	queue(b, `SELECT coalesce(r.years, 7), coalesce(r.automatic_purge, false), coalesce(r.changed_by, '00000000-0000-0000-0000-000000000000')
		FROM (SELECT 1) one LEFT JOIN retention r ON r.practice_id = $1`, practice).
		QueryRow(func(r pgx.Row) error { return r.Scan(&out.Years, &out.Automatic, &out.ChangedBy) })
}

// SetRetention changes it.
func SetRetention(b *pgx.Batch, practice uuid.UUID, k Keeping, now time.Time) {
	queue(b, `INSERT INTO retention (practice_id, years, automatic_purge, changed_by, changed_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (practice_id) DO UPDATE SET years = excluded.years, automatic_purge = excluded.automatic_purge,
			changed_by = excluded.changed_by, changed_at = excluded.changed_at`, practice, k.Years, k.Automatic, k.ChangedBy, now)
}

// Hold is a legal hold; the nil patient stands for the whole practice.
type Hold struct {
	ID, Patient          uuid.UUID
	Reason               int16
	KeyID                uuid.UUID
	Wrapped              string
	Sealed               []byte
	PlacedBy, ReleasedBy uuid.UUID
	Placed, Released     time.Time
}

// PlaceHold stores a hold. It waits for an erasure that is under way, as that waits for a hold.
func PlaceHold(b *pgx.Batch, practice uuid.UUID, h Hold, done *bool) {
	if h.Patient == uuid.Nil {
		queue(b, `SELECT pg_advisory_xact_lock(hashtextextended('carekeep.hold.' || $1::uuid, 0))`, practice)
	} else {
		queue(b, `SELECT pg_advisory_xact_lock(hashtextextended('carekeep.hold.' || $1::uuid || '.' || $2::uuid, 0))`, practice, h.Patient)
	}
	changed(b, done, `WITH seal AS (UPDATE data_keys SET seals = seals + 1
			WHERE practice_id = $1 AND key_id = $5 AND patient_id = $3 AND seals < 2147483648 RETURNING 1)
		INSERT INTO legal_holds (practice_id, hold_id, patient_id, reason, key_id, sealed, placed_by, placed_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8 FROM seal RETURNING 1`,
		practice, h.ID, h.Patient, h.Reason, h.KeyID, h.Sealed, h.PlacedBy, h.Placed)
}

const holdColumns = `h.hold_id, h.patient_id, h.reason, h.key_id, k.wrapped, h.sealed, h.placed_by, h.placed_at,
	coalesce(h.released_by, '00000000-0000-0000-0000-000000000000'), coalesce(h.released_at, 'epoch')`

const holdJoins = ` FROM legal_holds h
	JOIN patients p ON p.practice_id = h.practice_id AND p.patient_id = h.patient_id
	JOIN data_keys k ON k.practice_id = h.practice_id AND k.key_id = h.key_id
	WHERE h.practice_id = $1 AND ` + visible

func scanHold(r pgx.Rows, h *Hold) error {
	return r.Scan(&h.ID, &h.Patient, &h.Reason, &h.KeyID, &h.Wrapped, &h.Sealed, &h.PlacedBy, &h.Placed, &h.ReleasedBy, &h.Released)
}

// LockHold reads a hold for a change in the same transaction.
func LockHold(b *pgx.Batch, v Viewer, id uuid.UUID, out *Hold, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanHold(r, out) },
		`SELECT `+holdColumns+holdJoins+` AND h.hold_id = $4 FOR UPDATE OF h`, v.args(id)...)
}

// ReleaseHold ends a hold that another person placed.
func ReleaseHold(b *pgx.Batch, v Viewer, id, user uuid.UUID, now time.Time, done *bool) {
	changed(b, done, `UPDATE legal_holds h SET released_by = $5, released_at = $6 FROM patients p
		WHERE h.practice_id = $1 AND h.hold_id = $4 AND h.released_at IS NULL AND h.placed_by <> $5
		  AND p.practice_id = $1 AND p.patient_id = h.patient_id AND `+visible+` RETURNING 1`, v.args(id, user, now)...)
}

// ListHolds reads holds, newest first, before an id.
func ListHolds(b *pgx.Batch, v Viewer, before uuid.UUID, released bool, limit int, out *[]Hold) {
	many(b, out, scanHold, `SELECT `+holdColumns+holdJoins+` AND h.hold_id < $4 AND ($5 OR h.released_at IS NULL)
		ORDER BY h.hold_id DESC LIMIT $6`, v.args(before, released, limit)...)
}

// Erasure is a decision about a patient, and the proof of what came of it.
type Erasure struct {
	ID, Patient            uuid.UUID
	State                  int16
	Ground, Exemption      int16
	RequestedBy, DecidedBy uuid.UUID
	Requested, Decided     time.Time
	Certificate            string
}

const erasureColumns = `erasure_id, patient_id, state, ground, exemption, requested_by, requested_at,
	coalesce(decided_by, '00000000-0000-0000-0000-000000000000'), coalesce(decided_at, 'epoch'), certificate`

func scanErasure(r pgx.Rows, e *Erasure) error {
	return r.Scan(&e.ID, &e.Patient, &e.State, &e.Ground, &e.Exemption, &e.RequestedBy, &e.Requested, &e.DecidedBy, &e.Decided, &e.Certificate)
}

// RequestErasure stores a request, unless one is open for the patient or the patient is gone.
func RequestErasure(b *pgx.Batch, v Viewer, e Erasure, done *bool) {
	changed(b, done, `INSERT INTO erasures (practice_id, erasure_id, patient_id, state, ground, requested_by, requested_at)
		SELECT $1, $4, p.patient_id, 1, $6, $7, $8 FROM patients p
		WHERE p.practice_id = $1 AND p.patient_id = $5 AND p.patient_id <> '00000000-0000-0000-0000-000000000000' AND `+visible+`
		FOR KEY SHARE OF p ON CONFLICT DO NOTHING RETURNING 1`, v.args(e.ID, e.Patient, e.Ground, e.RequestedBy, e.Requested)...)
}

// ReadErasure reads one.
func ReadErasure(b *pgx.Batch, practice, id uuid.UUID, out *Erasure, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanErasure(r, out) },
		`SELECT `+erasureColumns+` FROM erasures WHERE practice_id = $1 AND erasure_id = $2`, practice, id)
}

// ListErasures reads decisions, newest first, before an id.
func ListErasures(b *pgx.Batch, practice, before uuid.UUID, limit int, out *[]Erasure) {
	many(b, out, scanErasure, `SELECT `+erasureColumns+` FROM erasures WHERE practice_id = $1 AND erasure_id < $2
		ORDER BY erasure_id DESC LIMIT $3`, practice, before, limit)
}

// SettleErasure stores the decision on an open request.
func SettleErasure(b *pgx.Batch, practice uuid.UUID, e Erasure, done *bool) {
	changed(b, done, `UPDATE erasures SET state = $3, exemption = $4, decided_by = $5, decided_at = $6, certificate = $7
		WHERE practice_id = $1 AND erasure_id = $2 AND state = 1 AND requested_by <> $5 RETURNING 1`,
		practice, e.ID, e.State, e.Exemption, e.DecidedBy, e.Decided, e.Certificate)
}

// KeepErasure stores a decision that was carried out and that nobody asked for here: of a
// purge, or of the time after the backup that a database was restored from.
func KeepErasure(b *pgx.Batch, practice uuid.UUID, e Erasure) {
	queue(b, `INSERT INTO erasures (practice_id, erasure_id, patient_id, state, ground, requested_by, requested_at, decided_by, decided_at, certificate)
		VALUES ($1, $2, $3, 3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (practice_id, erasure_id) DO UPDATE SET state = 3, exemption = 0, decided_by = excluded.decided_by,
			decided_at = excluded.decided_at, certificate = excluded.certificate`,
		practice, e.ID, e.Patient, e.Ground, e.RequestedBy, e.Requested, e.DecidedBy, e.Decided, e.Certificate)
}

// Toll is what the erasure of a patient destroys.
type Toll struct {
	Rows   map[string]int64 `json:"rows"`
	Keys   []uuid.UUID      `json:"keys"`
	Digest string           `json:"digest"` // SHA-256 over the keyed digests of all versions, in hex
}

func scanToll(out *Toll) func(pgx.Row) error {
	return func(r pgx.Row) error {
		*out = Toll{}
		var text []byte
		if err := r.Scan(&text); err != nil {
			return err
		}
		return json.Unmarshal(text, out)
	}
}

// CountPatient reads what ErasePatient would destroy.
func CountPatient(b *pgx.Batch, practice, patient uuid.UUID, out *Toll) {
	queue(b, `SELECT count_patient($1, $2)::text`, practice, patient).QueryRow(scanToll(out))
}

// StateLeft is raised by every table that a practice stores in, once its destruction is decided.
const StateLeft = "CK004"

// States that erase_patient raises.
const (
	StateHeld     = "CK001" // a legal hold stands
	StateRetained = "CK002" // the retention runs; the detail is the day on which it ends
	StateNoOne    = "CK003" // there is no such patient
)

// ErasePatient destroys everything of a patient, or fails with one of the states above.
func ErasePatient(b *pgx.Batch, practice, patient uuid.UUID, out *Toll) {
	queue(b, `SELECT erase_patient($1, $2)::text`, practice, patient).QueryRow(scanToll(out))
}

// Who was stored less than the retention ago is not due, whatever else there is: the
// first condition spares most patients the look at their documents.
const due = ` FROM patients p,
	LATERAL (SELECT coalesce((SELECT years FROM retention WHERE practice_id = $1), 7) AS years) r,
	LATERAL (SELECT EXISTS (SELECT FROM legal_holds h WHERE h.practice_id = $1 AND h.released_at IS NULL
		AND h.patient_id IN (p.patient_id, '00000000-0000-0000-0000-000000000000')) AS held) h
	WHERE p.practice_id = $1 AND p.patient_id > $2 AND p.created_at < now() - make_interval(years => r.years)
	  AND retention_end(last_contact($1, p.patient_id), r.years) <= now() AND h.held = $3`

// ListDue reads patients whose retention has ended, by id, after one: those that a legal hold
// keeps, or those that it does not.
func ListDue(b *pgx.Batch, practice, after uuid.UUID, held bool, limit int, out *[]uuid.UUID) {
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) }, `SELECT p.patient_id`+due+` ORDER BY p.patient_id LIMIT $4`, practice, after, held, limit)
}

// BeginPurge notes that a practice's due patients are counted now, and counts those whom no hold keeps, if that was last
// done at a moment or before it. Of replicas that ask at the same time one does it.
func BeginPurge(b *pgx.Batch, practice uuid.UUID, now, last time.Time, found *int, begun *bool) {
	one(b, begun, func(r pgx.Rows) error { return r.Scan(found) }, `WITH mine AS (
			INSERT INTO purge_runs AS x (practice_id, ran_at) VALUES ($1, $4)
			ON CONFLICT (practice_id) DO UPDATE SET ran_at = excluded.ran_at WHERE x.ran_at <= $5 RETURNING practice_id)
		SELECT c.n FROM mine CROSS JOIN LATERAL (SELECT count(*) AS n`+due+` AND p.practice_id = mine.practice_id) c`,
		practice, uuid.Nil, false, now, last)
}
