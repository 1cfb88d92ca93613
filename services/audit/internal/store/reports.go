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

// Report is a report of a vulnerability as it was received.
type Report struct {
	ID         uuid.UUID
	Created    time.Time
	Network    string // network.Client of where it came from
	SecretHash []byte
	Near, Due  time.Time // from when it is nearly due, and overdue
	Sealed     string    // what the reporter wrote
}

// ReportStep is what happened to a report later. Kinds and severities are those of audit.v1.
type ReportStep struct {
	Report   uuid.UUID
	Version  int32 // from 2: the receipt is 1
	Kind     int16
	Severity int16 // of a triage
	User     uuid.UUID
	Created  time.Time
	Sealed   string // a text, or nothing
}

// ReportLimits bound how many reports are taken since a time.
type ReportLimits struct {
	Since        time.Time
	OfOneNetwork int
	OfAll        int
}

var (
	// ErrNetworkLimit and ErrLimit say which of the limits is reached.
	ErrNetworkLimit = errors.New("too many reports from this network")
	ErrLimit        = errors.New("too many reports")
	// ErrReportChanged says that somebody else took the version of a step.
	ErrReportChanged = errors.New("another step has this version")
)

// Record makes an event durable. It is called when a change is certain but not yet committed,
// so that the log may say too much and never too little.
type Record func(context.Context) error

