package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
)

// fhirReason is the reason in an OperationOutcome.
func fhirReason(t *testing.T, a *api.Answer) string {
	t.Helper()
	var outcome struct {
		ResourceType string
		Issue        []struct {
			Details struct{ Coding []struct{ Code string } }
		}
	}
	require.NoError(t, json.Unmarshal(a.Body, &outcome), "%s", a.Body)
	require.Equal(t, "OperationOutcome", outcome.ResourceType)
	require.Equal(t, "application/fhir+json; charset=utf-8", a.Header.Get("Content-Type"))
	return outcome.Issue[0].Details.Coding[0].Code
}

// FHIR through the gateway, with a real session: what a doctor stores comes back byte for
// byte, and neither a stranger to the patient nor another practice nor nobody sees it.
func TestDMD06_DH55_FHIRThroughTheGateway(t *testing.T) {
	send := func(client *api.Client, method, path, body, match string) *api.Answer {
		t.Helper()
		var resource []byte
		if body != "" {
			resource = []byte(body)
		}
		answer, err := client.FHIR(t.Context(), method, path, resource, match)
		require.NoError(t, err)
		assert.Equal(t, "no-store", answer.Header.Get("Cache-Control"), "the security headers of the edge")
		assert.NotEmpty(t, answer.Header.Get("Content-Security-Policy"))
		return answer
	}
	doctor := as(t, seed.Smith)
	made := send(doctor, http.MethodPost, "/Patient", `{ "resourceType":"Patient" ,"name":[{"family":"Gatewayer"}]}`, "")
	require.Equal(t, http.StatusCreated, made.Status, "%s", made.Body)
	location := made.Header.Get("Location")
	require.True(t, strings.HasPrefix(location, suite.URL()+"/fhir/R4/Patient/"), location)
	at := strings.TrimSuffix(strings.TrimPrefix(location, suite.URL()+"/fhir/R4"), "/_history/1")

	got := send(doctor, http.MethodGet, at, "", "")
	require.Equal(t, http.StatusOK, got.Status)
	require.Equal(t, string(made.Body), string(got.Body))
	require.Equal(t, `W/"1"`, got.Header.Get("ETag"))
	require.Equal(t, http.StatusPreconditionRequired, send(doctor, http.MethodPut, at, string(got.Body), "").Status)
	put := send(doctor, http.MethodPut, at, string(got.Body), `W/"1"`)
	require.Equal(t, http.StatusOK, put.Status, "%s", put.Body)

	for name, other := range map[string]*api.Client{"the practice's administrator": as(t, seed.Admin), "a receptionist": as(t, seed.Receptionist)} {
		assert.Equal(t, "PERMISSION_MISSING", fhirReason(t, send(other, http.MethodGet, at, "", "")), name)
	}
	stranger := send(as(t, seed.Jones), http.MethodGet, at, "", "")
	random := send(as(t, seed.Jones), http.MethodGet, "/Patient/"+uuid.NewString(), "", "")
	assert.Equal(t, http.StatusNotFound, stranger.Status)
	assert.Equal(t, string(random.Body), string(stranger.Body))

	plain, err := suite.Client()
	require.NoError(t, err)
	nobody := api.New(suite.URL(), plain)
	answer := send(nobody, http.MethodGet, at, "", "")
	assert.Equal(t, http.StatusUnauthorized, answer.Status)
	assert.Equal(t, "SESSION_MISSING", fhirReason(t, answer))
	assert.Equal(t, http.StatusOK, send(nobody, http.MethodGet, "/metadata", "", "").Status)
	answer = send(doctor, http.MethodGet, "/Patient?name=Gatewayer", "", "")
	assert.Equal(t, http.StatusMethodNotAllowed, answer.Status)
	assert.Equal(t, "METHOD_NOT_ALLOWED", fhirReason(t, answer))
	assert.Equal(t, "ROUTE_UNKNOWN", fhirReason(t, send(doctor, http.MethodGet, "/Patient/x/y/z", "", "")))
}
