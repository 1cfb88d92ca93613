package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// The grants of the service's role, in full. Whoever widens them changes this list,
// and explains it in review.
func TestDMD08_TheServiceCanInsertAndSelectOnly(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	p := s.producer("records")
	p.await(p.send(event())) // so that there is a partition
	conn := s.as("")
	rows, err := conn.Query(context.Background(), `
		SELECT table_name || ' ' || privilege_type FROM information_schema.table_privileges
		WHERE grantee IN ('audit_app', 'PUBLIC') AND table_schema = 'public'
		UNION ALL
		SELECT table_name || '.' || column_name || ' ' || privilege_type FROM information_schema.column_privileges
		WHERE grantee IN ('audit_app', 'PUBLIC') AND table_schema = 'public' AND table_name = 'parked' AND privilege_type = 'SELECT'
		ORDER BY 1`)
	require.NoError(t, err)
	grants, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{
		"alerts INSERT", "alerts SELECT",
		"breach_deliveries INSERT", "breach_deliveries SELECT", "breach_recipients INSERT", "breach_recipients SELECT", "breach_steps INSERT", "breach_steps SELECT",
		"checkpoints INSERT", "checkpoints SELECT", "cosignatures INSERT", "cosignatures SELECT",
		"detection_cursor SELECT", "detections INSERT", "detections SELECT", "entries INSERT", "entries SELECT",
		"incident_cursors INSERT", "incident_cursors SELECT", "incident_cursors UPDATE", // how far alerts were read, no evidence
		"incident_evidence INSERT", "incident_evidence SELECT", "incident_notices INSERT", "incident_notices SELECT", "incident_steps INSERT", "incident_steps SELECT",
		"let_go SELECT", "log_holds INSERT", "log_holds SELECT",
		"log_reviews INSERT", "log_reviews SELECT",
		"outbox_arrivals INSERT", "outbox_arrivals SELECT",
		"outbox_cursor SELECT", "outbox_cursor UPDATE", // how far arrivals were read, no evidence
		"outbox_epochs INSERT", "outbox_epochs SELECT", "outbox_epochs UPDATE", // what follows from arrivals and heartbeats
		"outbox_findings INSERT", "outbox_findings SELECT",
		"parked INSERT", "parked.digest SELECT", "responses INSERT", "responses SELECT", "served_calls INSERT", "served_calls SELECT", "tiles INSERT", "tiles SELECT",
		"vulnerability_notices INSERT", "vulnerability_notices SELECT", "vulnerability_reports INSERT", "vulnerability_reports SELECT",
		"vulnerability_steps INSERT", "vulnerability_steps SELECT",
	}, grants)

	rows, err = conn.Query(context.Background(), `
		SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = 'public' AND p.prosecdef AND has_function_privilege('audit_app', p.oid, 'EXECUTE') ORDER BY 1`)
	require.NoError(t, err)
	functions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{
		"commitments", "count_due", "critical_alerts", "detect_entries", "detected_since", "detections_of", "drop_month",
		"empty_months", "ensure_partition", "known_events", "leaves", "let_go_of", "log_end", "next_batch", "next_entry",
		"notices_since", "reviews_due",
		"unanswered_detections", "unfinished_breaches", "unfinished_incidents",
	}, functions)

	var unforced []string
	rows, err = conn.Query(context.Background(), `
		SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
		AND (relname LIKE 'entries%' OR relname IN ('alerts', 'detections') OR relname LIKE 'incident_%' AND relname <> 'incident_cursors' OR relname LIKE 'breach_%') AND NOT (relrowsecurity AND relforcerowsecurity)`)
	require.NoError(t, err)
	unforced, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Empty(t, unforced, "tables without forced row-level security")
}

