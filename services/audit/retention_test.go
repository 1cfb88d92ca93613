package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/appender"
	eventpkg "github.com/carekeep/carekeep/services/audit/internal/event"
	"github.com/carekeep/carekeep/services/audit/internal/retention"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const day = 24 * time.Hour

// ago is a moment so many years, days and hours before now, in UTC.
func ago(years, days int, d time.Duration) time.Time {
	return time.Now().UTC().AddDate(-years, 0, -days).Add(-d)
}

// idAt is a fresh event id of a moment, which decides the partition.
func idAt(at time.Time) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		id := uuid.New()
		ms := at.UnixMilli()
		for i := range 6 {
			id[i] = byte(ms >> (40 - 8*i))
		}
		id[6] = id[6]&0x0f | 0x70
		e.EventId, e.EventTime = id.String(), timestamppb.New(at)
	}
}

// alert makes a security event, which names no patient.
func alert(e *auditv1.Event) {
	e.PatientId, e.Action, e.Risk = "", accessv1.Action_ACTION_ALERT, auditv1.Risk_RISK_HIGH
}

// append commits events as the writer did at a moment: its clock stood there.
func (s *suite) append(r *replica, at time.Time, events ...*auditv1.Event) {
	s.t.Helper()
	s.shift.Store(int64(time.Until(at)))
	defer s.shift.Store(0)
	submission := appender.Submission{Prompt: true}
	for _, e := range events {
		// Ids from before 2020 there are none, so an id may be younger than its append.
		made, err := eventpkg.From(e, eventpkg.Origin{Service: e.GetService(), Now: time.Now()})
		require.NoError(s.t, err)
		submission.Events = append(submission.Events, made)
	}
	done := make(chan error, 1)
	submission.Done = func(err error) { done <- err }
	require.NoError(s.t, r.appender.Submit(context.Background(), submission))
	require.NoError(s.t, <-done)
}

// many makes n events.
func many(n int, mods ...func(*auditv1.Event)) []*auditv1.Event {
	events := make([]*auditv1.Event, n)
	for i := range events {
		events[i] = event(mods...)
	}
	return events
}

var (
	january  = time.Date(2020, 1, 10, 0, 0, 0, 0, time.UTC)
	february = time.Date(2020, 2, 10, 0, 0, 0, 0, time.UTC)
)

// run deletes what is due, by the daily job's way.
func (r *replica) run() (retention.Result, error) {
	recorder := evidence.New(auditService, "jobs/RunRetention", accessv1.Action_ACTION_RETAIN, time.Now)
	return r.retain.Run(context.Background(), recorder, 1<<40)
}

