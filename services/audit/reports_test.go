package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	transitclient "github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/audit/internal/reports"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/store"
	"github.com/carekeep/carekeep/services/audit/migrations"
)

const (
	canaryTitle   = "canary-title-7c1e"
	canaryText    = "canary-description-9f42 with 'quotes' and \u00fcmlauts"
	canaryContact = "canary-contact@researcher.example"
)

var handling = []accessv1.Permission{
	accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_LIST, accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_READ,
	accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_ACKNOWLEDGE, accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_TRIAGE,
	accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_RESOLVE, accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_MESSAGE,
}

// vulnerabilities connects to a replica as the gateway does.
func (s *suite) vulnerabilities(r *replica) auditv1.VulnerabilityServiceClient {
	s.t.Helper()
	conn, err := identity(s.t, "gateway").Dial(r.server.Addr().String(), accessv1.Service_SERVICE_AUDIT)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return auditv1.NewVulnerabilityServiceClient(conn)
}

func submission(address string) *auditv1.SubmitReportRequest {
	return &auditv1.SubmitReportRequest{
		Content: &auditv1.ReportContent{Title: canaryTitle, Description: canaryText, Contact: canaryContact},
		Client:  &authv1.Client{Address: address},
	}
}

func superadmin(t testing.TB) context.Context { return as(t, uuid.Nil, handling...) }

