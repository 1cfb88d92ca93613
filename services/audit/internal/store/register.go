package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carekeep/carekeep/libs/errs"
)

// Register is a table of steps: rows of what happened to its subjects, inserted and never changed.
type Register struct {
	table string
}

// The registers that there are.
var (
	Incidents = Register{table: "incident_steps"}
	Breaches  = Register{table: "breach_steps"}
)

// Step is one thing that happened to a subject of a register.
type Step struct {
	Subject  uuid.UUID
	Version  int32 // counts from 1
	ID       uuid.UUID
	Practice uuid.UUID
	Kind     int16
	User     uuid.UUID // nil for the service itself
	Time     time.Time
	Facts    []byte // JSON without anything that a person wrote
	Sealed   string // what a person wrote, or nothing
}

// ErrStepTaken says that somebody else took the version of a step: look again.
var ErrStepTaken = errors.New("another step has this version")

const stepColumns = "subject_id, version, step_id, practice_id, kind, user_id, create_time, facts, sealed"

func scanRegistered(row pgx.CollectableRow) (Step, error) {
	var s Step
	err := row.Scan(&s.Subject, &s.Version, &s.ID, &s.Practice, &s.Kind, &s.User, &s.Time, &s.Facts, &s.Sealed)
	s.Time = s.Time.UTC()
	return s, err
}

// Steps returns all steps of a subject in order; none where the practice has no such subject.
func (s *Store) Steps(ctx context.Context, r Register, practice, subject uuid.UUID) ([]Step, error) {
	steps, err := readAs(ctx, s.pool, practice, scanRegistered,
		"SELECT "+stepColumns+" FROM "+r.table+" WHERE practice_id = $1 AND subject_id = $2 ORDER BY version", practice, subject)
	return steps, failed("read steps", err)
}

// Subjects returns the steps of at most limit subjects of a practice, newest subject first and each in
// order, that come before the given one; uuid.Nil starts at the newest.
func (s *Store) Subjects(ctx context.Context, r Register, practice, before uuid.UUID, limit int) ([][]Step, error) {
	steps, err := readAs(ctx, s.pool, practice, scanRegistered, `
		SELECT `+stepColumns+` FROM `+r.table+` WHERE practice_id = $1 AND subject_id IN (
			SELECT subject_id FROM `+r.table+`
			WHERE version = 1 AND practice_id = $1 AND ($2 = '00000000-0000-0000-0000-000000000000'::uuid OR subject_id < $2)
			ORDER BY subject_id DESC LIMIT $3)
		ORDER BY subject_id DESC, version`, practice, before, limit)
	if err != nil {
		return nil, failed("list steps", err)
	}
	var out [][]Step
	for i, step := range steps {
		if i == 0 || step.Subject != steps[i-1].Subject {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], step)
	}
	return out, nil
}