// numbers returns the numbers of the rows that are there.
func (s *suite) numbers(where string) []int64 {
	s.t.Helper()
	rows, err := s.as("").Query(context.Background(), "SELECT seq FROM entries WHERE "+where+" ORDER BY seq")
	require.NoError(s.t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	require.NoError(s.t, err)
	return found
}

func (s *suite) count(table string) (n int) {
	s.t.Helper()
	require.NoError(s.t, s.as("").QueryRow(context.Background(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

// The database and the verifier each have the rule, and agree.
func TestDH47_DMD32_TheDatabaseKeepsForTheLaterOf2555DaysAndSevenCalendarYears(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	at := []time.Time{
		time.Date(2028, 2, 28, 23, 59, 59, 0, time.UTC), time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(2028, 2, 29, 13, 0, 0, 0, time.UTC),
		time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2025, 2, 28, 12, 0, 0, 0, time.UTC), time.Date(2097, 3, 1, 0, 0, 0, 0, time.UTC),
	}
	for range 2000 {
		at = append(at, time.Unix(1_577_836_800+rand.Int64N(3_000_000_000), 0).UTC())
	}
	for _, class := range []ledger.Class{ledger.ClassEntries, ledger.ClassEvents} {
		for _, zone := range []string{"UTC", "Pacific/Kiritimati", "America/New_York"} {
			conn := s.as("audit_owner")
			_, err := conn.Exec(t.Context(), "SET TIME ZONE '"+zone+"'")
			require.NoError(t, err)
			rows, err := conn.Query(t.Context(), "SELECT kept_until($1, a) FROM unnest($2::timestamptz[]) WITH ORDINALITY AS x (a, n) ORDER BY n", string(class), at)
			require.NoError(t, err)
			until, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
			require.NoError(t, err)
			for i := range at {
				require.True(t, class.KeptUntil(at[i]).Equal(until[i]), "%s appended at %s: %s, %s", class, at[i], class.KeptUntil(at[i]), until[i])
			}
		}
	}
	for sql, want := range map[string]string{
		"kept_until('entries', '2028-02-29 12:00Z', 1, 365)":  "2035-03-01T00:00:00Z", // never shorter
		"kept_until('entries', '2028-02-29 12:00Z', 8, 365)":  "2036-02-29T12:00:00Z",
		"kept_until('entries', '2026-11-27 12:00Z', 10, 365)": "2036-11-27T12:00:00Z",
		"kept_until('events', '2026-11-27 12:00Z', 7, 1)":     "2027-11-27T12:00:00Z",
		"kept_until('events', '2026-11-27 12:00Z', 7, 400)":   "2028-01-01T12:00:00Z",
	} {
		var until time.Time
		require.NoError(t, s.as("audit_owner").QueryRow(t.Context(), "SELECT "+sql).Scan(&until))
		require.Equal(t, want, until.UTC().Format(time.RFC3339), sql)
	}
	var forever bool
	require.NoError(t, s.as("audit_owner").QueryRow(t.Context(), "SELECT kept_until('forever', now()) = 'infinity'").Scan(&forever))
	require.True(t, forever)
}

// The closed list: an action that somebody adds is an entry until somebody decides otherwise here.
func TestDH48_SecurityEventsAreAClosedListAndNameNoPatient(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	conn := s.as("audit_owner")
	var events, forever []string
	for number, name := range accessv1.Action_name {
		for _, patient := range []uuid.UUID{uuid.Nil, patient1} {
			var class string
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT retention_class($1, $2)", int16(number), patient).Scan(&class))
			says := ledger.ClassOf(&auditv1.Event{Action: accessv1.Action(number), PatientId: patient.String()})
			require.Equal(t, strings.TrimPrefix(class, "forever"), string(says), "database and ledger agree: %s", name)
			switch class {
			case "events":
				require.Equal(t, uuid.Nil, patient, name)
				events = append(events, name)
			case "forever":
				forever = append(forever, name)
			default:
				require.Equal(t, "entries", class, name)
			}
		}
	}
	require.ElementsMatch(t, []string{"ACTION_ADMIT", "ACTION_BLOCK_CHANGE", "ACTION_ALERT"}, events)
	require.Equal(t, []string{"ACTION_RETAIN", "ACTION_RETAIN"}, forever)
}

// aged is a log of eight years: what is due, what is nearly due, what is kept.
//
//	0-299    entries of seven calendar years and a month
//	300-599  entries of 2,555 days, which are not seven calendar years
//	600-899  of 366 days ago: events with even numbers, entries with odd ones
//	900-919  events that are nearly 365 days old
//	920-1219 entries of now
func aged(t *testing.T) (*suite, *replica) {
	t.Helper()
	s := newSuite(t)
	s.shift.Store(int64(time.Until(ago(7, 40, 0))))
	r := s.writer()
	critical := func(e *auditv1.Event) { e.Risk, e.Reason = auditv1.Risk_RISK_CRITICAL, "SEAL_BROKEN" }
	first := append(many(199, idAt(january)), event(idAt(january), critical))
	s.append(r, ago(7, 30, 0), append(first, many(100, idAt(january), practice(practiceB))...)...)
	short := ago(0, 2555, 3*time.Hour)
	require.True(t, ledger.ClassEntries.KeptUntil(short).After(time.Now()), "2,555 days are not seven calendar years")
	s.append(r, short, many(300, idAt(february))...)
	year := ago(0, 365, 2*time.Hour)
	var mixed []*auditv1.Event
	for range 150 {
		mixed = append(mixed, event(alert, idAt(year)), event(idAt(year)))
	}
	s.append(r, year, mixed...)
	nearly := ago(0, 365, -2*time.Hour)
	s.append(r, nearly, many(20, alert, idAt(nearly))...)
	s.append(r, time.Now(), many(300)...)
	require.EqualValues(t, 1220, s.size())
	require.NoError(t, s.verify().Err())
	return s, r
}

func TestDH47_DH48_WhatIsDueGoesAndTheLogVerifies(t *testing.T) {
	t.Parallel()
	s, r := aged(t)
	var before bytes.Buffer
	require.NoError(t, write(t.Context(), s.pool(), logName, time.Now().Add(day), &before))
	require.Positive(t, s.count("alerts WHERE seq < 300"))

	plan, err := r.retain.Plan(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int64{300, 300, 150, 150}, []int64{plan[0].Due, plan[0].Free, plan[1].Due, plan[1].Free})
	require.Len(t, s.numbers("true"), 1220, "a plan deletes nothing")

	done, err := r.run()
	require.NoError(t, err)
	require.EqualValues(t, 450, done.Deleted)
	require.Equal(t, []time.Time{time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}, done.Months)
	require.Empty(t, s.numbers("seq < 300"), "over")
	require.Len(t, s.numbers("seq BETWEEN 300 AND 599"), 300, "day 2,555 is refused until seven calendar years")
	require.Len(t, s.numbers("seq BETWEEN 600 AND 899"), 150, "day 366 goes")
	require.Empty(t, s.numbers("seq BETWEEN 600 AND 899 AND patient_id = '00000000-0000-0000-0000-000000000000'"))
	require.Len(t, s.numbers("seq BETWEEN 900 AND 919"), 20, "day 365 stays")
	require.Zero(t, s.count("alerts WHERE seq < 300"))
	require.Equal(t, 2, s.count("entries WHERE action = 54"), "one announcement a class")

	require.NoError(t, s.verifyRaw().Err(), "straight from the database, too")
	report := s.verify()
	require.NoError(t, report.Err())
	require.EqualValues(t, 450, report.LetGo)
	require.EqualValues(t, 1222, report.Entries)
	require.EqualValues(t, 1222-450, report.Whole)
	old, err := ledger.Verify(&before, s.trust())
	require.NoError(t, err)
	require.NoError(t, old.Err(), "an export from before is as good as it was")

	again, err := r.run()
	require.NoError(t, err)
	require.Zero(t, again.Deleted)
	require.Empty(t, again.Months)
	require.EqualValues(t, 1222, s.size(), "nothing to announce")

	// Everything that reads the log works on: a new writer, growth, proofs, duplicates, exports of a practice.
	r.stop()
	next := s.writer()
	log := s.outside(next)
	small, _, err := log.Checkpoint(t.Context())
	require.NoError(t, err)
	p := s.producer("records")
	twice := event()
	p.await(p.send(twice), p.send(twice, event(idAt(january))))
	require.EqualValues(t, 1224, s.size(), "an event of a dropped month finds a partition")
	tree, _, err := log.Checkpoint(t.Context())
	require.NoError(t, err)
	require.NoError(t, log.CheckGrowth(t.Context(), small, tree))
	for _, seq := range []int64{0, 299, 300, 512, 600, 601, 898, 1024, 1222} { // gone or not
		_, err = log.CheckEntry(t.Context(), tree, seq)
		require.NoError(t, err, seq)
	}
	client := s.client(next)
	proof, err := client.GetInclusionProof(as(t, practiceA, everything...), &auditv1.GetInclusionProofRequest{Seq: 301})
	require.NoError(t, err)
	require.NotEmpty(t, proof.GetHashes())
	_, err = client.GetEntry(as(t, practiceA, everything...), &auditv1.GetEntryRequest{Seq: 3})
	require.Equal(t, codes.NotFound, status.Code(err))
	file := download(t, client, practiceB).file
	part, err := ledger.Verify(&file, s.trust())
	require.NoError(t, err)
	require.NoError(t, part.Err())
	require.NoError(t, s.verify().Err())
	var leaves int
	require.NoError(t, s.as("audit_app").QueryRow(t.Context(), "SELECT count(*) FROM leaves(0, 1000)").Scan(&leaves))
	require.Equal(t, 1000, leaves)
}

// A hold or an incident keeps what it needs for as long as it lasts.
func TestDH48_HoldsAndEvidenceAreSpared(t *testing.T) {
	t.Parallel()
	s, r := aged(t)
	other := uuid.MustParse("0194c9a0-0000-7000-8000-0000000000f2")
	hold := func(method, id string, mods ...func(*auditv1.Event)) *auditv1.Event {
		return event(append([]func(*auditv1.Event){func(e *auditv1.Event) {
			e.Method, e.Action, e.Resource = method, accessv1.Action_ACTION_HOLD_CHANGE, "legalHolds/"+id
		}}, mods...)...)
	}
	place, release := recordsv1.LifecycleService_PlaceLegalHold_FullMethodName, recordsv1.LifecycleService_ReleaseLegalHold_FullMethodName
	elsewhere := func(e *auditv1.Event) { e.PatientId = other.String() }
	nobody := func(e *auditv1.Event) { e.PatientId = "" }
	refused := func(e *auditv1.Event) { e.Outcome = auditv1.Outcome_OUTCOME_DENIED }
	s.append(r, time.Now(),
		hold(place, "a", practice(practiceB), nobody), // all of practice B
		hold(place, "a2", practice(practiceB), nobody), hold(release, "a2", practice(practiceB), nobody),
		hold(place, "b"), hold(release, "b", refused), // patient 1
		hold(place, "c", elsewhere), hold(release, "c", elsewhere),
	)
	_, err := s.as("").Exec(t.Context(), "INSERT INTO incident_evidence VALUES ($1, $2, 610, 620), ($1, $2, 640, 640), "+
		"($1, $3, 0, 4611686018427387904), ($1, $3, 1, 9223372036854775807), ($1, $3, 9223372036854775807, 9223372036854775807)",
		uuid.New(), practiceA, uuid.New()) // rows as they could be stored once: they spare nothing of another practice
	require.NoError(t, err)

	plan, err := r.retain.Plan(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int64{300, 0, 150, 143}, []int64{plan[0].Due, plan[0].Free, plan[1].Due, plan[1].Free})
	done, err := r.run()
	require.NoError(t, err)
	require.EqualValues(t, 143, done.Deleted, "events of practice A without those of the incident")
	require.Empty(t, done.Months)
	require.Equal(t, []int64{610, 612, 614, 616, 618, 620, 640}, s.numbers("seq BETWEEN 600 AND 899 AND action = 28"))

	s.append(r, time.Now(), hold(release, "b"))
	done, err = r.run()
	require.NoError(t, err)
	require.EqualValues(t, 200, done.Deleted, "patient 1 is free, practice B is not")
	require.Len(t, s.numbers("seq < 300"), 100)
	require.NoError(t, s.verify().Err(), "half a month is gone")

	// Two persons and the log's own register.
	superadmin := []accessv1.Permission{accessv1.Permission_PERMISSION_AUDIT_RETENTION_READ, accessv1.Permission_PERMISSION_AUDIT_RETENTION_RUN}
	conn, err := identity(t, "gateway").Dial(r.server.Addr().String(), auditService)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // the test ends
	client := auditv1.NewRetentionServiceClient(conn)
	first, second := fresh(t, drSmith, time.Now(), superadmin...), fresh(t, officer, time.Now(), superadmin...)
	kept, err := client.PlaceLogHold(first, &auditv1.PlaceLogHoldRequest{Reference: "2026-CV-17"})
	require.NoError(t, err)
	s.append(r, time.Now(), hold(release, "a", practice(practiceB), nobody))
	answer, err := client.RunRetention(first, &auditv1.RunRetentionRequest{})
	require.NoError(t, err)
	require.Zero(t, answer.GetDeleted(), "the whole log is held")
	_, err = client.ReleaseLogHold(first, &auditv1.ReleaseLogHoldRequest{Name: kept.GetName()})
	require.Equal(t, "HOLD_SAME_PERSON", errs.ReasonOf(err))
	ended, err := client.ReleaseLogHold(second, &auditv1.ReleaseLogHoldRequest{Name: kept.GetName()})
	require.NoError(t, err)
	require.Equal(t, "users/"+officer.String(), ended.GetReleasedBy())
	_, err = client.ReleaseLogHold(second, &auditv1.ReleaseLogHoldRequest{Name: kept.GetName()})
	require.Equal(t, "HOLD_RELEASED", errs.ReasonOf(err))
	list, err := client.ListLogHolds(first, &auditv1.ListLogHoldsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetLogHolds(), 1)

	_, err = client.RunRetention(fresh(t, drSmith, time.Now().Add(-6*time.Minute), superadmin...), &auditv1.RunRetentionRequest{})
	require.Equal(t, "REAUTHENTICATE", errs.ReasonOf(err))
	_, err = client.RunRetention(fresh(t, drSmith, time.Now(), superadmin[:1]...), &auditv1.RunRetentionRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	shown, err := client.PlanRetention(first, &auditv1.PlanRetentionRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 100, shown.GetClasses()[0].GetDue())
	require.EqualValues(t, 7, shown.GetClasses()[1].GetSpared())
	require.False(t, shown.GetPurges(), "by default the job only reports")
	answer, err = client.RunRetention(first, &auditv1.RunRetentionRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 100, answer.GetDeleted())
	require.Equal(t, []string{"2020-01"}, answer.GetMonths())
	require.NoError(t, s.verify().Err())
}

// fresh is a superadmin's request, who proved two factors at a time.
func fresh(t *testing.T, user uuid.UUID, at time.Time, permissions ...accessv1.Permission) context.Context {
	t.Helper()
	s, err := signer()
	require.NoError(t, err)
	token, err := s.Sign(caller.Caller{
		User: user, Session: uuid.New(), Username: "root", Role: accessv1.RoleKind_ROLE_KIND_SUPERADMIN, Assurance: accessv1.Assurance_ASSURANCE_AAL2,
		Authenticated: at, Permissions: access.NewPermissions(permissions...), Purpose: accessv1.Purpose_PURPOSE_OPERATIONS,
		Address: "198.51.100.9", Audience: auditService,
	}, time.Now())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return caller.Attach(ctx, token)
}

// Who owns the tables can delete nothing by hand, and no announcement makes the database delete early.
func TestDH47_TheDatabaseDeletesNothingElse(t *testing.T) {
	t.Parallel()
	s, r := aged(t)
	owner := s.as("audit_owner")
	refused := func(sql string, args ...any) {
		t.Helper()
		_, err := owner.Exec(t.Context(), sql, args...)
		var refusal *pgconn.PgError
		require.ErrorAs(t, err, &refusal, sql)
		require.Equal(t, "42501", refusal.Code, "%s: %s", sql, refusal.Message)
	}
	refused("DELETE FROM entries WHERE seq = 3")
	refused("DELETE FROM alerts WHERE seq = 3")
	for _, sql := range []string{ // a deletion from a trigger, as that of retention is
		"CREATE TABLE by_the_way (n int)",
		"CREATE FUNCTION by_the_way() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM entries WHERE seq = 3; RETURN NULL; END'",
		"CREATE TRIGGER by_the_way AFTER INSERT ON by_the_way FOR EACH ROW EXECUTE FUNCTION by_the_way()",
	} {
		_, err := owner.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	refused("INSERT INTO by_the_way VALUES (1)")
	refused("INSERT INTO let_go (event_id) VALUES ($1)", uuid.New())
	refused("INSERT INTO let_go (event_id) SELECT event_id FROM entries WHERE seq = 3")

	announce := func(at time.Time, l ledger.LetGo, mods ...func(*auditv1.Event)) uuid.UUID {
		e := event(append([]func(*auditv1.Event){of("audit"), func(e *auditv1.Event) {
			e.PatientId, e.PracticeId, e.Action, e.Retention = "", "", accessv1.Action_ACTION_RETAIN, l.Text()
		}}, mods...)...)
		s.append(r, at, e)
		return uuid.MustParse(e.GetEventId())
	}
	gone := func(where string) (g ledger.Gone) {
		rows, err := s.as("").Query(t.Context(), "SELECT seq, leaf_hash FROM entries WHERE "+where+" ORDER BY seq")
		require.NoError(t, err)
		var seq int64
		var leaf []byte
		_, err = pgx.ForEachRow(rows, []any{&seq, &leaf}, func() error { g.Add(seq, [32]byte(leaf)); return nil })
		require.NoError(t, err)
		return g
	}
	letGo := func(g ledger.Gone, class ledger.Class, cutoff time.Time) ledger.LetGo {
		return g.LetGo(class, cutoff.Truncate(time.Microsecond))
	}

	now, over := time.Now(), ago(7, 1, 0)
	first := gone("seq BETWEEN 0 AND 9")
	for name, c := range map[string]struct {
		event uuid.UUID
		code  string
	}{
		"2,555 days, not seven years": {announce(now, letGo(gone("seq BETWEEN 300 AND 309"), ledger.ClassEntries, ago(0, 2555, 2*time.Hour))), "42501"},
		"a younger cut-off":           {announce(now, letGo(first, ledger.ClassEntries, now)), "42501"},
		"entries as events":           {announce(now, letGo(gone("seq IN (601, 603)"), ledger.ClassEvents, ago(0, 365, time.Hour))), "CK003"},
		"events of 365 days":          {announce(now, letGo(gone("seq BETWEEN 900 AND 909"), ledger.ClassEvents, ago(0, 365, time.Hour))), "CK003"},
		"younger than the cut-off":    {announce(now, letGo(gone("seq BETWEEN 290 AND 310"), ledger.ClassEntries, over)), "CK003"},
		"not all of a range":          {announce(now, letGo(gone("seq IN (1, 2, 3, 5)"), ledger.ClassEntries, over)), "CK003"},
		"another service's word":      {announce(now, letGo(first, ledger.ClassEntries, over), of("records")), "42501"},
		"an attempt":                  {announce(now, letGo(first, ledger.ClassEntries, over), func(e *auditv1.Event) { e.Outcome = auditv1.Outcome_OUTCOME_FAILED }), "42501"},
		"another action":              {announce(now, letGo(first, ledger.ClassEntries, over), func(e *auditv1.Event) { e.Action = accessv1.Action_ACTION_READ }), "42501"},
	} {
		_, err := s.as("audit_app").Exec(t.Context(), "SELECT let_go_of($1)", c.event)
		var refusal *pgconn.PgError
		require.ErrorAs(t, err, &refusal, name)
		require.Equal(t, c.code, refusal.Code, "%s: %s", name, refusal.Message)
	}
	// A service whose clock is years ahead announces what it likes, and gets what the database's clock allows.
	s.shift.Store(int64(8 * 366 * day))
	done, err := r.run()
	s.shift.Store(0)
	require.NoError(t, err)
	require.EqualValues(t, 450, done.Deleted)
	require.Len(t, s.numbers("seq BETWEEN 300 AND 599"), 300)
	require.NoError(t, s.verify().Err())
	refused("DELETE FROM let_go")
	refused("UPDATE let_go SET members = '{}'")
	refused("UPDATE log_holds SET released = true")
}

// Columns decide what is due, and a superuser can set them: what was signed is asked before anything goes.
func TestDH47_DH48_RetentionLaundersNoDeletion(t *testing.T) {
	t.Parallel()
	nobody := uuid.Nil.String()
	for name, sql := range map[string]string{
		"a reading as a security event": "UPDATE entries SET action = 28, patient_id = '" + nobody + "' WHERE seq = 601",
		"another patient's":             "UPDATE entries SET patient_id = '" + uuid.NewString() + "' WHERE seq = 7",
		"another practice's":            "UPDATE entries SET practice_id = '" + uuid.NewString() + "' WHERE seq = 7",
		"another event":                 "UPDATE entries SET event = event || 'x'::bytea WHERE seq = 7",
		"another entry as a whole":      "UPDATE entries e SET (event, salt, leaf_hash) = (SELECT event, salt, leaf_hash FROM entries WHERE seq = 8) WHERE seq = 7",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := aged(t)
			s.tamper(sql)
			options := r.retain.Options
			options.Purge = true
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); retention.New(options).Daily(ctx) }()
			require.Eventually(t, func() bool { return strings.Contains(s.logs.String(), "retention of the log did not end") }, patience, often)
			cancel()
			<-ended
			require.Len(t, s.numbers("seq IN (7, 601)"), map[bool]int{true: 1, false: 2}[strings.HasSuffix(sql, "601")], "it stays")
			require.Equal(t, 1, s.count("alerts WHERE risk = 4 AND reason = '"+retention.ReasonAltered+"'"))
			_, err := r.run()
			require.Equal(t, retention.ReasonAltered, errs.ReasonOf(err))
		})
	}
}

// A superuser, who can switch triggers off, is found by the verifier as before.
func TestDH48_ADeletionByHandIsStillFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, find string }{
		"an old entry that was spared":  {"DELETE FROM entries WHERE seq = 601", "entry 601: ENTRY_MISSING"},
		"with a word in the register":   {"UPDATE let_go SET members = members + '{[601,602)}' WHERE class = 'events'", "ENTRY_MISSING: 151 of them are gone"},
		"the announcement":              {"DELETE FROM entries WHERE action = 54 AND seq = 1220", "entry 1220: ENTRY_MISSING"},
		"the register":                  {"DELETE FROM let_go WHERE class = 'events'", "entry 600: ENTRY_MISSING"},
		"another leaf in the tile":      {"UPDATE tiles SET hashes = set_byte(hashes, 32, get_byte(hashes, 32) # 1) WHERE level = 0 AND idx = 0", "ROOT_DIFFERS"},
		"a register without a deletion": {"INSERT INTO let_go VALUES (1000, gen_random_uuid(), 'events', now(), '{[601,602)}', '', now())", "ENTRY_MISSING: 1 of them are gone: entry 1000 does not say"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := aged(t)
			_, err := r.run()
			require.NoError(t, err)
			require.NoError(t, s.verify().Err())
			if strings.Contains(c.sql, "601,602") {
				s.tamper("DELETE FROM entries WHERE seq = 601")
			}
			s.tamper(c.sql)
			require.Condition(t, func() bool {
				for _, p := range s.verify().Problems {
					if strings.Contains(p.String(), c.find) {
						return true
					}
				}
				return false
			}, "want %q among %v", c.find, s.verify().Problems)
		})
	}
}