func TestDMD34_AReportIsATicketThatItsReporterFollowsToTheEnd(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	client := s.vulnerabilities(r)
	ctx := context.Background()
	ticket, err := client.SubmitReport(ctx, submission("203.0.113.7"), grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Regexp(t, "^ckv_[A-Za-z0-9_-]{43}$", ticket.GetSecret())
	check := func() *auditv1.CheckReportResponse {
		t.Helper()
		got, err := client.CheckReport(ctx, &auditv1.CheckReportRequest{Name: ticket.GetName(), Secret: ticket.GetSecret()})
		require.NoError(t, err)
		return got
	}
	require.Equal(t, auditv1.ReportState_REPORT_STATE_RECEIVED, check().GetState())
	require.Equal(t, ticket.GetAcknowledgeBy(), check().GetAcknowledgeBy())

	_, err = client.TriageReport(superadmin(t), &auditv1.TriageReportRequest{Name: ticket.GetName(), Severity: auditv1.Severity_SEVERITY_HIGH})
	require.Equal(t, "REPORT_STATE", errs.ReasonOf(err), "nobody has read it yet")
	require.Contains(t, err.Error(), "only one that is acknowledged or triaged can be triaged")
	for _, step := range []func() (*auditv1.VulnerabilityReport, error){
		func() (*auditv1.VulnerabilityReport, error) {
			return client.AcknowledgeReport(superadmin(t), &auditv1.AcknowledgeReportRequest{Name: ticket.GetName(), Text: "Thank you."})
		},
		func() (*auditv1.VulnerabilityReport, error) {
			return client.TriageReport(superadmin(t), &auditv1.TriageReportRequest{Name: ticket.GetName(), Severity: auditv1.Severity_SEVERITY_HIGH, Text: "internal matter"})
		},
		func() (*auditv1.VulnerabilityReport, error) {
			return client.MessageReporter(superadmin(t), &auditv1.MessageReporterRequest{Name: ticket.GetName(), Text: "Which version?"})
		},
		func() (*auditv1.VulnerabilityReport, error) {
			return client.ResolveReport(superadmin(t), &auditv1.ResolveReportRequest{Name: ticket.GetName(), Text: "Fixed."})
		},
	} {
		_, err := step()
		require.NoError(t, err)
	}
	_, err = client.RejectReport(superadmin(t), &auditv1.RejectReportRequest{Name: ticket.GetName(), Text: "no"})
	require.Equal(t, "REPORT_STATE", errs.ReasonOf(err), "what is resolved stays so")

	end := check()
	require.Equal(t, auditv1.ReportState_REPORT_STATE_RESOLVED, end.GetState())
	require.Equal(t, auditv1.Severity_SEVERITY_HIGH, end.GetSeverity())
	require.NotNil(t, end.GetAcknowledgeTime())
	var texts []string
	for _, m := range end.GetMessages() {
		texts = append(texts, m.GetText())
	}
	require.Equal(t, []string{"Thank you.", "Which version?", "Fixed."}, texts, "what is internal stays so")
	require.NotContains(t, protojson.Format(end), officer.String(), "nor is it told who handles it")

	whole, err := client.GetReport(superadmin(t), &auditv1.GetReportRequest{Name: ticket.GetName()})
	require.NoError(t, err)
	require.Equal(t, canaryText, whole.GetContent().GetDescription())
	require.Len(t, whole.GetSteps(), 5)
	require.Equal(t, "users/"+officer.String(), whole.GetSteps()[1].GetUser())

	// Every one of these steps is in the log, under the report's name and with the reporter's address.
	steps := map[string]int{}
	for _, e := range list(t, s.client(r), uuid.Nil, &auditv1.ListEntriesRequest{}) {
		if e.GetEvent().GetResource() == ticket.GetName() && e.GetEvent().GetOutcome() == auditv1.Outcome_OUTCOME_OK {
			steps[strings.TrimPrefix(e.GetEvent().GetMethod(), "/carekeep.audit.v1.VulnerabilityService/")]++
			if e.GetEvent().GetUserId() == "" && e.GetEvent().GetResourceVersion() == 1 {
				require.Equal(t, "203.0.113.7", e.GetEvent().GetAddress())
			}
		}
	}
	require.Equal(t, map[string]int{"SubmitReport": 1, "CheckReport": 3, "AcknowledgeReport": 1, "TriageReport": 1, "MessageReporter": 1, "ResolveReport": 1, "GetReport": 1}, steps)
}

func TestDMD34_AWrongSecretAnswersLikeATicketThatNeverWas(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	client := s.vulnerabilities(s.writer())
	ctx := context.Background()
	ticket, err := client.SubmitReport(ctx, submission("203.0.113.7"), grpc.WaitForReady(true))
	require.NoError(t, err)
	_, wrong := client.CheckReport(ctx, &auditv1.CheckReportRequest{Name: ticket.GetName(), Secret: ticket.GetSecret()[:46] + "_"})
	_, never := client.CheckReport(ctx, &auditv1.CheckReportRequest{Name: "vulnerabilityReports/" + uuid.NewString(), Secret: ticket.GetSecret()})
	require.Equal(t, codes.Unauthenticated, status.Code(wrong))
	require.Equal(t, never.Error(), wrong.Error())
	for name, call := range map[string]func(context.Context) error{
		"list": func(ctx context.Context) error {
			_, err := client.ListReports(ctx, &auditv1.ListReportsRequest{})
			return err
		},
		"get": func(ctx context.Context) error {
			_, err := client.GetReport(ctx, &auditv1.GetReportRequest{Name: ticket.GetName()})
			return err
		},
	} {
		require.Equal(t, codes.PermissionDenied, status.Code(call(as(t, practiceA, everything...))), name)
		require.Equal(t, codes.Unauthenticated, status.Code(call(ctx)), name)
	}
	for name, change := range map[string]func(*auditv1.ReportContent){
		"no title":         func(c *auditv1.ReportContent) { c.Title = "" },
		"a long title":     func(c *auditv1.ReportContent) { c.Title = strings.Repeat("x", 201) },
		"no description":   func(c *auditv1.ReportContent) { c.Description = "" },
		"a book":           func(c *auditv1.ReportContent) { c.Description = strings.Repeat("x", 20001) },
		"a long way there": func(c *auditv1.ReportContent) { c.Contact = strings.Repeat("x", 321) },
	} {
		request := submission("203.0.113.7")
		change(request.GetContent())
		_, err := client.SubmitReport(ctx, request)
		require.Equal(t, codes.InvalidArgument, status.Code(err), name)
	}
}

func TestDMD34_WhatPeopleWroteIsSealedAndNowhereElse(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	client := s.vulnerabilities(r)
	ctx := context.Background()
	ticket, err := client.SubmitReport(ctx, submission("203.0.113.7"), grpc.WaitForReady(true))
	require.NoError(t, err)
	other, err := client.SubmitReport(ctx, submission("203.0.113.8"))
	require.NoError(t, err)
	_, err = client.AcknowledgeReport(superadmin(t), &auditv1.AcknowledgeReportRequest{Name: ticket.GetName(), Text: "canary-answer-1d"})
	require.NoError(t, err)

	var dump strings.Builder
	conn := s.as("")
	for _, table := range []string{"vulnerability_reports", "vulnerability_steps", "entries", "alerts", "parked"} {
		rows, err := conn.Query(ctx, fmt.Sprintf("SELECT t::text || encode(convert_to(t::text, 'UTF8'), 'escape') FROM %s t", table))
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		dump.WriteString(strings.Join(lines, "\n"))
	}
	var events [][]byte
	require.NoError(t, conn.QueryRow(ctx, "SELECT array_agg(event) FROM entries").Scan(&events))
	require.NotEmpty(t, events)
	for _, e := range events {
		dump.Write(e)
	}
	require.Contains(t, dump.String(), ticket.GetName(), "the dump holds what it should hold")
	for _, canary := range []string{"canary", ticket.GetSecret()} {
		require.NotContains(t, dump.String(), canary)
		require.NotContains(t, s.logs.String(), canary)
	}

	// A sealed text in another's row does not open there, and no other service opens it anywhere.
	var sealed string
	require.NoError(t, conn.QueryRow(ctx, "SELECT sealed FROM vulnerability_reports WHERE id = $1", ticket.GetName()[21:]).Scan(&sealed))
	for _, name := range []string{"records", "auth", "backup"} {
		foreign, err := transitclient.New(transitclient.Config{Address: s.transit.Address(), Role: name}, identity(t, name))
		require.NoError(t, err)
		_, err = foreign.Decrypt(ctx, transitclient.AuditReports, []string{sealed})
		require.Equal(t, errs.KindDenied, errs.KindOf(err), "%s: %v", name, err)
	}
	s.tamper(fmt.Sprintf("UPDATE vulnerability_reports SET sealed = '%s' WHERE id = '%s'", sealed, other.GetName()[21:]))
	_, err = client.GetReport(superadmin(t), &auditv1.GetReportRequest{Name: other.GetName()})
	require.Equal(t, evidence.ReasonSealBroken, errs.ReasonOf(err))
}

// desk is a replica, and beside its database another, whose reports the replica's own clock does not look at.
type desk struct {
	*suite
	*replica
	aside string
	pool  *pgxpool.Pool
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	s := newSuite(t)
	d := &desk{suite: s, replica: s.writer(), aside: s.postgres.Database(t, "audit")}
	s.postgres.Migrate(t, "audit", d.aside, migrations.Set)
	d.pool = s.postgres.Pool(t, "audit", d.aside)
	return d
}

// fixed is a register at a desk, at a time that stands still.
type fixed struct {
	*reports.Reports
	at atomic.Pointer[time.Time]
}

func (d *desk) register(nation calendar.Nation, at string) *fixed {
	f := &fixed{}
	f.set(d.t, at)
	f.Reports = reports.New(reports.Options{
		Store: store.New(d.pool), Seal: seal.New(d.replica.transit, transitclient.AuditReports), Sink: d.own, Clock: reports.Clock{Nation: nation},
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return *f.at.Load() },
	})
	return f
}

