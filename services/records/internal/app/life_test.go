package app_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/ledger"
)

// life is the lifecycle API over the house's connection, and two officers of the practice.
type lifeRig struct {
	*house
	client      recordsv1.LifecycleServiceClient
	first, next *user
}

func newLife(t *testing.T, changes ...func(*settings)) *lifeRig {
	h := newHouse(t, changes...)
	conn, err := street.gateway.Dial(h.address, accessv1.Service_SERVICE_RECORDS)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	admin := func() *user { return h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything()) }
	return &lifeRig{house: h, client: recordsv1.NewLifecycleServiceClient(conn), first: admin(), next: admin()}
}

// aged moves everything of a patient back in time, as if it had been stored then.
func (l *lifeRig) aged(patient string, at string) {
	l.t.Helper()
	conn, err := l.db.AdminConn(context.Background(), l.database)
	require.NoError(l.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(context.Background(), "SET session_replication_role = replica") // the trigger keeps versions
	require.NoError(l.t, err)
	for _, statement := range []string{
		"UPDATE patients SET created_at = $2 WHERE patient_id = $1",
		"UPDATE documents SET created_at = $2, updated_at = $2 WHERE patient_id = $1",
		"UPDATE document_history SET created_at = $2, updated_at = $2 WHERE patient_id = $1",
	} {
		_, err = conn.Exec(context.Background(), statement, strings.TrimPrefix(patient, "patients/"), at)
		require.NoError(l.t, err)
	}
}

const longAgo = "2001-02-03T04:05:06Z"

func (l *lifeRig) request(patient string) *recordsv1.Erasure {
	l.t.Helper()
	e, err := l.client.RequestErasure(l.as(l.first), &recordsv1.RequestErasureRequest{
		Patient: patient, Ground: recordsv1.ErasureGround_ERASURE_GROUND_CONSENT_WITHDRAWN,
	})
	require.NoError(l.t, err)
	return e
}

func (l *lifeRig) grant(u *user, e *recordsv1.Erasure) (*recordsv1.Erasure, error) {
	return l.client.DecideErasure(l.as(u), &recordsv1.DecideErasureRequest{
		Name: e.GetName(), Decision: &recordsv1.DecideErasureRequest_Grant{Grant: true},
	})
}

func (l *lifeRig) place(u *user, patient string) *recordsv1.LegalHold {
	l.t.Helper()
	h, err := l.client.PlaceLegalHold(l.as(u), &recordsv1.PlaceLegalHoldRequest{
		Patient: patient, Reason: recordsv1.LegalHoldReason_LEGAL_HOLD_REASON_LITIGATION, Matter: "docket 24-1180, Nightingale",
	})
	require.NoError(l.t, err)
	return h
}

func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(interface{ GetReason() string }); ok {
			return info.GetReason()
		}
	}
	return ""
}

// left are the rows about a patient, by table.
func (l *lifeRig) left(patient string) map[string]int64 {
	l.t.Helper()
	out := map[string]int64{}
	for _, row := range l.sql(`SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'patient_id'`) {
		name := row[0].(string)
		n := l.sql("SELECT count(*) FROM "+pgx.Identifier{name}.Sanitize()+" WHERE patient_id = $1", strings.TrimPrefix(patient, "patients/"))[0][0].(int64)
		if n > 0 {
			out[name] = n
		}
	}
	return out
}

