package app_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// desk is the rights API of a house.
func (h *house) desk() recordsv1.RightsServiceClient {
	h.t.Helper()
	conn, err := street.gateway.Dial(h.address, accessv1.Service_SERVICE_RECORDS)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = conn.Close() })
	return recordsv1.NewRightsServiceClient(conn)
}

func refusedAs(tb testing.TB, reason string, err error) {
	tb.Helper()
	require.Error(tb, err)
	require.Equal(tb, reason, errs.ReasonOf(err), "%v", err)
}

const day = 24 * time.Hour

var twoMethods = &recordsv1.Verification{Methods: []recordsv1.VerificationMethod{
	recordsv1.VerificationMethod_VERIFICATION_METHOD_PHOTO_IDENTITY, recordsv1.VerificationMethod_VERIFICATION_METHOD_NAME_AND_BIRTH_DATE,
}}

func ukRequest(kind recordsv1.RightsKind) *recordsv1.RightsRequest {
	return &recordsv1.RightsRequest{
		Kind: kind, Law: recordsv1.RightsLaw_RIGHTS_LAW_UK_GDPR, Nation: recordsv1.UkNation_UK_NATION_SCOTLAND,
		Description: "Everything about my knee",
	}
}

// asked is a new request of a patient.
func asked(tb testing.TB, ctx context.Context, desk recordsv1.RightsServiceClient, patient string, r *recordsv1.RightsRequest) *recordsv1.RightsRequest {
	tb.Helper()
	made, err := desk.CreateRightsRequest(ctx, &recordsv1.CreateRightsRequestRequest{Parent: patient, RightsRequest: r})
	require.NoError(tb, err)
	return made
}

// granted is a new request whose requester is verified and that is granted.
func granted(tb testing.TB, ctx context.Context, desk recordsv1.RightsServiceClient, patient string) *recordsv1.RightsRequest {
	tb.Helper()
	r := asked(tb, ctx, desk, patient, ukRequest(recordsv1.RightsKind_RIGHTS_KIND_PORTABILITY))
	_, err := desk.VerifyRequester(ctx, &recordsv1.VerifyRequesterRequest{Name: r.GetName(), Verification: twoMethods})
	require.NoError(tb, err)
	r, err = desk.DecideRightsRequest(ctx, &recordsv1.DecideRightsRequestRequest{Name: r.GetName(), Granted: true})
	require.NoError(tb, err)
	return r
}