// stopping fails after the announcement, as a process that is killed.
type stopping struct {
	retention.Store
	left int
}

func (s *stopping) LetGo(ctx context.Context, id uuid.UUID) (int64, error) {
	if s.left--; s.left < 0 {
		return 0, errors.New("killed")
	}
	return s.Store.LetGo(ctx, id)
}

func TestDH48_ARunThatStopsAnywhereIsGoneOnWith(t *testing.T) {
	t.Parallel()
	for left := range 2 {
		t.Run(fmt.Sprint(left, " batches"), func(t *testing.T) {
			t.Parallel()
			s, r := aged(t)
			whole := r.retain.Store
			r.retain.Store = &stopping{whole, left}
			_, err := r.run()
			require.ErrorContains(t, err, "killed")
			require.NoError(t, s.verify().Err(), "announced and not deleted")
			r.stop()
			r = s.writer()
			done, err := r.run()
			require.NoError(t, err)
			require.EqualValues(t, 450-300*left, done.Deleted)
			require.NoError(t, s.verify().Err())
		})
	}
}

// Two replicas at the same time let go what one would, each entry once.
func TestDH48_TwoReplicasDoNotGetInEachOthersWay(t *testing.T) {
	t.Parallel()
	s, r := aged(t)
	other := s.start()
	type outcome struct {
		done retention.Result
		err  error
	}
	results := make(chan outcome, 2)
	for _, one := range []*replica{r, other} {
		go func() {
			done, err := one.run()
			results <- outcome{done, err}
		}()
	}
	var deleted int64
	for range 2 {
		got := <-results
		if got.err != nil {
			require.Equal(t, "RETENTION_RUNNING", errs.ReasonOf(got.err))
		}
		deleted += got.done.Deleted
	}
	require.EqualValues(t, 450, deleted)
	require.Equal(t, 2, s.count("let_go"))
	require.NoError(t, s.verify().Err())
}