func TestDMD31_PurgeBeforeTheEndIsRefusedAndALegalHoldWins(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	old, held, fresh, edge := l.file(doctor), l.file(doctor), l.file(doctor), l.file(doctor)
	l.aged(old.patient, longAgo)
	l.aged(held.patient, longAgo)
	// Seven years ago today, at midnight: the anniversary is not over.
	l.aged(edge.patient, time.Now().UTC().AddDate(-7, 0, 0).Format(time.DateOnly)+"T00:00:00Z")
	hold := l.place(l.first, held.patient)

	dry, err := l.client.PurgePatients(l.as(l.first), &recordsv1.PurgePatientsRequest{DryRun: true})
	require.NoError(t, err)
	require.Equal(t, []string{old.patient}, dry.GetPatients())
	require.Equal(t, []string{held.patient}, dry.GetHeld())
	require.NotEmpty(t, l.left(old.patient), "a dry run destroys nothing")

	events := l.since(func() {
		report, err := l.client.PurgePatients(l.as(l.first), &recordsv1.PurgePatientsRequest{})
		require.NoError(t, err)
		require.Equal(t, []string{old.patient}, report.GetPatients())
		require.Equal(t, []string{held.patient}, report.GetHeld())
		require.Zero(t, report.GetSkipped())
	})
	require.Equal(t, map[string]int64{"erasures": 1}, l.left(old.patient))
	require.Len(t, l.erasures(events), 1, "one event for each patient")
	require.Equal(t, int64(4), l.left(fresh.patient)["documents"])
	require.Equal(t, int64(4), l.left(edge.patient)["documents"])
	require.Equal(t, int64(4), l.left(held.patient)["documents"])

	// The database itself refuses, whoever asks it and whatever the service believes.
	for patient, code := range map[string]string{fresh.patient: "CK002", edge.patient: "CK002", held.patient: "CK001", old.patient: "CK003"} {
		require.Equal(t, code, l.eraseAsService(patient), patient)
	}

	// Longer is allowed, shorter is not.
	_, err = l.client.UpdateRetention(l.as(l.first), &recordsv1.UpdateRetentionRequest{Years: 6})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = l.client.UpdateRetention(l.as(l.first), &recordsv1.UpdateRetentionRequest{Years: 100})
	require.NoError(t, err)
	_, err = l.client.ReleaseLegalHold(l.as(l.next), &recordsv1.ReleaseLegalHoldRequest{Name: hold.GetName()})
	require.NoError(t, err)
	report, err := l.client.PurgePatients(l.as(l.first), &recordsv1.PurgePatientsRequest{})
	require.NoError(t, err)
	require.Empty(t, report.GetPatients(), "a hundred years are not over")
	_, err = l.client.UpdateRetention(l.as(l.first), &recordsv1.UpdateRetentionRequest{Years: 7})
	require.NoError(t, err)
	report, err = l.client.PurgePatients(l.as(l.first), &recordsv1.PurgePatientsRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{held.patient}, report.GetPatients(), "released, and due")
}

func (l *lifeRig) eraseAsService(patient string) string {
	l.t.Helper()
	ctx := context.Background()
	conn, err := postgres.ForTest(l.t).Conn(ctx, "records", "records_app", l.database)
	require.NoError(l.t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "SELECT set_config('carekeep.practice', $1, false)", l.practice.String())
	require.NoError(l.t, err)
	_, err = conn.Exec(ctx, "SELECT erase_patient($1, $2)", l.practice, strings.TrimPrefix(patient, "patients/"))
	var sql interface{ SQLState() string }
	require.True(l.t, errors.As(err, &sql), "%v", err)
	return sql.SQLState()
}

// The calendar: the whole day of the anniversary counts, in UTC, and 29 February has one every year.
func TestDH46_SevenCalendarYears(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	for contact, end := range map[string]string{
		"2019-05-10T00:00:00Z":      "2026-05-11T00:00:00Z",
		"2019-05-10T23:59:59Z":      "2026-05-11T00:00:00Z",
		"2020-02-29T12:00:00Z":      "2027-03-01T00:00:00Z",
		"2021-02-28T12:00:00Z":      "2028-02-29T00:00:00Z",
		"2019-12-31T23:30:00-01:00": "2027-01-02T00:00:00Z", // the day in UTC is 1 January
	} {
		got := l.sql("SELECT retention_end($1::text::timestamptz, 7)", contact)[0][0].(time.Time)
		require.Equal(t, end, got.UTC().Format(time.RFC3339), contact)
	}
	// The newest version of any resource is the last contact, deleted ones too.
	f := l.file(l.doctor())
	l.aged(f.patient, longAgo)
	admin := l.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
	_, err := l.house.client.DeleteNote(l.as(admin), &recordsv1.DeleteNoteRequest{Name: f.note})
	require.NoError(t, err)
	require.Equal(t, "CK002", l.eraseAsService(f.patient))
}