// A request runs by the clock of internal/clocks: it pauses, goes on, is extended once and in time, and is
// announced when it is nearly due and overdue, once each.
func TestDH02_RequestsRunTheirClock(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.ahead.Store(int64(time.Until(time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC))))
	doctor, desk := h.doctor(), h.desk()
	patient := h.patient(doctor).GetName()
	r := asked(t, h.as(doctor), desk, patient, ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ACCESS))
	require.Equal(t, "2027-03-01", r.GetDueDate()) // 28 February 2027 is a Sunday
	require.False(t, r.GetOverdue())
	other := asked(t, h.as(doctor), desk, patient, ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ACCESS))

	paused, err := desk.PauseRightsRequest(h.as(doctor), &recordsv1.PauseRightsRequestRequest{Name: r.GetName(), Reason: recordsv1.PauseReason_PAUSE_REASON_IDENTITY})
	require.NoError(t, err)
	require.Equal(t, recordsv1.RightsState_RIGHTS_STATE_PAUSED, paused.GetState())
	h.pass(7 * day)
	r, err = desk.ResumeRightsRequest(h.as(doctor), &recordsv1.ResumeRightsRequestRequest{Name: r.GetName()})
	require.NoError(t, err)
	require.Equal(t, "2027-03-08", r.GetDueDate()) // 7 March is a Sunday
	_, err = desk.ResumeRightsRequest(h.as(doctor), &recordsv1.ResumeRightsRequestRequest{Name: r.GetName()})
	refusedAs(t, "CLOCK_RUNS", err)
	r, err = desk.ExtendRightsRequest(h.as(doctor), &recordsv1.ExtendRightsRequestRequest{Name: r.GetName(), Reason: "Forty boxes of paper"})
	require.NoError(t, err)
	require.Equal(t, "2027-05-07", r.GetDueDate())
	_, err = desk.ExtendRightsRequest(h.as(doctor), &recordsv1.ExtendRightsRequestRequest{Name: r.GetName(), Reason: "More"})
	refusedAs(t, "ALREADY_EXTENDED", err)

	check := func() map[string]auditv1.Risk {
		out := map[string]auditv1.Risk{}
		for _, e := range h.since(func() {
			_, err := h.app.CheckDueRequests(context.Background(), h.practice)
			require.NoError(t, err)
		}) {
			require.Equal(t, patient, "patients/"+e.GetPatientId())
			require.Equal(t, h.practice.String(), e.GetPracticeId())
			require.Equal(t, accessv1.Action_ACTION_ALERT, e.GetAction())
			out[e.GetReason()+" "+e.GetResource()] = e.GetRisk()
		}
		return out
	}
	name := strings.TrimPrefix(other.GetName(), patient+"/")
	require.Empty(t, check(), "7 February")
	h.pass(17 * day) // 24 February: five days left
	require.Equal(t, map[string]auditv1.Risk{"REQUEST_NEARLY_DUE " + name: auditv1.Risk_RISK_HIGH}, check())
	require.Empty(t, check(), "announced once")
	h.pass(5 * day) // 1 March, its last day
	require.Empty(t, check())
	h.pass(day)
	require.Equal(t, map[string]auditv1.Risk{"REQUEST_OVERDUE " + name: auditv1.Risk_RISK_CRITICAL}, check())
	require.Empty(t, check(), "announced once")
	got, err := desk.GetRightsRequest(h.as(doctor), &recordsv1.GetRightsRequestRequest{Name: other.GetName()})
	require.NoError(t, err)
	require.True(t, got.GetOverdue())
	_, err = desk.ExtendRightsRequest(h.as(doctor), &recordsv1.ExtendRightsRequestRequest{Name: other.GetName(), Reason: "Late"})
	refusedAs(t, "EXTENSION_TOO_LATE", err)

	// A refused and completed one is announced no more.
	_, err = desk.DecideRightsRequest(h.as(doctor), &recordsv1.DecideRightsRequestRequest{Name: r.GetName(), Reason: "No ground"})
	refusedAs(t, "GROUND_REQUIRED", err)
	_, err = desk.DecideRightsRequest(h.as(doctor), &recordsv1.DecideRightsRequestRequest{Name: r.GetName(), Ground: "Article 12(5)(b)", Reason: "The third time this week"})
	require.NoError(t, err)
	r, err = desk.CompleteRightsRequest(h.as(doctor), &recordsv1.CompleteRightsRequestRequest{Name: r.GetName(), Evidence: "Letter of 1 March"})
	require.NoError(t, err)
	require.Equal(t, recordsv1.RightsState_RIGHTS_STATE_COMPLETED, r.GetState())
	h.pass(200 * day)
	require.Empty(t, check())
	list, err := desk.ListRightsRequests(h.as(doctor), &recordsv1.ListRightsRequestsRequest{Parent: patient})
	require.NoError(t, err)
	require.Len(t, list.GetRightsRequests(), 2)
	require.Equal(t, other.GetName(), list.GetRightsRequests()[0].GetName(), "newest first")

	_, err = desk.CreateRightsRequest(h.as(doctor), &recordsv1.CreateRightsRequestRequest{Parent: patient, RightsRequest: &recordsv1.RightsRequest{
		Kind: recordsv1.RightsKind_RIGHTS_KIND_ERASURE, Law: recordsv1.RightsLaw_RIGHTS_LAW_HIPAA, TimeZone: "America/Chicago",
	}})
	refusedAs(t, "RIGHT_NOT_IN_LAW", err)
}