// AddReport keeps a report, unless a limit is reached.
func (s *Store) AddReport(ctx context.Context, r Report, limits ReportLimits, record Record) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// Counting and inserting is for one at a time; an intake has no hurry.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('carekeep.audit.reports', 0))"); err != nil {
			return err
		}
		var near, all int
		err := tx.QueryRow(ctx, `
			SELECT count(*) FILTER (WHERE network = $1), count(*) FROM vulnerability_reports WHERE create_time > $2`,
			r.Network, limits.Since).Scan(&near, &all)
		switch {
		case err != nil:
			return err
		case near >= limits.OfOneNetwork:
			return ErrNetworkLimit
		case all >= limits.OfAll:
			return ErrLimit
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO vulnerability_reports (id, create_time, network, secret_hash, near_time, due_time, sealed)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`, r.ID, r.Created, r.Network, r.SecretHash, r.Near, r.Due, r.Sealed)
		if err != nil {
			return err
		}
		return record(ctx)
	})
	return changed("keep report", err)
}

// AddReportStep keeps a step, unless its version is taken (ErrReportChanged).
func (s *Store) AddReportStep(ctx context.Context, step ReportStep, record Record) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO vulnerability_steps (report_id, version, kind, severity, user_id, create_time, sealed)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			step.Report, step.Version, step.Kind, step.Severity, step.User, step.Created, step.Sealed)
		if err != nil {
			return err
		}
		return record(ctx)
	})
	if pgErr := new(pgconn.PgError); errors.As(err, &pgErr) && pgErr.Code == "23505" {
		return ErrReportChanged
	}
	return changed("keep step of a report", err)
}

// changed is failed for a change, whose own errors and those of its record are no database's.
func changed(what string, err error) error {
	if errors.Is(err, ErrNetworkLimit) || errors.Is(err, ErrLimit) || errs.ReasonOf(err) != "" {
		return err
	}
	return failed(what, err)
}

const reportColumns = "r.id, r.create_time, r.network, r.secret_hash, r.near_time, r.due_time"

func scanReport(row pgx.CollectableRow) (Report, error) {
	var r Report
	err := row.Scan(&r.ID, &r.Created, &r.Network, &r.SecretHash, &r.Near, &r.Due, &r.Sealed)
	return r, err
}

// Report returns a report with its steps in order, or REPORT_NOT_FOUND.
func (s *Store) Report(ctx context.Context, id uuid.UUID) (Report, []ReportStep, error) {
	rows, err := s.pool.Query(ctx, "SELECT "+reportColumns+", r.sealed FROM vulnerability_reports r WHERE r.id = $1", id)
	if err != nil {
		return Report{}, nil, failed("get report", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanReport)
	if errors.Is(err, pgx.ErrNoRows) {
		return Report{}, nil, errs.New(errs.KindNotFound, "REPORT_NOT_FOUND", "There is no such report.")
	}
	if err != nil {
		return Report{}, nil, failed("get report", err)
	}
	steps, err := s.steps(ctx, []uuid.UUID{id}, true)
	return r, steps, err
}

// Reports returns at most limit reports, newest first, that come after the given one (uuid.Nil
// starts at the newest), with the steps of all in order. Neither holds what was written.
func (s *Store) Reports(ctx context.Context, after uuid.UUID, openOnly bool, closing []int16, limit int) ([]Report, []ReportStep, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+reportColumns+`, '' FROM vulnerability_reports r
		WHERE ($1 = '00000000-0000-0000-0000-000000000000'::uuid OR r.id < $1)
		AND (NOT $2 OR NOT EXISTS (SELECT FROM vulnerability_steps s WHERE s.report_id = r.id AND s.kind = ANY ($3)))
		ORDER BY r.id DESC LIMIT $4`, after, openOnly, closing, limit)
	if err != nil {
		return nil, nil, failed("list reports", err)
	}
	list, err := pgx.CollectRows(rows, scanReport)
	if err != nil {
		return nil, nil, failed("list reports", err)
	}
	ids := make([]uuid.UUID, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	steps, err := s.steps(ctx, ids, false)
	return list, steps, err
}

func (s *Store) steps(ctx context.Context, ids []uuid.UUID, texts bool) ([]ReportStep, error) {
	raw := make([][16]byte, len(ids))
	for i, id := range ids {
		raw[i] = id
	}
	rows, err := s.pool.Query(ctx, `
		SELECT report_id, version, kind, severity, user_id, create_time, CASE WHEN $2 THEN sealed ELSE '' END
		FROM vulnerability_steps WHERE report_id = ANY ($1) ORDER BY report_id, version`, raw, texts)
	if err != nil {
		return nil, failed("read steps of reports", err)
	}
	steps, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ReportStep, error) {
		var x ReportStep
		err := row.Scan(&x.Report, &x.Version, &x.Kind, &x.Severity, &x.User, &x.Created, &x.Sealed)
		return x, err
	})
	return steps, failed("read steps of reports", err)
}

// DueReport is a report to tell of: its time came without an answer, and the log does not say so yet.
type DueReport struct {
	ID    uuid.UUID
	Level int16 // ReportNear or ReportOverdue
	At    time.Time
}

// The levels are stored: never renumber.
const (
	ReportNear    int16 = 1
	ReportOverdue int16 = 2
)

// DueReports returns at most limit reports to tell of. An answer is a step of one of the kinds
// before the time; one that came after it does not make the report have been in time.
func (s *Store) DueReports(ctx context.Context, now time.Time, answers []int16, limit int) ([]DueReport, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT r.id, l.level, l.at
		FROM vulnerability_reports r
		CROSS JOIN LATERAL (VALUES (1::smallint, r.near_time), (2::smallint, r.due_time)) AS l (level, at)
		WHERE r.near_time <= $1 AND l.at <= $1 AND (l.level = 2 OR r.due_time > $1)
		AND NOT EXISTS (SELECT FROM vulnerability_notices n WHERE n.report_id = r.id AND n.level = l.level)
		AND NOT EXISTS (
			SELECT FROM vulnerability_steps s WHERE s.report_id = r.id AND s.kind = ANY ($2) AND (l.level = 1 OR s.create_time < l.at)
		)
		ORDER BY l.at, r.id LIMIT $3`, now, answers, limit)
	if err != nil {
		return nil, failed("look for due reports", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[DueReport])
	return list, failed("look for due reports", err)
}

// AddReportNotice notes that the log tells of a report. To note it twice is harmless.
func (s *Store) AddReportNotice(ctx context.Context, d DueReport, now time.Time) error {
	_, err := s.pool.Exec(ctx, "INSERT INTO vulnerability_notices (report_id, level, create_time) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		d.ID, d.Level, now)
	if err != nil {
		return failed(fmt.Sprintf("note that report %s is told of", d.ID), err)
	}
	return nil
}