func (l *lifeRig) erasures(events []*auditv1.Event) (list []*auditv1.Event) {
	for _, e := range events {
		if e.GetAction() == accessv1.Action_ACTION_ERASE {
			list = append(list, e)
		}
	}
	return list
}

func TestLegalHoldsTakeAnotherPersonToRelease(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	f := l.file(l.doctor())
	hold := l.place(l.first, f.patient)
	whole := l.place(l.next, "")
	_, err := l.client.ReleaseLegalHold(l.as(l.first), &recordsv1.ReleaseLegalHoldRequest{Name: hold.GetName()})
	require.Equal(t, "SECOND_PERSON_REQUIRED", reason(err))
	list, err := l.client.ListLegalHolds(l.as(l.first), &recordsv1.ListLegalHoldsRequest{PageSize: 1})
	require.NoError(t, err)
	require.Equal(t, whole.GetName(), list.GetLegalHolds()[0].GetName())
	list, err = l.client.ListLegalHolds(l.as(l.first), &recordsv1.ListLegalHoldsRequest{PageSize: 1, PageToken: list.GetNextPageToken()})
	require.NoError(t, err)
	require.Equal(t, "docket 24-1180, Nightingale", list.GetLegalHolds()[0].GetMatter())
	require.Empty(t, list.GetNextPageToken())
	got, err := l.client.ReleaseLegalHold(l.as(l.next), &recordsv1.ReleaseLegalHoldRequest{Name: hold.GetName()})
	require.NoError(t, err)
	require.Equal(t, "users/"+l.next.User.String(), got.GetReleasedBy())
	_, err = l.client.ReleaseLegalHold(l.as(l.next), &recordsv1.ReleaseLegalHoldRequest{Name: hold.GetName()})
	require.Equal(t, "HOLD_RELEASED", reason(err))
	// What the hold is about stands nowhere in the clear.
	for _, row := range l.sql("SELECT sealed FROM legal_holds") {
		require.NotContains(t, string(row[0].([]byte)), "Nightingale")
	}
	// A stranger to the patient finds neither the patient nor the hold; another practice nothing.
	stranger := l.doctor()
	_, err = l.client.PlaceLegalHold(l.as(stranger), &recordsv1.PlaceLegalHoldRequest{
		Patient: f.patient, Reason: recordsv1.LegalHoldReason_LEGAL_HOLD_REASON_OTHER, Matter: "x",
	})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = l.client.ReleaseLegalHold(l.as(stranger), &recordsv1.ReleaseLegalHoldRequest{Name: hold.GetName()})
	require.Equal(t, codes.NotFound, status.Code(err))
}