// superuser runs a statement beside the register.
func (d *desk) superuser(sql string, args ...any) {
	d.t.Helper()
	conn, err := d.postgres.AdminConn(context.Background(), d.aside)
	require.NoError(d.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(context.Background(), "SET session_replication_role = replica")
	require.NoError(d.t, err)
	tag, err := conn.Exec(context.Background(), sql, args...)
	require.NoError(d.t, err)
	require.NotZero(d.t, tag.RowsAffected())
}

func (f *fixed) set(t testing.TB, at string) {
	t.Helper()
	parsed, err := time.ParseInLocation("2006-01-02 15:04", at, calendar.London)
	require.NoError(t, err)
	f.at.Store(&parsed)
}

// rpc is the context of an RPC by a superadmin.
func (f *fixed) rpc(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	ctx = caller.With(ctx, &caller.Caller{User: officer})
	return evidence.With(ctx, evidence.New(auditService, "test", accessv1.Action_ACTION_UPDATE, f.Now))
}

func (f *fixed) submit(t testing.TB, address string) reports.Ticket {
	t.Helper()
	ticket, err := f.Submit(f.rpc(t), submission("").GetContent(), address)
	require.NoError(t, err)
	return ticket
}

func (f *fixed) acknowledge(t testing.TB, id uuid.UUID) *auditv1.VulnerabilityReport {
	t.Helper()
	report, err := f.Take(f.rpc(t), id, reports.Step{Kind: auditv1.ReportStep_KIND_ACKNOWLEDGED})
	require.NoError(t, err)
	return report
}

func TestDH56_AcknowledgementIsDueWithinFiveBusinessDays(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i, c := range []struct {
		name, received string
		nation         calendar.Nation
		due            string
	}{
		{"a plain week", "2026-06-08 10:00", calendar.EnglandAndWales, "2026-06-15"},
		{"on a Saturday", "2026-06-06 10:00", calendar.EnglandAndWales, "2026-06-12"},
		{"over the Spring bank holiday", "2026-05-20 10:00", calendar.EnglandAndWales, "2026-05-28"},
		{"over Easter in England", "2026-04-01 10:00", calendar.EnglandAndWales, "2026-04-10"},
		{"over Easter in Scotland", "2026-04-01 10:00", calendar.Scotland, "2026-04-09"},
		{"the Twelfth", "2026-07-10 10:00", calendar.NorthernIreland, "2026-07-20"},
		{"a minute before midnight in London", "2026-06-08 23:59", calendar.EnglandAndWales, "2026-06-15"},
		{"a minute after it", "2026-06-09 00:01", calendar.EnglandAndWales, "2026-06-16"},
		{"the same minute where no holidays count, in UTC", "2026-06-09 00:01", 0, "2026-06-15"},
		{"no holidays", "2026-05-20 10:00", 0, "2026-05-27"},
		{"beyond the table: weekdays alone, which is earlier", "2028-12-27 10:00", calendar.EnglandAndWales, "2029-01-03"},
	} {
		f := d.register(c.nation, c.received)
		require.Equal(t, c.due, f.submit(t, fmt.Sprintf("203.0.113.%d", i)).Due, c.name)
	}
}

// alerts are the alerts about reports, as reason and report, oldest first.
func (d *desk) alerts() (found []string) {
	d.t.Helper()
	page, err := d.client(d.replica).ListAlerts(as(d.t, uuid.Nil, everything...), &auditv1.ListAlertsRequest{PageSize: 500})
	require.NoError(d.t, err)
	for _, a := range page.GetAlerts() {
		if !strings.HasPrefix(a.GetReason(), "REPORT_") {
			continue
		}
		e, err := d.client(d.replica).GetEntry(as(d.t, uuid.Nil, everything...), &auditv1.GetEntryRequest{Seq: a.GetSeq()})
		require.NoError(d.t, err)
		found = append([]string{a.GetReason() + " " + e.GetEvent().GetResource()}, found...)
	}
	return found
}

func TestDMD34_NearlyDueAndOverdueRaiseOneAlertEach(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	f := d.register(calendar.EnglandAndWales, "2026-06-08 10:00") // due on Monday, 15 June
	late, inTime := f.submit(t, "203.0.113.1"), f.submit(t, "203.0.113.2")
	raise := func(at string, want int) {
		t.Helper()
		f.set(t, at)
		raised, err := f.CheckDue(context.Background())
		require.NoError(t, err)
		require.Equal(t, want, raised, at)
	}
	raise("2026-06-14 23:59", 0)
	f.acknowledge(t, inTime.ID)
	raise("2026-06-15 00:00", 1)
	raise("2026-06-15 23:59", 0)
	raise("2026-06-16 00:00", 1)
	raise("2026-07-16 00:00", 0)
	want := []string{"REPORT_NEARLY_DUE " + reports.Name(late.ID), "REPORT_OVERDUE " + reports.Name(late.ID)}
	require.Equal(t, want, d.alerts())

	// A process that dies between the alert and its note raises it again, and the log takes it once.
	d.superuser("DELETE FROM vulnerability_notices")
	raise("2026-07-16 00:01", 1)
	require.Equal(t, want, d.alerts())
}

func TestDMD34_AnAnswerThatCameTooLateWasTooLate(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	f := d.register(calendar.EnglandAndWales, "2026-06-08 10:00")
	ticket, rejected := f.submit(t, "203.0.113.1"), f.submit(t, "203.0.113.2")
	f.set(t, "2026-06-15 23:59")
	report, err := f.Take(f.rpc(t), rejected.ID, reports.Step{Kind: auditv1.ReportStep_KIND_REJECTED, Text: "spam"})
	require.NoError(t, err)
	require.False(t, report.GetOverdue())
	f.set(t, "2026-06-16 00:00") // and nobody looked for due ones before
	require.True(t, f.acknowledge(t, ticket.ID).GetOverdue())
	f.set(t, "2026-06-20 10:00")
	raised, err := f.CheckDue(context.Background())
	require.NoError(t, err)
	require.Equal(t, 1, raised)
	require.Equal(t, []string{"REPORT_OVERDUE " + reports.Name(ticket.ID)}, d.alerts())

	page, next, err := f.List(f.rpc(t), uuid.Nil, true, 1)
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, reports.Name(ticket.ID), page[0].GetName(), "the rejected one is not open")
	require.Nil(t, page[0].GetContent())
	require.Equal(t, uuid.Nil, next)
	page, next, err = f.List(f.rpc(t), uuid.Nil, false, 1)
	require.NoError(t, err)
	require.Equal(t, reports.Name(rejected.ID), page[0].GetName(), "newest first")
	page, _, err = f.List(f.rpc(t), next, false, 1)
	require.NoError(t, err)
	require.Equal(t, reports.Name(ticket.ID), page[0].GetName())
}