// Nothing is disclosed or handed over without two different methods of verification, and the attempt is recorded.
func TestDX33_NothingLeavesWithoutTwoIdentifiers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, desk := h.doctor(), h.desk()
	ctx := h.as(doctor)
	patient := h.patient(doctor).GetName()
	r := asked(t, ctx, desk, patient, ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ACCESS))
	_, err := desk.DecideRightsRequest(ctx, &recordsv1.DecideRightsRequestRequest{Name: r.GetName(), Granted: true})
	require.NoError(t, err)
	photo := recordsv1.VerificationMethod_VERIFICATION_METHOD_PHOTO_IDENTITY
	weak := &recordsv1.Verification{Methods: []recordsv1.VerificationMethod{photo, photo}}
	_, err = desk.VerifyRequester(ctx, &recordsv1.VerifyRequesterRequest{Name: r.GetName(), Verification: weak})
	refusedAs(t, "VERIFICATION_TOO_WEAK", err)

	disclosure := func(v *recordsv1.Verification) error {
		_, err := desk.RecordDisclosure(ctx, &recordsv1.RecordDisclosureRequest{Parent: patient, Disclosure: &recordsv1.Disclosure{
			Recipient: "County court", Description: "Visits of 2025", Purpose: "Subpoena 17", Verification: v,
			Basis: recordsv1.DisclosureBasis_DISCLOSURE_BASIS_JUDICIAL,
		}})
		return err
	}
	attempts := map[string]func() error{
		"IDENTITY_NOT_VERIFIED token": func() error {
			_, err := desk.IssuePatientToken(ctx, &recordsv1.IssuePatientTokenRequest{Name: r.GetName()})
			return err
		},
		"IDENTITY_NOT_VERIFIED export": func() error {
			_, err := download(desk.ExportChart(ctx, &recordsv1.ExportChartRequest{Name: r.GetName()}))
			return err
		},
		"IDENTITY_NOT_VERIFIED complete": func() error {
			_, err := desk.CompleteRightsRequest(ctx, &recordsv1.CompleteRightsRequestRequest{Name: r.GetName(), Evidence: "Sent"})
			return err
		},
		"RECIPIENT_NOT_VERIFIED none":  func() error { return disclosure(nil) },
		"RECIPIENT_NOT_VERIFIED twice": func() error { return disclosure(weak) },
	}
	for name, attempt := range attempts {
		reason, _, _ := strings.Cut(name, " ")
		var err error
		events := h.since(func() { err = attempt() })
		refusedAs(t, reason, err)
		var recorded []string
		for _, e := range events {
			require.NotEqual(t, auditv1.Outcome_OUTCOME_OK, e.GetOutcome(), name)
			if e.GetPatientId() == patient[len("patients/"):] {
				recorded = append(recorded, e.GetReason())
			}
		}
		require.Contains(t, recorded, reason, name)
	}

	verified, err := desk.VerifyRequester(ctx, &recordsv1.VerifyRequesterRequest{Name: r.GetName(), Verification: twoMethods})
	require.NoError(t, err)
	require.ElementsMatch(t, twoMethods.GetMethods(), verified.GetVerification().GetMethods())
	require.Equal(t, "users/"+doctor.User.String(), verified.GetVerification().GetUser())
	require.WithinDuration(t, h.now(), verified.GetVerification().GetVerifyTime().AsTime(), time.Minute)
	for name, attempt := range attempts {
		if strings.HasPrefix(name, "IDENTITY") {
			require.NoError(t, attempt(), name)
		}
	}
	require.NoError(t, disclosure(twoMethods))
	// None of it stands in the clear, and the service cannot change or delete a row.
	for _, row := range h.sql("SELECT encode(sealed, 'escape') || type || due_zone FROM rights_rows") {
		for _, text := range []string{"knee", "County", "Subpoena", "users/"} {
			require.NotContains(t, row[0], text)
		}
	}
}