func TestErasureIsRefusedWithAnArticleOrDestroysEverything(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	f, other := l.file(doctor), l.file(doctor)
	_, err := l.house.client.CreateNote(l.as(doctor), &recordsv1.CreateNoteRequest{Parent: f.patient, RequestId: uuid.NewString(), Note: &recordsv1.Note{Text: "x"}})
	require.NoError(t, err)
	e := l.request(f.patient)
	_, err = l.client.RequestErasure(l.as(l.next), &recordsv1.RequestErasureRequest{Patient: f.patient, Ground: recordsv1.ErasureGround_ERASURE_GROUND_OBJECTION})
	require.Equal(t, "ERASURE_OPEN", reason(err))
	_, err = l.grant(l.first, e)
	require.Equal(t, "SECOND_PERSON_REQUIRED", reason(err))
	_, err = l.grant(l.next, e)
	require.Equal(t, "RETENTION_RUNS", reason(err))
	refused, err := l.client.DecideErasure(l.as(l.next), &recordsv1.DecideErasureRequest{
		Name: e.GetName(), Decision: &recordsv1.DecideErasureRequest_Exemption{Exemption: recordsv1.ErasureExemption_ERASURE_EXEMPTION_LEGAL_OBLIGATION},
	})
	require.NoError(t, err)
	require.Equal(t, "GDPR Art. 17(3)(b)", refused.GetCitation())
	_, err = l.grant(l.next, e)
	require.Equal(t, "ERASURE_DECIDED", reason(err))

	l.aged(f.patient, longAgo)
	hold := l.place(l.first, "")
	e = l.request(f.patient)
	_, err = l.grant(l.next, e)
	require.Equal(t, "LEGAL_HOLD", reason(err))
	require.Equal(t, int64(5), l.left(f.patient)["documents"])
	_, err = l.client.ReleaseLegalHold(l.as(l.next), &recordsv1.ReleaseLegalHoldRequest{Name: hold.GetName()})
	require.NoError(t, err)

	wrapped := l.sql("SELECT wrapped FROM data_keys WHERE patient_id = $1", f.patientID)[0][0].(string)
	before := l.left(f.patient)
	var granted *recordsv1.Erasure
	events := l.erasures(l.since(func() { granted, err = l.grant(l.next, e) }))
	require.NoError(t, err)
	require.Equal(t, recordsv1.ErasureState_ERASURE_STATE_DONE, granted.GetState())
	require.Equal(t, map[string]int64{"erasures": 2}, l.left(f.patient))
	require.Empty(t, l.sql("SELECT FROM data_keys WHERE wrapped = $1", wrapped))
	require.Empty(t, l.sql("SELECT FROM requests"), "what a request made says whose it was")
	_, err = l.house.client.GetPatient(l.as(doctor), &recordsv1.GetPatientRequest{Name: f.patient})
	require.Equal(t, codes.NotFound, status.Code(err))
	l.unharmed(doctor, other)

	// The certificate is the one of the log, and says what went.
	require.Len(t, events, 1)
	require.Equal(t, granted.GetCertificate(), events[0].GetCertificate())
	require.Equal(t, f.patientID, events[0].GetPatientId())
	keys, err := l.client.GetCertificateKeys(l.as(l.first), &recordsv1.GetCertificateKeysRequest{})
	require.NoError(t, err)
	_, known, err := ledger.ParseKeys(keys.GetKeys())
	require.NoError(t, err)
	c, err := certificate.Open(granted.GetCertificate(), known)
	require.NoError(t, err)
	delete(before, "erasures")
	before["requests"] = 1
	require.Equal(t, before, c.Rows)
	require.Equal(t, f.patientID, c.Patient.String())
	require.Equal(t, "GDPR Art. 17(1)(b)", c.Citation)
	require.Len(t, c.Keys, 1)
	_, err = l.grant(l.next, e)
	require.Equal(t, "ERASURE_DECIDED", reason(err))
}

// A patient whom an older backup brought back is destroyed again by the certificate, and by nothing else.
func TestErasureIsReappliedByItsCertificate(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	f := l.file(doctor)
	l.aged(f.patient, longAgo)
	backup := l.dump()
	granted, err := l.grant(l.next, l.request(f.patient))
	require.NoError(t, err)
	l.undump(backup)
	_, err = l.house.client.GetPatient(l.as(doctor), &recordsv1.GetPatientRequest{Name: f.patient})
	require.NoError(t, err, "the backup brought the patient back")

	reapply := func(u *user, text string) (*recordsv1.Erasure, error) {
		return l.client.ReapplyErasure(l.as(u), &recordsv1.ReapplyErasureRequest{Certificate: text})
	}
	_, err = reapply(l.first, strings.Replace(granted.GetCertificate(), f.patientID, uuid.NewString(), 1))
	require.Equal(t, "CERTIFICATE_INVALID", reason(err))
	stranger := l.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
	stranger.Practice = uuid.New()
	_, err = reapply(stranger, granted.GetCertificate())
	require.Equal(t, "CERTIFICATE_INVALID", reason(err))
	hold := l.place(l.first, f.patient)
	_, err = reapply(l.first, granted.GetCertificate())
	require.Equal(t, "LEGAL_HOLD", reason(err), "a hold of today wins over a decision of then")
	_, err = l.client.ReleaseLegalHold(l.as(l.next), &recordsv1.ReleaseLegalHoldRequest{Name: hold.GetName()})
	require.NoError(t, err)
	for range 2 { // the second time there is nothing to do
		got, err := reapply(l.first, granted.GetCertificate())
		require.NoError(t, err)
		require.Equal(t, granted.GetCertificate(), got.GetCertificate())
		require.Equal(t, map[string]int64{"erasures": 1}, l.left(f.patient))
	}
	_, err = l.house.client.GetPatient(l.as(doctor), &recordsv1.GetPatientRequest{Name: f.patient})
	require.Equal(t, codes.NotFound, status.Code(err))
}

