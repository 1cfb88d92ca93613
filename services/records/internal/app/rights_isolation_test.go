package app_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// folder is what the rights API keeps of one patient.
type folder struct{ patient, request, disclosure, consent string }

func nowhereFolder() folder {
	p := "patients/" + uuid.NewString()
	return folder{p, p + "/rightsRequests/" + uuid.NewString(), p + "/disclosures/" + uuid.NewString(), p + "/consents/" + uuid.NewString()}
}

// byToken are the RPCs without a caller, tested by TestDX12.
var byToken = []string{"ViewRequestByToken", "ExportByToken", "FileStatementByToken"}

type deskCall func(context.Context, recordsv1.RightsServiceClient, folder) error

func done[T any](_ T, err error) error { return err }

func deskCalls() map[string]deskCall {
	type c = recordsv1.RightsServiceClient
	disclosure := &recordsv1.Disclosure{
		Recipient: "x", Description: "x", Purpose: "x", Verification: twoMethods, Basis: recordsv1.DisclosureBasis_DISCLOSURE_BASIS_TREATMENT,
	}
	return map[string]deskCall{
		"CreateRightsRequest": func(ctx context.Context, c c, f folder) error {
			return done(c.CreateRightsRequest(ctx, &recordsv1.CreateRightsRequestRequest{Parent: f.patient, RightsRequest: ukRequest(1)}))
		},
		"GetRightsRequest": func(ctx context.Context, c c, f folder) error {
			return done(c.GetRightsRequest(ctx, &recordsv1.GetRightsRequestRequest{Name: f.request}))
		},
		"ListRightsRequests": func(ctx context.Context, c c, f folder) error {
			return done(c.ListRightsRequests(ctx, &recordsv1.ListRightsRequestsRequest{Parent: f.patient}))
		},
		"VerifyRequester": func(ctx context.Context, c c, f folder) error {
			return done(c.VerifyRequester(ctx, &recordsv1.VerifyRequesterRequest{Name: f.request, Verification: twoMethods}))
		},
		"PauseRightsRequest": func(ctx context.Context, c c, f folder) error {
			return done(c.PauseRightsRequest(ctx, &recordsv1.PauseRightsRequestRequest{Name: f.request, Reason: 1}))
		},
		"ResumeRightsRequest": func(ctx context.Context, c c, f folder) error {
			return done(c.ResumeRightsRequest(ctx, &recordsv1.ResumeRightsRequestRequest{Name: f.request}))
		},
		"ExtendRightsRequest": func(ctx context.Context, c c, f folder) error {
			return done(c.ExtendRightsRequest(ctx, &recordsv1.ExtendRightsRequestRequest{Name: f.request, Reason: "x"}))
		},
		"DecideRightsRequest": func(ctx context.Context, c c, f folder) error {
			return done(c.DecideRightsRequest(ctx, &recordsv1.DecideRightsRequestRequest{Name: f.request, Granted: true}))
		},
		"CompleteRightsRequest": func(ctx context.Context, c c, f folder) error {
			return done(c.CompleteRightsRequest(ctx, &recordsv1.CompleteRightsRequestRequest{Name: f.request, Evidence: "x"}))
		},
		"AcceptAmendment": func(ctx context.Context, c c, f folder) error {
			return done(c.AcceptAmendment(ctx, &recordsv1.AcceptAmendmentRequest{Name: f.request, Etag: "v1", Content: []byte("{}")}))
		},
		"FileStatement": func(ctx context.Context, c c, f folder) error {
			return done(c.FileStatement(ctx, &recordsv1.FileStatementRequest{Name: f.request, Text: "x"}))
		},
		"IssuePatientToken": func(ctx context.Context, c c, f folder) error {
			return done(c.IssuePatientToken(ctx, &recordsv1.IssuePatientTokenRequest{Name: f.request}))
		},
		"ExportChart": func(ctx context.Context, c c, f folder) error {
			return done(download(c.ExportChart(ctx, &recordsv1.ExportChartRequest{Name: f.request})))
		},
		"RecordDisclosure": func(ctx context.Context, c c, f folder) error {
			return done(c.RecordDisclosure(ctx, &recordsv1.RecordDisclosureRequest{Parent: f.patient, Disclosure: disclosure}))
		},
		"ListDisclosures": func(ctx context.Context, c c, f folder) error {
			return done(c.ListDisclosures(ctx, &recordsv1.ListDisclosuresRequest{Parent: f.patient}))
		},
		"SuspendAccounting": func(ctx context.Context, c c, f folder) error {
			return done(c.SuspendAccounting(ctx, &recordsv1.SuspendAccountingRequest{Name: f.disclosure, Suspension: &recordsv1.Suspension{Official: "x", Oral: true}}))
		},
		"AccountDisclosures": func(ctx context.Context, c c, f folder) error {
			return done(c.AccountDisclosures(ctx, &recordsv1.AccountDisclosuresRequest{Parent: f.patient}))
		},
		"RecordPatientConsent": func(ctx context.Context, c c, f folder) error {
			return done(c.RecordPatientConsent(ctx, &recordsv1.RecordPatientConsentRequest{Parent: f.patient, Consent: &recordsv1.PatientConsent{
				Scope: "x", Purpose: "x", Grantee: "x", Evidence: "x",
			}}))
		},
		"WithdrawPatientConsent": func(ctx context.Context, c c, f folder) error {
			return done(c.WithdrawPatientConsent(ctx, &recordsv1.WithdrawPatientConsentRequest{Name: f.consent}))
		},
		"ListPatientConsents": func(ctx context.Context, c c, f folder) error {
			return done(c.ListPatientConsents(ctx, &recordsv1.ListPatientConsentsRequest{Parent: f.patient}))
		},
	}
}

