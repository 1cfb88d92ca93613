package faults

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/carekeep/carekeep/deploy/local/api"
	localseed "github.com/carekeep/carekeep/deploy/local/seed"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/tests/internal/mesh"
)

// refusedWith is the HTTP status of a refusal.
func refusedWith(t *testing.T, err error) int {
	t.Helper()
	var refusal *api.Refusal
	require.True(t, errors.As(err, &refusal), "%v", err)
	return refusal.Status
}

// While auth, the identity provider, is down nobody signs in and REST is closed. What opens a
// chart in an emergency goes on for as long as a token that auth gave before lives: records asks
// nobody. And who touches a decoy meanwhile gets no answer, and is frozen as soon as auth is back.
func TestBreakGlassAndDecoysWhileAuthIsDown(t *testing.T) {
	suite, users := start(t)
	ctx := t.Context()
	as := func(username string) *api.Client {
		client, err := users.As(ctx, username)
		require.NoError(t, err)
		return client
	}
	smith, jones, ada := as(localseed.Smith), as(localseed.Jones), as(localseed.Admin)
	patient := func(family string) *recordsv1.Patient {
		var p recordsv1.Patient
		require.NoError(t, smith.Call(ctx, http.MethodPost, "/v1/patients", &recordsv1.Patient{FamilyName: family, GivenNames: []string{"Ann"}}, &p))
		return &p
	}
	chart, decoy := patient("Emergency"), patient("Famous")
	require.NoError(t, ada.Call(ctx, http.MethodPost, "/v1/"+decoy.GetName()+":setDecoy", &recordsv1.SetDecoyRequest{Armed: true}, nil))
	require.NoError(t, ada.Call(ctx, http.MethodPost, "/v1/glassUsers", &recordsv1.DesignateGlassUserRequest{User: users.Person(localseed.Jones).User}, nil))
	require.NoError(t, smith.Call(ctx, http.MethodGet, "/v1/patients", nil, nil), "a list that shows the decoy is no touch")

	// What a gateway holds of jones and smith when auth goes down.
	auth, err := mesh.Dial(suite.Place, "gateway", accessv1.Service_SERVICE_AUTH)
	require.NoError(t, err)
	defer auth.Close() //nolint:errcheck // a test's connection
	token := func(username, method string) context.Context {
		admitted, err := authv1.NewAuthServiceClient(auth).Admit(ctx, &authv1.AdmitRequest{
			SessionToken: users.Token(username), Audience: accessv1.Service_SERVICE_RECORDS, Method: method,
			Client:  &authv1.Client{Address: users.Person(username).Address},
			Purpose: accessv1.Purpose_PURPOSE_TREATMENT,
		})
		require.NoError(t, err)
		return caller.Attach(ctx, admitted.GetCallerToken())
	}
	emergency := token(localseed.Jones, recordsv1.AccessService_BreakGlass_FullMethodName)
	nosy := token(localseed.Smith, recordsv1.RecordsService_GetPatient_FullMethodName)
	suite.Stop("auth")

	require.Equal(t, http.StatusServiceUnavailable, refusedWith(t, jones.Call(ctx, http.MethodGet, "/v1/patients", nil, nil)), "REST asks auth each time")
	conn, err := mesh.Dial(suite.Place, "gateway", accessv1.Service_SERVICE_RECORDS)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // a test's connection
	records := recordsv1.NewRecordsServiceClient(conn)
	_, err = recordsv1.NewAccessServiceClient(conn).BreakGlass(emergency, &recordsv1.BreakGlassRequest{
		Patient: chart.GetName(), Reason: "Unconscious, allergies unknown.",
	})
	require.NoError(t, err)
	seen, err := records.GetPatient(emergency, &recordsv1.GetPatientRequest{Name: chart.GetName()})
	require.NoError(t, err)
	require.Equal(t, "Emergency", seen.GetFamilyName())

	_, err = records.GetPatient(nosy, &recordsv1.GetPatientRequest{Name: decoy.GetName()})
	require.Equal(t, codes.Unavailable, status.Code(err))

	require.NoError(t, suite.Resume(ctx, "auth"))
	require.Eventually(t, func() bool {
		err := smith.Call(ctx, http.MethodGet, "/v1/self", nil, nil) // auth's own: records refuses smith already
		var refusal *api.Refusal
		return errors.As(err, &refusal) && refusal.Status == http.StatusUnauthorized
	}, patience, often, "the session is over")
	person := users.Person(localseed.Smith)
	_, err = smith.SignIn(ctx, person.Username, person.Password, person.TotpSecret)
	require.Error(t, err, "and the account is frozen")

	// A touch while everything runs: the answer is a chart's, and the next request is refused.
	jones = as(localseed.Jones)
	require.NoError(t, ada.Call(ctx, http.MethodPost, "/v1/"+decoy.GetName()+":setDecoy", &recordsv1.SetDecoyRequest{}, nil))
	theirs := patientOf(t, jones)
	require.NoError(t, ada.Call(ctx, http.MethodPost, "/v1/"+theirs.GetName()+":setDecoy", &recordsv1.SetDecoyRequest{Armed: true}, nil))
	var shown recordsv1.Patient
	require.NoError(t, jones.Call(ctx, http.MethodGet, "/v1/"+theirs.GetName(), nil, &shown))
	require.Equal(t, theirs.GetFamilyName(), shown.GetFamilyName())
	require.Equal(t, http.StatusUnauthorized, refusedWith(t, jones.Call(ctx, http.MethodGet, "/v1/patients", nil, nil)))

	delivered(t, suite)
	for _, p := range []*recordsv1.Patient{decoy, theirs} {
		var page auditv1.ListEntriesResponse
		require.NoError(t, ada.Call(ctx, http.MethodPost, "/v1/audit/entries:list",
			&auditv1.ListEntriesRequest{PageSize: 500, PatientId: strings.TrimPrefix(p.GetName(), "patients/")}, &page))
		critical := 0
		for _, e := range page.GetEntries() {
			if e.GetEvent().GetReason() == "DECOY_TOUCHED" {
				require.Equal(t, auditv1.Risk_RISK_CRITICAL, e.GetEvent().GetRisk())
				critical++
			}
		}
		require.Equal(t, 1, critical)
	}
}

// patientOf is a patient of the doctor's own.
func patientOf(t *testing.T, doctor *api.Client) *recordsv1.Patient {
	t.Helper()
	var p recordsv1.Patient
	require.NoError(t, doctor.Call(t.Context(), http.MethodPost, "/v1/patients", &recordsv1.Patient{FamilyName: "Renowned", GivenNames: []string{"Bo"}}, &p))
	return &p
}
