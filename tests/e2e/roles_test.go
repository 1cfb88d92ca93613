package e2e

import (
	"bytes"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/tests/internal/people"
	"google.golang.org/protobuf/proto"
)

// The literal promise, with the roles that auth really gives: whatever way a
// receptionist tries, no prescription comes out; and a doctor does not reach the
// billing settings.
func TestDC04_ReceptionistsSeeNoPrescriptionsAndDoctorsNoBillingSettings(t *testing.T) {
	charts(t, 1)
	patient := generator.Patient(population, 0)
	chart := "/v1/patients/" + patient.ID.String()
	var prescription string
	for _, r := range generator.Resources(patient) {
		if r.Type == "MedicationRequest" {
			prescription = r.ID.String()
		}
	}
	receptionist, doctor := as(t, seed.Receptionist), as(t, seed.Smith)
	var appointments recordsv1.ListAppointmentsResponse
	require.NoError(t, receptionist.Call(t.Context(), http.MethodGet, chart+"/appointments", nil, &appointments))
	require.NotEmpty(t, appointments.GetAppointments(), "the receptionist does act for the doctor")
	require.NoError(t, doctor.Call(t.Context(), http.MethodGet, chart+"/prescriptions/"+prescription, nil, &recordsv1.Prescription{}))

	for _, c := range []struct {
		client       *api.Client
		method, path string
		body         proto.Message
	}{
		{receptionist, http.MethodGet, chart + "/prescriptions", nil},
		{receptionist, http.MethodGet, chart + "/prescriptions/" + prescription, nil},
		{receptionist, http.MethodGet, chart + "/fhir/MedicationRequest", nil},
		{receptionist, http.MethodGet, "/v1/fhir/MedicationRequest/" + prescription, nil},
		{receptionist, http.MethodGet, "/v1/fhir/MedicationRequest/" + prescription + "/_history/1", nil},
		{receptionist, http.MethodPost, chart + "/prescriptions", &recordsv1.Prescription{Medication: "Aspirin"}},
		{receptionist, http.MethodDelete, chart + "/prescriptions/" + prescription, nil},
		{doctor, http.MethodGet, "/v1/billingSettings", nil},
		{doctor, http.MethodPatch, "/v1/billingSettings", &authv1.BillingSettings{LegalName: "Mine"}},
	} {
		answer, err := c.client.Send(t.Context(), c.method, c.path, c.body)
		require.NoError(t, err)
		assert.Equal(t, http.StatusForbidden, answer.Status, "%s %s: %s", c.method, c.path, answer.Body)
		assert.Contains(t, string(answer.Body), "PERMISSION_MISSING")
	}
	var bundle bytes.Buffer
	require.NoError(t, generator.Bundle(&bundle, generator.Options{Seed: population, Patients: 1}))
	_, err := receptionist.Import(t.Context(), &bundle, "", nil)
	var refusal *api.Refusal
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, http.StatusForbidden, refusal.Status)
}

// With the limit as it is shipped: the 61st request of a minute is refused at
// the edge, with the time to wait.
func TestDH33_TheRequestLimitReachesTheClient(t *testing.T) {
	strict, err := stack.Start(t.Context(), stack.Options{})
	require.NoError(t, err)
	t.Cleanup(strict.Close)
	users, err := people.Seed(t.Context(), strict.Place)
	require.NoError(t, err)
	client, err := users.As(t.Context(), seed.Brown)
	require.NoError(t, err)
	served := 0
	for range 61 {
		answer, err := client.Send(t.Context(), http.MethodGet, "/v1/self", nil)
		require.NoError(t, err)
		if answer.Status == http.StatusOK {
			served++
			continue
		}
		require.Equal(t, http.StatusTooManyRequests, answer.Status, string(answer.Body))
		seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
		require.NoError(t, err)
		assert.InDelta(t, 30, seconds, 30)
		// Seeding used a few of the sixty as well.
		assert.Greater(t, served, 50)
		return
	}
	assert.Fail(t, "61 requests in a row were served")
}