// patientTables are the tables an erasure was checked against. erase_patient empties every table with
// practice_id and patient_id by itself; whoever adds a table says here what becomes of it.
var patientTables = map[string]string{
	"care_team": "erased", "data_keys": "erased", "document_history": "erased", "documents": "erased", "legal_holds": "erased",
	"resource_index": "erased", "patients": "erased", "patient_tokens": "erased", "rights_rows": "erased", "rights_notices": "erased",
	"appointment_cells": "erased", "uploads": "erased", "document_pieces": "erased",
	"referrals":      "erased",
	"glass_openings": "erased", "glass_users": "nobody's: the practice's",
	"requests":      "erased, by the resources that they made",
	"erasures":      "kept: the decision and its certificate, without any data of the patient",
	"practice_keys": "nobody's: the practice's", "retention": "nobody's: the practice's",
	"token_failures": "nobody's: networks that wrong tokens came from",
	"makers":         "nobody's: who made a record, and no longer which",
	"purge_runs":     "nobody's: the practice's",
	"practices":      "nobody's: the practice's", "practice_key_versions": "nobody's: the practice's",
	"index_generations": "nobody's: the practice's",
	"key_jobs":          "nobody's: the practice's; a scrub that runs names where it is",
	"outbox":            "nobody's: events on their way to the audit log", "goose_outbox": "nobody's", "goose_records": "nobody's",
	"practice_exits": "nobody's: the practice's",
	"fhir_exports":   "nobody's: a user's", "fhir_export_files": "nobody's: ids between which a file lies; what is read is what is there",
	"watch_lists": "nobody's: the practice's; a sealed list, which says nothing about a patient who is not there",
	"freezes":     "nobody's: accounts that auth is to freeze",
}

func TestNoTableIsForgottenByErasure(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	erases := map[string]bool{}
	for _, row := range l.sql("SELECT patient_tables()") {
		erases[row[0].(string)] = true
	}
	for _, row := range l.sql(`SELECT t.table_name::text, array_agg(c.column_name::text)
		FROM information_schema.tables t JOIN information_schema.columns c USING (table_schema, table_name)
		WHERE t.table_schema = 'public' AND t.table_type = 'BASE TABLE' GROUP BY 1`) {
		name := row[0].(string)
		fate, known := patientTables[name]
		require.True(t, known, "say in patientTables what an erasure does with table %s", name)
		require.Equal(t, fate == "erased", erases[name], "%s is %s", name, fate)
		for _, column := range row[1].([]any) {
			if strings.Contains(column.(string), "patient") {
				require.NotContains(t, fate, "nobody's", "%s.%s", name, column)
			}
		}
	}
}

// dump keeps what every table holds now; undump puts it back, as a restore of the database would.
func (l *lifeRig) dump() (tables []string) {
	l.t.Helper()
	for _, row := range l.sql("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' AND table_name NOT IN ('outbox', 'goose_outbox', 'goose_records')") {
		tables = append(tables, row[0].(string))
	}
	l.admin("CREATE SCHEMA kept")
	for _, name := range tables {
		l.admin("CREATE TABLE kept." + name + " AS TABLE public." + name)
	}
	return tables
}

func (l *lifeRig) undump(tables []string) {
	l.t.Helper()
	for _, name := range tables {
		l.admin("SET session_replication_role = replica", "DELETE FROM public."+name, "INSERT INTO public."+name+" SELECT * FROM kept."+name)
	}
}

func (l *lifeRig) admin(statements ...string) {
	l.t.Helper()
	conn, err := l.db.AdminConn(context.Background(), l.database)
	require.NoError(l.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	for _, statement := range statements {
		_, err = conn.Exec(context.Background(), statement)
		require.NoError(l.t, err, statement)
	}
}