// What nobody may do, the owner included, in the parent, in partitions and by TRUNCATE.
func TestDMD08_NobodyChangesOrRemovesAnEntry(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	p := s.producer("records")
	p.await(p.send(event()), p.send(batchOf(256)...))
	var partition string
	require.NoError(t, s.as("").QueryRow(context.Background(), "SELECT tableoid::regclass::text FROM entries LIMIT 1").Scan(&partition))
	changes := map[string]string{
		"entries": "SET seq = 7", partition: "SET seq = 7", "tiles": "SET idx = 7", "checkpoints": "SET size = 7",
		"alerts": "SET seq = 7", "parked": "SET seq = 7", "detections": "SET seq = 7", "cosignatures": "SET size = 7",
		"let_go": "SET seq = 7", "log_holds": "SET released = true", "vulnerability_reports": "SET network = ''", "vulnerability_steps": "SET kind = 5", "vulnerability_notices": "SET level = 2",
		"incident_steps": "SET kind = 7", "incident_evidence": "SET to_seq = 7", "incident_notices": "SET risk = 1",
		"breach_steps": "SET kind = 7", "breach_recipients": "SET create_time = now()", "breach_deliveries": "SET kind = 7",
		"outbox_arrivals": "SET events = 0", "outbox_findings": "SET reason = ''", "served_calls": "SET calls = 7",
	}
	for _, role := range []string{"audit_owner", "audit_app"} {
		conn := s.as(role)
		for table, change := range changes {
			for _, sql := range []string{
				fmt.Sprintf("UPDATE %s %s", table, change),
				fmt.Sprintf("DELETE FROM %s", table),
				fmt.Sprintf("TRUNCATE %s CASCADE", table),
			} {
				_, err := conn.Exec(context.Background(), sql)
				var refusal *pgconn.PgError
				require.ErrorAs(t, err, &refusal, "%s: %s", role, sql)
				require.Equal(t, "42501", refusal.Code, "%s: %s: %s", role, sql, refusal.Message)
			}
		}
	}
	require.EqualValues(t, 257, s.size())
}

// A partition made by hand is protected too, at least row by row.
func TestDMD08_APartitionMadeByHandIsProtected(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	owner := s.as("audit_owner")
	_, err := owner.Exec(context.Background(), "CREATE TABLE entries_old PARTITION OF entries FOR VALUES FROM ('0176bd3b-0000-0000-0000-000000000000') TO ('0176bd3d-0000-0000-0000-000000000000')")
	require.NoError(t, err)
	id := uuid.MustParse("0176bd3c-4c00-7000-8000-000000000000") // 1 January 2021
	_, err = s.as("").Exec(context.Background(), `
		INSERT INTO entries SELECT 0, $1, $1, $1, $1, 1, 1, now(), now(), sha256('x'), 'x', sha256('x')`, id)
	require.NoError(t, err)
	_, err = s.as("").Exec(context.Background(), "DELETE FROM entries_old")
	require.ErrorContains(t, err, "append-only")
}

func TestPartitionsAreMadeForSaneMonthsOnly(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	conn := s.as("audit_app")
	for range 2 {
		_, err := conn.Exec(context.Background(), "SELECT ensure_partition(date '2026-02-17')")
		require.NoError(t, err)
	}
	for _, month := range []string{"2019-12-31", "2100-01-01"} {
		_, err := conn.Exec(context.Background(), "SELECT ensure_partition($1::text::date)", month)
		require.ErrorContains(t, err, "no partition is made")
	}
}

// One event id is one entry, in the whole log, and lies in the partition of its own month.
func TestTheDatabaseTakesAnEventOnce(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	conn := s.as("audit_app")
	insert := `INSERT INTO entries VALUES ($1, $2, $2, $2, $2, 1, 1, now(), now(), sha256('x'), 'x', sha256('x'))`
	_, err := conn.Exec(context.Background(), "SELECT ensure_partition('2020-12-01'), ensure_partition('2021-01-31')")
	require.NoError(t, err)
	for seq, want := range map[int]struct{ id, partition string }{
		0: {"0176bb3e-6fff-7fff-bfff-ffffffffffff", "entries_2020_12"}, // the last millisecond of 2020
		1: {"0176bb3e-7000-7000-8000-000000000000", "entries_2021_01"},
	} {
		_, err = conn.Exec(context.Background(), insert, seq, want.id)
		require.NoError(t, err)
		_, err = conn.Exec(context.Background(), insert, seq+10, want.id)
		require.ErrorContains(t, err, "duplicate key")
		var partition string
		require.NoError(t, s.as("").QueryRow(context.Background(), "SELECT tableoid::regclass::text FROM entries WHERE event_id = $1", want.id).Scan(&partition))
		require.Equal(t, want.partition, partition)
	}
	_, err = conn.Exec(context.Background(), insert, 2, "0190a000-0000-7000-8000-000000000000")
	require.ErrorContains(t, err, "no partition", "the appender makes partitions first")
}