// download reads a whole export.
func download(stream grpc.ServerStreamingClient[httpbody.HttpBody], err error) ([]byte, error) {
	var out bytes.Buffer
	for err == nil {
		var piece *httpbody.HttpBody
		if piece, err = stream.Recv(); err == nil {
			out.Write(piece.GetData())
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out.Bytes(), err
}

// unzip checks an export against its manifest and returns its files.
func unzip(tb testing.TB, data []byte) map[string]string {
	tb.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(tb, err)
	files := map[string]string{}
	for _, f := range archive.File {
		in, err := f.Open()
		require.NoError(tb, err)
		text, err := io.ReadAll(in)
		require.NoError(tb, err)
		files[f.Name] = string(text)
	}
	var manifest struct {
		Files []struct {
			Name, SHA256 string
			Bytes        int
		}
	}
	require.NoError(tb, json.Unmarshal([]byte(files["manifest.json"]), &manifest))
	require.Len(tb, manifest.Files, len(files)-1, "every file but the manifest is in it")
	for _, f := range manifest.Files {
		sum := sha256.Sum256([]byte(files[f.Name]))
		require.Equal(tb, hex.EncodeToString(sum[:]), f.SHA256, f.Name)
		require.Len(tb, files[f.Name], f.Bytes)
	}
	return files
}

// A person without an account uses a token once for each action, within its time; wrong ones count by
// network; everything is recorded with the patient.
func TestDX12_APersonWithoutAnAccountUsesAOneTimeToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, desk := h.doctor(), h.desk()
	patient := h.patient(doctor).GetName()
	r := granted(t, h.as(doctor), desk, patient)
	issue := func() string {
		got, err := desk.IssuePatientToken(h.as(doctor), &recordsv1.IssuePatientTokenRequest{Name: r.GetName(), ValidHours: 24})
		require.NoError(t, err)
		require.WithinDuration(t, h.now().Add(day), got.GetExpireTime().AsTime(), time.Minute)
		return got.GetToken()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	home := &authv1.Client{Address: "198.51.100.7"}
	view := func(token string, from *authv1.Client) (*recordsv1.RightsRequest, error) {
		return desk.ViewRequestByToken(ctx, &recordsv1.ViewRequestByTokenRequest{Token: token, Client: from})
	}
	first := issue()
	token := issue()
	_, err := view(first, home)
	refusedAs(t, "TOKEN_INVALID", err) // the later one ended it
	raw, err := base64.RawURLEncoding.DecodeString(token)
	require.NoError(t, err)
	require.Empty(t, h.sql("SELECT 1 FROM patient_tokens t WHERE position($1::bytea in t::text::bytea) > 0 OR token_hash = $1", raw[16:]))

	var got *recordsv1.RightsRequest
	events := h.since(func() { got, err = view(token, home) })
	require.NoError(t, err)
	require.Equal(t, r.GetName(), got.GetName())
	require.Empty(t, got.GetVerification().GetUser(), "no staff")
	said := events[len(events)-1]
	require.Equal(t, []string{patient[len("patients/"):], h.practice.String(), home.GetAddress(), ""},
		[]string{said.GetPatientId(), said.GetPracticeId(), said.GetAddress(), said.GetUserId()})
	require.Equal(t, accessv1.Purpose_PURPOSE_INDIVIDUAL, said.GetPurpose())
	_, err = view(token, home)
	refusedAs(t, "TOKEN_INVALID", err)

	got, err = desk.FileStatementByToken(ctx, &recordsv1.FileStatementByTokenRequest{Token: token, Client: home, Text: "It was the left knee."})
	require.NoError(t, err)
	require.True(t, got.GetStatements()[0].GetByToken())
	_, err = desk.FileStatementByToken(ctx, &recordsv1.FileStatementByTokenRequest{Token: token, Client: home, Text: "Again."})
	refusedAs(t, "TOKEN_INVALID", err)

	data, err := download(desk.ExportByToken(ctx, &recordsv1.ExportByTokenRequest{Token: token, Client: home}))
	require.NoError(t, err)
	require.Contains(t, unzip(t, data)["summary.html"], "It was the left knee.")
	_, err = download(desk.ExportByToken(ctx, &recordsv1.ExportByTokenRequest{Token: token, Client: home}))
	refusedAs(t, "TOKEN_INVALID", err)
	got, err = desk.GetRightsRequest(h.as(doctor), &recordsv1.GetRightsRequestRequest{Name: r.GetName()})
	require.NoError(t, err)
	sum := sha256.Sum256(data)
	require.Equal(t, hex.EncodeToString(sum[:]), got.GetDeliveries()[0].GetSha256())
	require.True(t, got.GetDeliveries()[0].GetByToken())

	late := issue()
	h.pass(25 * time.Hour)
	_, err = view(late, home)
	refusedAs(t, "TOKEN_INVALID", err)

	// Another practice's id in front does not help, and ten wrong ones close the network, also for a right token.
	good := issue()
	raw, err = base64.RawURLEncoding.DecodeString(good)
	require.NoError(t, err)
	foreign := uuid.New()
	copy(raw, foreign[:])
	tampered := base64.RawURLEncoding.EncodeToString(raw)
	guesser := "2001:db8:1:2::"
	for i := range 10 {
		_, err = view([]string{tampered, "nonsense"}[i%2], &authv1.Client{Address: guesser + string(rune('1'+i%9))})
		refusedAs(t, "TOKEN_INVALID", err)
	}
	_, err = view(good, &authv1.Client{Address: guesser + "ffff"})
	refusedAs(t, "TOO_MANY_TOKENS", err)
	_, err = view(good, home)
	require.NoError(t, err)
	for range 3 {
		issue() // with the one above four within a day
	}
	issue()
	_, err = desk.IssuePatientToken(h.as(doctor), &recordsv1.IssuePatientTokenRequest{Name: r.GetName()})
	refusedAs(t, "TOO_MANY_ISSUED", err)
}

// An export holds every resource byte for byte and a summary that runs no script; what a user may not
// read is left out and named; one that breaks off is not marked as delivered.
func TestPortabilityExport(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, desk := h.doctor(), h.desk()
	id := uuid.NewString()
	evil := `{"resourceType":"Observation","id":"` + uuid.NewString() + `","status":"final","subject":{"reference":"Patient/` + id + `"},` +
		`"code":{"text":"<script>alert(1)</script>"},"valueQuantity":{"value":6.10,"unit":"mmol/l"},"effectiveDateTime":"2026-01-02"}`
	broken := strings.Replace(strings.Replace(evil, "mmol/l", "kg", 1), `,"status"`, ",\r\n\t\"status\"", 1)
	broken = strings.Replace(broken, `"id":"`, `"id":"`, 1)
	broken = strings.Replace(broken, broken[strings.Index(broken, `"id":"`)+6:][:36], uuid.NewString(), 1)
	docs := []string{`{"resourceType":"Patient","id":"` + id + `","name":[{"family":"O'Brien","given":["Zoë"]}]}`, evil, broken,
		`{"resourceType":"Condition","id":"` + uuid.NewString() + `","subject":{"reference":"Patient/` + id + `"},"code":{"text":"Gout"}}`}
	big := strings.Repeat("A long note. ", 60000)
	for range 6 {
		docs = append(docs, `{"resourceType":"Observation","id":"`+uuid.NewString()+`","status":"final","subject":{"reference":"Patient/`+id+`"},"code":{"text":"`+uuid.NewString()+`"},"valueString":"`+incompressible(big)+`"}`)
	}
	require.Empty(t, h.mustImport(doctor, bundleOf(docs...)).problems)
	patient := "patients/" + id
	r := granted(t, h.as(doctor), desk, patient)

	var data []byte
	var err error
	events := h.since(func() {
		data, err = download(desk.ExportChart(h.as(doctor), &recordsv1.ExportChartRequest{Name: r.GetName()}))
	})
	require.NoError(t, err)
	var told []string
	for _, e := range events {
		if e.GetAction() == accessv1.Action_ACTION_EXPORT {
			require.Equal(t, id, e.GetPatientId())
			told = append(told, e.GetReason())
		}
	}
	require.Equal(t, []string{"EXPORT_STARTED", "EXPORT_DELIVERED"}, told)
	files := unzip(t, data)
	require.Equal(t, docs[0]+"\n", files["fhir/Patient.ndjson"])
	require.Equal(t, docs[3]+"\n", files["fhir/Condition.ndjson"])
	lines := strings.Split(strings.TrimSuffix(files["fhir/Observation.ndjson"], "\n"), "\n")
	want := append([]string{evil, strings.Replace(broken, "\r\n", "  ", 1)}, docs[4:]...)
	require.ElementsMatch(t, want, lines)
	page := files["summary.html"]
	require.False(t, strings.Contains(page, "<script"))
	for _, text := range []string{"&lt;script&gt;alert(1)&lt;/script&gt;", "Zoë O&#39;Brien", "6.10 mmol/l"} {
		require.True(t, strings.Contains(page, text), text)
	}
	ledger, err := desk.ListDisclosures(h.as(doctor), &recordsv1.ListDisclosuresRequest{Parent: patient})
	require.NoError(t, err)
	require.Len(t, ledger.GetDisclosures(), 1)
	require.Equal(t, r.GetName(), ledger.GetDisclosures()[0].GetRightsRequest())

	// Somebody who may not read diagnoses and the ledger exports neither.
	narrow := *doctor
	narrow.Permissions.Remove(accessv1.Permission_PERMISSION_CONDITIONS_READ)
	narrow.Permissions.Remove(accessv1.Permission_PERMISSION_DISCLOSURES_READ)
	data, err = download(desk.ExportChart(h.as(&narrow), &recordsv1.ExportChartRequest{Name: r.GetName()}))
	require.NoError(t, err)
	files = unzip(t, data)
	require.NotContains(t, files, "fhir/Condition.ndjson")
	require.NotContains(t, files, "rights/accounting-of-disclosures.json")
	require.False(t, strings.Contains(files["summary.html"], "Gout"))
	require.Contains(t, files["manifest.json"], `"omittedTypes":["Condition"]`)

	// A client that goes away in the middle leaves no delivery, and the token works again.
	issued, err := desk.IssuePatientToken(h.as(doctor), &recordsv1.IssuePatientTokenRequest{Name: r.GetName()})
	require.NoError(t, err)
	request := &recordsv1.ExportByTokenRequest{Token: issued.GetToken(), Client: &authv1.Client{Address: "198.51.100.7"}}
	ctx, cancel := cancelable(context.Background())
	stream, err := desk.ExportByToken(ctx, request)
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	_, err = download(desk.ExportByToken(context.Background(), request))
	refusedAs(t, "TOKEN_INVALID", err) // somebody is at it
	cancel()
	require.Eventually(t, func() bool {
		return len(h.sql("SELECT 1 FROM patient_tokens WHERE claimed_until IS NULL AND exported_at IS NULL AND revoked_at IS NULL")) == 1
	}, patience, tick)
	require.Len(t, deliveries(t, h, doctor, desk, r), 2)
	data, err = download(desk.ExportByToken(context.Background(), request))
	require.NoError(t, err)
	require.Contains(t, unzip(t, data), "fhir/Condition.ndjson", "the person gets everything")
	require.Len(t, deliveries(t, h, doctor, desk, r), 3)

	// A claim that a killed service left behind ends by itself.
	h.sql("UPDATE patient_tokens SET exported_at = NULL, claimed_until = $1 RETURNING 1", h.now().Add(time.Minute))
	_, err = download(desk.ExportByToken(context.Background(), request))
	refusedAs(t, "TOKEN_INVALID", err)
	h.pass(2 * time.Minute)
	_, err = download(desk.ExportByToken(context.Background(), request))
	require.NoError(t, err)
}

func deliveries(tb testing.TB, h *house, u *user, desk recordsv1.RightsServiceClient, r *recordsv1.RightsRequest) []*recordsv1.Delivery {
	tb.Helper()
	got, err := desk.GetRightsRequest(h.as(u), &recordsv1.GetRightsRequestRequest{Name: r.GetName()})
	require.NoError(tb, err)
	return got.GetDeliveries()
}

// incompressible is as long as text, and does not shrink in a zip, so that an export takes many messages.
func incompressible(text string) string {
	raw := make([]byte, 0, len(text))
	for sum := sha256.Sum256([]byte(uuid.NewString())); len(raw) < len(text); sum = sha256.Sum256(sum[:]) {
		for _, b := range sum {
			raw = append(raw, 'a'+b>>4, 'a'+b&15) // no digits: some would pass for a card number
		}
	}
	return string(raw[:len(text)])
}

// The accounting leaves out what 164.528 leaves out, goes back six years, and observes suspensions.
func TestAccounting528_LedgerAndAccounting(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, desk := h.doctor(), h.desk()
	patient := h.patient(doctor).GetName()
	consent, err := desk.RecordPatientConsent(h.as(doctor), &recordsv1.RecordPatientConsentRequest{Parent: patient, Consent: &recordsv1.PatientConsent{
		Scope: "All", Purpose: "All", Grantee: "Somebody", Evidence: "Form 1",
	}})
	require.NoError(t, err)
	disclose := func(basis recordsv1.DisclosureBasis, at time.Time) *recordsv1.Disclosure {
		d := &recordsv1.Disclosure{
			DiscloseTime: timestamppb.New(at), Recipient: "Somebody", RecipientAddress: "1 Main St", Description: basis.String(),
			Purpose: "Purpose", Basis: basis, Verification: twoMethods,
		}
		if basis == recordsv1.DisclosureBasis_DISCLOSURE_BASIS_AUTHORISATION {
			d.Consent = consent.GetName()
		}
		got, err := desk.RecordDisclosure(h.as(doctor), &recordsv1.RecordDisclosureRequest{Parent: patient, Disclosure: d})
		require.NoError(t, err, basis)
		return got
	}
	now := h.now()
	all := map[recordsv1.DisclosureBasis]*recordsv1.Disclosure{}
	for n := range recordsv1.DisclosureBasis_name {
		if basis := recordsv1.DisclosureBasis(n); basis != 0 {
			all[basis] = disclose(basis, now.Add(-time.Hour))
		}
	}
	disclose(recordsv1.DisclosureBasis_DISCLOSURE_BASIS_RESEARCH, now.AddDate(-6, 0, -1))
	account := func() []string {
		got, err := desk.AccountDisclosures(h.as(doctor), &recordsv1.AccountDisclosuresRequest{Parent: patient})
		require.NoError(t, err)
		var out []string
		for _, e := range got.GetEntries() {
			require.Equal(t, []string{"Somebody", "1 Main St", "Purpose"}, []string{e.GetRecipient(), e.GetRecipientAddress(), e.GetPurpose()})
			out = append(out, strings.TrimPrefix(e.GetDescription(), "DISCLOSURE_BASIS_"))
		}
		return out
	}
	accountable := []string{"REQUIRED_BY_LAW", "PUBLIC_HEALTH", "HEALTH_OVERSIGHT", "JUDICIAL", "LAW_ENFORCEMENT", "RESEARCH", "OTHER"}
	require.ElementsMatch(t, accountable, account())
	_, err = desk.AccountDisclosures(h.as(doctor), &recordsv1.AccountDisclosuresRequest{Parent: patient, FromTime: timestamppb.New(now.AddDate(-6, 0, -2))})
	refusedAs(t, "BEYOND_SIX_YEARS", err)

	suspend := func(d *recordsv1.Disclosure, s *recordsv1.Suspension) error {
		s.Official = "Sheriff of Cook County"
		_, err := desk.SuspendAccounting(h.as(doctor), &recordsv1.SuspendAccountingRequest{Name: d.GetName(), Suspension: s})
		return err
	}
	police, oversight := all[recordsv1.DisclosureBasis_DISCLOSURE_BASIS_LAW_ENFORCEMENT], all[recordsv1.DisclosureBasis_DISCLOSURE_BASIS_HEALTH_OVERSIGHT]
	refusedAs(t, "SUSPENSION_INVALID", suspend(police, &recordsv1.Suspension{Oral: true, UntilTime: timestamppb.New(h.now().Add(30*day + time.Minute))}))
	refusedAs(t, "SUSPENSION_INVALID", suspend(police, &recordsv1.Suspension{}))
	refusedAs(t, "NOT_SUSPENDABLE", suspend(all[recordsv1.DisclosureBasis_DISCLOSURE_BASIS_RESEARCH], &recordsv1.Suspension{Oral: true}))
	require.NoError(t, suspend(police, &recordsv1.Suspension{Oral: true}))
	require.NoError(t, suspend(oversight, &recordsv1.Suspension{UntilTime: timestamppb.New(h.now().Add(90 * day))}))
	require.ElementsMatch(t, []string{"REQUIRED_BY_LAW", "PUBLIC_HEALTH", "JUDICIAL", "RESEARCH", "OTHER"}, account())
	h.pass(30*day + time.Minute)
	require.NotContains(t, account(), "HEALTH_OVERSIGHT")
	require.Contains(t, account(), "LAW_ENFORCEMENT")
	h.pass(61 * day)
	require.ElementsMatch(t, accountable, account())

	// The first accounting in twelve months is free.
	request := func() bool {
		r := asked(t, h.as(doctor), desk, patient, &recordsv1.RightsRequest{
			Kind: recordsv1.RightsKind_RIGHTS_KIND_ACCOUNTING, Law: recordsv1.RightsLaw_RIGHTS_LAW_HIPAA, TimeZone: "America/Chicago",
		})
		return r.GetFeeAllowed()
	}
	require.False(t, request())
	require.True(t, request())
	h.pass(367 * day)
	require.False(t, request())
}

// A disclosure by authorisation rests on a consent of this patient, for this recipient, that is active now.
func TestDX33_AuthorisationNeedsAnActiveConsent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, desk := h.doctor(), h.desk()
	patient, other := h.patient(doctor).GetName(), h.patient(doctor).GetName()
	consent := func(patient string, c *recordsv1.PatientConsent) string {
		c.Scope, c.Purpose, c.Grantee, c.Evidence = "Visits", "Insurance", "Acme Insurance", "Form 12"
		got, err := desk.RecordPatientConsent(h.as(doctor), &recordsv1.RecordPatientConsentRequest{Parent: patient, Consent: c})
		require.NoError(t, err)
		return got.GetName()
	}
	disclose := func(consent, recipient string) error {
		_, err := desk.RecordDisclosure(h.as(doctor), &recordsv1.RecordDisclosureRequest{Parent: patient, Disclosure: &recordsv1.Disclosure{
			Recipient: recipient, Description: "Visits", Purpose: "Insurance", Verification: twoMethods,
			Basis: recordsv1.DisclosureBasis_DISCLOSURE_BASIS_AUTHORISATION, Consent: consent,
		}})
		return err
	}
	const acme = "ACME Insurance"
	refusedAs(t, "CONSENT_NOT_ACTIVE", disclose("", acme))
	refusedAs(t, "CONSENT_NOT_ACTIVE", disclose(patient+"/consents/"+uuid.NewString(), acme))
	refusedAs(t, "CONSENT_NOT_ACTIVE", disclose(consent(other, &recordsv1.PatientConsent{}), acme))
	refusedAs(t, "CONSENT_NOT_ACTIVE", disclose(consent(patient, &recordsv1.PatientConsent{StartTime: timestamppb.New(h.now().Add(day))}), acme))
	ends := consent(patient, &recordsv1.PatientConsent{EndTime: timestamppb.New(h.now().Add(2 * day))})
	require.NoError(t, disclose(ends, acme))
	refusedAs(t, "CONSENT_FOR_ANOTHER", disclose(ends, "Other Insurance"))
	h.pass(3 * day)
	refusedAs(t, "CONSENT_NOT_ACTIVE", disclose(ends, acme))

	open := consent(patient, &recordsv1.PatientConsent{})
	require.NoError(t, disclose(open, acme))
	gone, err := desk.WithdrawPatientConsent(h.as(doctor), &recordsv1.WithdrawPatientConsentRequest{Name: open, Evidence: "By phone"})
	require.NoError(t, err)
	require.False(t, gone.GetActive())
	refusedAs(t, "CONSENT_NOT_ACTIVE", disclose(open, acme))
	_, err = desk.WithdrawPatientConsent(h.as(doctor), &recordsv1.WithdrawPatientConsentRequest{Name: open})
	refusedAs(t, "CONSENT_WITHDRAWN", err)
	list, err := desk.ListPatientConsents(h.as(doctor), &recordsv1.ListPatientConsentsRequest{Parent: patient})
	require.NoError(t, err)
	require.Len(t, list.GetConsents(), 3)
}

// An accepted amendment is a new version of the resource, with those who had the old one to be informed; a refused
// one takes the person's disagreement along on later disclosures (45 CFR 164.526, UK GDPR Articles 16 and 19).
func TestAmendment526_AcceptedAndRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, desk := h.doctor(), h.desk()
	id, observation, second := uuid.NewString(), uuid.NewString(), uuid.NewString()
	resource := func(id, patient, value string) string {
		return `{"resourceType":"Observation","id":"` + id + `","status":"final","subject":{"reference":"Patient/` + patient + `"},"code":{"text":"Knee"},"valueString":"` + value + `"}`
	}
	require.Empty(t, h.mustImport(doctor, bundleOf(`{"resourceType":"Patient","id":"`+id+`"}`, resource(observation, id, "right"), resource(second, id, "x"))).problems)
	patient := "patients/" + id
	disclose := func(recipient string, resources ...string) *recordsv1.Disclosure {
		got, err := desk.RecordDisclosure(h.as(doctor), &recordsv1.RecordDisclosureRequest{Parent: patient, Disclosure: &recordsv1.Disclosure{
			Recipient: recipient, RecipientAddress: "2 High St", Description: "x", Purpose: "x", Verification: twoMethods,
			Basis: recordsv1.DisclosureBasis_DISCLOSURE_BASIS_TREATMENT, Resources: resources,
		}})
		require.NoError(t, err)
		return got
	}
	disclose("Has the knee", "Observation/"+observation)
	disclose("Has all")
	disclose("Has another", "Observation/"+second)

	amendment := func(about string) *recordsv1.RightsRequest {
		return asked(t, h.as(doctor), desk, patient, &recordsv1.RightsRequest{
			Kind: recordsv1.RightsKind_RIGHTS_KIND_AMENDMENT, Law: recordsv1.RightsLaw_RIGHTS_LAW_HIPAA, TimeZone: "America/Chicago",
			Resource: "Observation/" + about, Description: "left, not right",
		})
	}
	r := amendment(observation)
	accept := func(content string) (*recordsv1.RightsRequest, error) {
		return desk.AcceptAmendment(h.as(doctor), &recordsv1.AcceptAmendmentRequest{Name: r.GetName(), Etag: "v1", Content: []byte(content)})
	}
	_, err := accept(resource(observation, id, "left"))
	refusedAs(t, "IDENTITY_NOT_VERIFIED", err)
	_, err = desk.VerifyRequester(h.as(doctor), &recordsv1.VerifyRequesterRequest{Name: r.GetName(), Verification: twoMethods})
	require.NoError(t, err)
	for _, wrong := range []string{resource(second, id, "left"), resource(observation, uuid.NewString(), "left"), `{"resourceType":"Condition"}`, `{]`} {
		_, err = accept(wrong)
		refusedAs(t, "CONTENT_INVALID", err)
	}
	r, err = accept(resource(observation, id, "left"))
	require.NoError(t, err)
	require.Equal(t, recordsv1.RightsState_RIGHTS_STATE_GRANTED, r.GetState())
	require.EqualValues(t, 2, r.GetAmendedVersion())
	var informed []string
	for _, x := range r.GetInform() {
		informed = append(informed, x.GetRecipient())
	}
	require.ElementsMatch(t, []string{"Has the knee", "Has all"}, informed)
	got, err := h.client.GetResource(h.as(doctor), &recordsv1.GetResourceRequest{Type: "Observation", Id: observation})
	require.NoError(t, err)
	require.Equal(t, resource(observation, id, "left"), string(got.GetData()))
	was, err := h.client.GetResourceVersion(h.as(doctor), &recordsv1.GetResourceVersionRequest{Type: "Observation", Id: observation, Version: 1})
	require.NoError(t, err)
	require.Equal(t, resource(observation, id, "right"), string(was.GetData()))

	denied := amendment(second)
	_, err = desk.DecideRightsRequest(h.as(doctor), &recordsv1.DecideRightsRequestRequest{Name: denied.GetName(), Granted: true})
	refusedAs(t, "ACCEPT_BY_CONTENT", err)
	_, err = desk.DecideRightsRequest(h.as(doctor), &recordsv1.DecideRightsRequestRequest{Name: denied.GetName(), Ground: "45 CFR 164.526(a)(2)(iv)", Reason: "It is accurate and complete."})
	require.NoError(t, err)
	require.Empty(t, disclose("Before", "Observation/"+second).GetStatements())
	_, err = desk.FileStatement(h.as(doctor), &recordsv1.FileStatementRequest{Name: denied.GetName(), Text: "It is not."})
	require.NoError(t, err)
	require.Equal(t, []string{denied.GetName()}, disclose("After", "Observation/"+second).GetStatements())
	require.Equal(t, []string{denied.GetName()}, disclose("All after").GetStatements())
	require.Empty(t, disclose("Another after", "Observation/"+observation).GetStatements())
}