// AddSteps inserts steps of one practice, and with adds what belongs to them in the same transaction.
// record makes their event durable when nothing but the commit is left, so that the log may say too much and
// never too little. It fails with ErrStepTaken where somebody was faster.
func (s *Store) AddSteps(ctx context.Context, r Register, steps []Step, with func(*pgx.Batch), record func(context.Context) error) error {
	err := s.change(ctx, "add steps", func(tx pgx.Tx) error {
		b := asPractice(steps[0].Practice)
		for _, step := range steps {
			b.Queue("INSERT INTO "+r.table+" ("+stepColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
				step.Subject, step.Version, step.ID, step.Practice, step.Kind, step.User, step.Time, step.Facts, step.Sealed)
		}
		if with != nil {
			with(b)
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		return record(ctx)
	})
	if pgErr := new(pgconn.PgError); errors.As(err, &pgErr) && pgErr.Code == "23505" && pgErr.TableName == r.table {
		return ErrStepTaken
	}
	return err
}

// change runs a transaction. An error that clients may see is not the database's and stays what it is.
func (s *Store) change(ctx context.Context, what string, do func(pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, s.pool, do)
	if errs.ReasonOf(err) != "" {
		return err
	}
	return failed(what, err)
}

// Subject is a subject of a register, of whatever practice.
type Subject struct{ ID, Practice uuid.UUID }

// Unfinished returns what the sweep of a register has to look at, of all practices.
func (s *Store) Unfinished(ctx context.Context, r Register) ([]Subject, error) {
	function := map[Register]string{Incidents: "unfinished_incidents()", Breaches: "unfinished_breaches()"}[r]
	rows, err := s.pool.Query(ctx, "SELECT subject_id, practice_id FROM "+function)
	if err != nil {
		return nil, failed("read what is unfinished", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Subject])
	return list, failed("read what is unfinished", err)
}

// Range is entries of the log, both ends included.
type Range struct{ From, To int64 }

// QueueEvidence attaches entries to an incident. To attach the same again changes nothing.
func QueueEvidence(b *pgx.Batch, incident, practice uuid.UUID, r Range) {
	b.Queue("INSERT INTO incident_evidence (incident_id, practice_id, from_seq, to_seq) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
		incident, practice, r.From, r.To)
}

// mostEvidence is how many numbers a range that somebody names spans at most: what is in it and is the practice's is
// kept for good, so it is what an incident shows and not the whole log. Wider spans take several ranges.
const mostEvidence = 1_000_000

// EvidenceFlaw says why entries cannot be evidence of a practice's incident: the field of a range that is wrong and
// what is wrong with it, both "" where nothing is.
func (s *Store) EvidenceFlaw(ctx context.Context, practice uuid.UUID, r Range) (field, flaw string, err error) {
	end, err := s.End(ctx)
	if err != nil {
		return "", "", err
	}
	if flaw := r.flaw(end); flaw != "" {
		return "to_seq", flaw, nil
	}
	found, err := s.HasEntry(ctx, practice, r)
	if err == nil && !found {
		return "from_seq", "your practice has no entry from there to to_seq", nil
	}
	return "", "", err
}

// flaw says what is wrong with the end of a range in a log of so many entries.
func (r Range) flaw(end int64) string {
	switch {
	case r.From > r.To:
		return "must not be smaller than from_seq"
	case r.To >= end:
		return "the log has no such entry yet"
	case r.To-r.From >= mostEvidence:
		return fmt.Sprintf("a range spans at most %d numbers: attach several", mostEvidence)
	}
	return ""
}

// HasEntry reports whether the practice has an entry in the range.
func (s *Store) HasEntry(ctx context.Context, practice uuid.UUID, r Range) (bool, error) {
	found, err := readAs(ctx, s.pool, practice, pgx.RowTo[bool],
		"SELECT EXISTS (SELECT FROM entries WHERE practice_id = $1 AND seq BETWEEN $2 AND $3)", practice, r.From, r.To)
	if err != nil {
		return false, failed("look for entries", err)
	}
	return found[0], nil
}

// CriticalAlerts returns alerts of critical risk of all practices, after a place in their order.
func (s *Store) CriticalAlerts(ctx context.Context, after AlertKey, limit int) ([]Alert, error) {
	rows, err := s.pool.Query(ctx, "SELECT seq, reason, practice_id FROM critical_alerts($1, $2, $3)", after.Seq, after.Reason, limit)
	if err != nil {
		return nil, failed("read alerts", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Alert, error) {
		var a Alert
		return a, row.Scan(&a.Seq, &a.Reason, &a.Practice)
	})
	return list, failed("read alerts", err)
}

// Cursor returns how far a source was read; before everything where it never was.
func (s *Store) Cursor(ctx context.Context, source string) (AlertKey, error) {
	at := AlertKey{Seq: -1}
	err := s.pool.QueryRow(ctx, "SELECT seq, detail FROM incident_cursors WHERE source = $1", source).Scan(&at.Seq, &at.Reason)
	if errors.Is(err, pgx.ErrNoRows) {
		return at, nil
	}
	return at, failed("read cursor", err)
}

// MoveCursor says how far a source was read.
func (s *Store) MoveCursor(ctx context.Context, source string, at AlertKey) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO incident_cursors (source, seq, detail) VALUES ($1, $2, $3)
		ON CONFLICT (source) DO UPDATE SET seq = excluded.seq, detail = excluded.detail`, source, at.Seq, at.Reason)
	if err != nil {
		return failed(fmt.Sprintf("move cursor of %s", source), err)
	}
	return nil
}