func TestDH48_TheDailyJobReportsAndDeletesOnlyWhereTheSettingSaysSo(t *testing.T) {
	t.Parallel()
	s, r := aged(t)
	daily := func(purge, writing bool, until func() bool) {
		t.Helper()
		asked := make(chan struct{}, 1)
		options := r.retain.Options
		options.Purge, options.Writing = purge, func() bool { defer func() { asked <- struct{}{} }(); return writing }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); retention.New(options).Daily(ctx) }()
		<-asked
		require.Eventually(t, until, patience, often)
		cancel()
		<-ended
	}
	daily(true, false, func() bool { return true }) // a standby has looked, and left it to the writer
	require.NotContains(t, s.logs.String(), "are due")
	daily(false, true, func() bool { return strings.Contains(s.logs.String(), `"reason":"events","count":150`) })
	require.Contains(t, s.logs.String(), `"reason":"entries","count":300`)
	require.Zero(t, s.count("let_go"))
	daily(true, true, func() bool { return s.count("let_go") == 2 })
	require.Len(t, s.numbers("seq < 920"), 920-450)
	require.NoError(t, s.verify().Err())
}

// A longer setting keeps longer, and the edge of the tree, whose hashes are in no tile yet, stays.
func TestDH47_LongerBySettingAndNeverTheEdge(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.shift.Store(int64(time.Until(ago(9, 0, 0))))
	r := s.writer()
	s.append(r, ago(8, 1, 0), many(100, idAt(january))...)
	s.append(r, ago(7, 1, 0), many(200, idAt(january))...)
	r.retain.Keep = store.Retention{EntryYears: 8, EventDays: 365}
	done, err := r.run()
	require.NoError(t, err)
	require.EqualValues(t, 100, done.Deleted)
	r.retain.Keep = store.Retention{EntryYears: 1, EventDays: 1}
	done, err = r.run()
	require.NoError(t, err)
	require.EqualValues(t, 156, done.Deleted, "up to the end of the first tile")
	require.Len(t, s.numbers("append_time < now() - interval '7 years'"), 44)
	require.NoError(t, s.verify().Err())
}