// A stranger of the practice, and the other practice with every permission, get from every RPC of the rights API
// what a random id gets, and change nothing; the log knows the difference.
func TestDMD06_RightsOfOthersAreOutOfReach(t *testing.T) {
	t.Parallel()
	calls := deskCalls()
	h := newHouse(t)
	desk, doctor, stranger := h.desk(), h.doctor(), h.doctor()
	ctx := h.as(doctor)
	f := folder{patient: h.patient(doctor).GetName()}
	f.request = granted(t, ctx, desk, f.patient).GetName()
	d, err := desk.RecordDisclosure(ctx, &recordsv1.RecordDisclosureRequest{Parent: f.patient, Disclosure: &recordsv1.Disclosure{
		Recipient: "x", Description: "x", Purpose: "x", Verification: twoMethods, Basis: recordsv1.DisclosureBasis_DISCLOSURE_BASIS_LAW_ENFORCEMENT,
	}})
	require.NoError(t, err)
	c, err := desk.RecordPatientConsent(ctx, &recordsv1.RecordPatientConsentRequest{Parent: f.patient, Consent: &recordsv1.PatientConsent{
		Scope: "x", Purpose: "x", Grantee: "x", Evidence: "x",
	}})
	require.NoError(t, err)
	f.disclosure, f.consent = d.GetName(), c.GetName()
	rows := h.sql("SELECT count(*) FROM rights_rows")

	ours := h.practice
	h.practice = uuid.New()
	foreigner := h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, everything())
	h.practice = ours
	for name, call := range calls {
		random := call(h.as(stranger), desk, nowhereFolder())
		require.Equal(t, codes.NotFound, status.Code(random), name)
		events := h.since(func() {
			require.True(t, proto.Equal(status.Convert(random).Proto(), status.Convert(call(h.as(stranger), desk, f)).Proto()), name)
		})
		require.Equal(t, []string{"NOT_ON_CARE_TEAM", f.patient[len("patients/"):]}, []string{events[0].GetReason(), events[0].GetPatientId()}, name)
		require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, events[0].GetOutcome(), name)
		require.True(t, proto.Equal(status.Convert(random).Proto(), status.Convert(call(h.as(foreigner), desk, f)).Proto()), name)
	}
	require.Equal(t, rows, h.sql("SELECT count(*) FROM rights_rows"))
	require.Empty(t, h.sql("SELECT 1 FROM patient_tokens"))
}