func TestDMD34_TheIntakeIsLimitedByNetworkAndInAll(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	f := d.register(calendar.EnglandAndWales, "2026-06-08 10:00")
	var taken atomic.Int32
	var together sync.WaitGroup
	for i := range 8 { // all at the same moment
		together.Go(func() {
			_, err := f.Submit(f.rpc(t), submission("").GetContent(), fmt.Sprintf("2001:db8::%d", i)) // of one /64
			switch errs.ReasonOf(err) {
			case "":
				taken.Add(1)
			case "TOO_MANY_REPORTS":
			default:
				t.Error(err)
			}
		})
	}
	together.Wait()
	require.EqualValues(t, 5, taken.Load())
	f.submit(t, "2001:db8:0:1::1")
	f.set(t, "2026-06-09 10:01")
	f.submit(t, "2001:db8::1")

	d.superuser(`
		INSERT INTO vulnerability_reports (id, create_time, network, secret_hash, near_time, due_time, sealed)
		SELECT gen_random_uuid(), $1::timestamptz, 'n' || n, decode(repeat('00', 32), 'hex'), $1::timestamptz + interval '5 days', $1::timestamptz + interval '6 days', 'vault:v1:'
		FROM generate_series(1, 499) n`, f.Now())
	_, err := f.Submit(f.rpc(t), submission("").GetContent(), "198.51.100.1")
	require.Equal(t, "INTAKE_FULL", errs.ReasonOf(err))
}

func TestDMD34_OfTwoWhoActAtOnceOneIsRefused(t *testing.T) {
	t.Parallel()
	f := newDesk(t).register(calendar.EnglandAndWales, "2026-06-08 10:00")
	ticket := f.submit(t, "203.0.113.1")
	var done atomic.Int32
	var together sync.WaitGroup
	for range 6 {
		together.Go(func() {
			_, err := f.Take(f.rpc(t), ticket.ID, reports.Step{Kind: auditv1.ReportStep_KIND_ACKNOWLEDGED})
			switch errs.ReasonOf(err) {
			case "":
				done.Add(1)
			case "REPORT_CHANGED", "REPORT_STATE":
			default:
				t.Error(err)
			}
		})
	}
	together.Wait()
	require.EqualValues(t, 1, done.Load())
	whole, err := f.Get(f.rpc(t), ticket.ID)
	require.NoError(t, err)
	require.Len(t, whole.GetSteps(), 2)
}