// Two writers cannot both extend one checkpoint, even if both believed to hold the lock.
func TestTheDatabaseRefusesAFork(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	conn := s.as("audit_app")
	insert := "INSERT INTO checkpoints (size, from_size, root, note, append_time) VALUES ($1, $2, sha256('x'), 'x', now())"
	_, err := conn.Exec(context.Background(), insert, 5, nil)
	require.NoError(t, err)
	_, err = conn.Exec(context.Background(), insert, 9, 5)
	require.NoError(t, err)
	for _, fork := range [][2]any{{6, 5}, {7, nil}, {12, 11}, {9, 9}} {
		_, err = conn.Exec(context.Background(), insert, fork[0], fork[1])
		require.Error(t, err, "%v", fork)
	}
}

func TestDMD06_QueriesSeeOnePractice(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.writer()
	p := s.producer("records")
	p.await(p.send(event(), event(practice(practiceB)), event(practice(practiceB))))
	conn := s.as("audit_app")
	var n int
	require.Error(t, conn.QueryRow(context.Background(), "SELECT count(*) FROM entries").Scan(&n), "a query without a practice")
	for id, want := range map[uuid.UUID]int{practiceA: 1, practiceB: 2, uuid.Nil: 0} {
		_, err := conn.Exec(context.Background(), "SELECT set_config('carekeep.practice', $1, false)", id.String())
		require.NoError(t, err)
		require.NoError(t, conn.QueryRow(context.Background(), "SELECT count(*) FROM entries").Scan(&n))
		require.Equal(t, want, n)
	}
	var partition string
	require.NoError(t, s.as("").QueryRow(context.Background(), "SELECT tableoid::regclass::text FROM entries LIMIT 1").Scan(&partition))
	require.ErrorContains(t, conn.QueryRow(context.Background(), "SELECT count(*) FROM "+partition).Scan(&n), "permission denied")
	require.ErrorContains(t, conn.QueryRow(context.Background(), "SELECT count(payload) FROM parked").Scan(&n), "permission denied")
}

// Who verifies the log in the database reads all of it, and can do nothing else.
func TestDMD08_TheVerifiersRoleOnlyReads(t *testing.T) {
	t.Parallel()
	s := filled(t)
	conn := s.as("audit_verify")
	report := s.verifyRaw()
	require.NoError(t, report.Err())
	require.EqualValues(t, 600, report.Whole)
	require.Equal(t, s.verify().Root, report.Root, "the export and the database are the same log")
	_, err := conn.Exec(t.Context(), "SET default_transaction_read_only = off")
	require.NoError(t, err, "the role could switch it on again, so grants have to hold alone")
	for _, sql := range []string{
		"SELECT * FROM entries", "SELECT * FROM parked", "SELECT * FROM alerts", "SELECT * FROM leaves(0, 1)", "SELECT * FROM commitments(0, 1)",
		"INSERT INTO checkpoints SELECT size + 1, size, root, note, append_time FROM checkpoints ORDER BY size DESC LIMIT 1",
		"UPDATE checkpoints SET note = ''", "DELETE FROM tiles", "TRUNCATE cosignatures", "CREATE TABLE x ()", "SELECT ensure_partition('2026-01-01')",
		"SET ROLE audit_owner", "SET session_replication_role = replica",
	} {
		_, err := conn.Exec(t.Context(), sql)
		var refusal *pgconn.PgError
		require.ErrorAs(t, err, &refusal, sql)
		require.Equal(t, "42501", refusal.Code, "%s: %s", sql, refusal.Message)
	}
}
