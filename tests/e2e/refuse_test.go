package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// refused calls and expects a refusal with this code and reason, in words.
func refused(t *testing.T, client *api.Client, method, path string, body *recordsv1.Patient, status int, reason string) {
	t.Helper()
	var err error
	if body == nil {
		err = client.Call(t.Context(), method, path, nil, nil)
	} else {
		err = client.Call(t.Context(), method, path, body, nil)
	}
	var refusal *api.Refusal
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, status, refusal.Status, "%s", refusal)
	assert.Equal(t, reason, refusal.Reason, "%s", refusal)
	assert.NotEmpty(t, refusal.Message)
}

func TestRefusesRequestsWithoutASession(t *testing.T) {
	plain, err := suite.Client()
	require.NoError(t, err)
	nobody := api.New(suite.URL(), plain)
	refused(t, nobody, http.MethodGet, "/v1/patients", nil, http.StatusUnauthorized, "SESSION_MISSING")
	refused(t, nobody.With("cks_"+strings.Repeat("A", 43)), http.MethodGet, "/v1/patients", nil, http.StatusUnauthorized, "SESSION_INVALID")
}

func TestRefusesAStaleEtag(t *testing.T) {
	charts(t, 1)
	doctor := as(t, seed.Smith)
	path := "/v1/patients/" + generator.Patient(population, 0).ID.String()
	var patient recordsv1.Patient
	require.NoError(t, doctor.Call(t.Context(), http.MethodGet, path, nil, &patient))
	change := &recordsv1.Patient{Etag: patient.GetEtag(), Gender: recordsv1.Gender_GENDER_OTHER}
	require.NoError(t, doctor.Call(t.Context(), http.MethodPatch, path, change, nil))
	refused(t, doctor, http.MethodPatch, path, change, http.StatusConflict, "ETAG_STALE")
}

// A body that does not fit, cannot be read, or says what nobody asked for is
// refused in words that repeat nothing of it.
func TestRefusesBadBodies(t *testing.T) {
	for name, c := range map[string]struct {
		body   io.Reader
		status int
		says   string
	}{
		"10 MiB of JSON":   {io.MultiReader(strings.NewReader(`{"familyName":"`), io.LimitReader(letters{}, 10<<20), strings.NewReader(`"}`)), http.StatusRequestEntityTooLarge, "BODY_TOO_LARGE"},
		"invalid UTF-8":    {strings.NewReader("{\"familyName\":\"Mus\xfftermann\"}"), http.StatusBadRequest, "UTF-8"},
		"an unknown field": {strings.NewReader(`{"surname":"Mustermann"}`), http.StatusBadRequest, "field"},
		"half an object":   {strings.NewReader(`{"familyName":"Mustermann"`), http.StatusBadRequest, "cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := post(t, "/v1/patients", "application/json", c.body)
			assert.Equal(t, c.status, status, body)
			assert.Contains(t, body, c.says)
			assert.NotContains(t, body, "Mus", "an error repeats no data")
		})
	}
}

// One bad entry is reported with its place and reason, and the rest goes in.
func TestRefusesMalformedFHIREntryByEntry(t *testing.T) {
	good, other := generator.Patient(populationOfEntries, 0), generator.Patient(populationOfEntries, 1)
	var entries []string
	for _, resource := range generator.Resources(good)[:3] {
		entries = append(entries, fmt.Sprintf(`{"fullUrl":"urn:uuid:%s","resource":%s}`, resource.ID, resource.JSON))
	}
	entries = append(entries,
		`{"resource":{"resourceType":"Spaceship","id":"`+uuid.NewString()+`"}}`,
		fmt.Sprintf(`{"resource":%s}`, generator.Resources(other)[1].JSON), // an Encounter of a patient who is not in this bundle
		`{"resource":{"resourceType":"Observation","id":"no good/id","subject":{"reference":"Patient/`+good.ID.String()+`"}}}`,
	)
	bundle := `{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(entries, ",") + `]}`
	done, err := as(t, seed.Smith).Import(t.Context(), strings.NewReader(bundle), "", nil)
	require.NoError(t, err)
	assert.EqualValues(t, 3, done.Total.GetCreated(), "%s %s", done.Total, done.Problems)
	assert.EqualValues(t, 3, done.Total.GetRefused())
	reasons := map[int64]string{}
	for _, problem := range done.Problems {
		reasons[problem.GetIndex()] = problem.GetReason()
		assert.NotEmpty(t, problem.GetMessage())
		assert.NotContains(t, problem.GetMessage(), other.ID.String())
	}
	assert.Len(t, reasons, 3)
	assert.Equal(t, "ENTRY_OTHER_PATIENT", reasons[4])
	assert.Contains(t, reasons, int64(3))
	assert.Contains(t, reasons, int64(5))
}

func TestRefusesATruncatedBundle(t *testing.T) {
	var bundle bytes.Buffer
	require.NoError(t, generator.Bundle(&bundle, generator.Options{Seed: populationOfHalf, Patients: 1}))
	_, err := as(t, seed.Smith).Import(t.Context(), bytes.NewReader(bundle.Bytes()[:bundle.Len()/2]), "", nil)
	var refusal *api.Refusal
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, codes.InvalidArgument, refusal.Code)
}

// A service with a key that nobody knows in its configuration does not start,
// and says which key. The same goes for one that lacks a security setting.
func TestRefusesBadConfiguration(t *testing.T) {
	for _, service := range []string{"auth", "records", "audit", "backup", "gateway"} {
		t.Run(service, func(t *testing.T) {
			good, err := os.ReadFile(suite.ConfigFile(service))
			require.NoError(t, err)
			unknown := start(t, service, string(good)+"\nencryption_of_documents: off\n")
			assert.Contains(t, unknown, "encryption_of_documents")
			bare := start(t, service, strings.ReplaceAll(string(good), "certificate:", "#"))
			assert.Contains(t, bare, "certificate")
		})
	}
}

// start runs a service with a configuration, expects it to end by itself with a
// failure, and returns what it said.
func start(t *testing.T, service, config string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), service+".yaml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, suite.Binary(service), "serve", "--config", file).CombinedOutput()
	require.NoError(t, ctx.Err(), "it started: %s", out)
	require.Error(t, err)
	return string(out)
}

func post(t *testing.T, path, kind string, body io.Reader) (int, string) {
	t.Helper()
	client, err := suite.Client()
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, suite.URL()+path, body)
	require.NoError(t, err)
	as(t, seed.Smith)
	request.Header.Set("Content-Type", kind)
	request.Header.Set("Authorization", "Bearer "+users.Token(seed.Smith))
	request.Header.Set("X-Purpose-Of-Use", "TREATMENT")
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(answer)
}

// letters is an endless text.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestDMD05_WhatPatientDataIsForHasToBeSaid(t *testing.T) {
	smith := as(t, seed.Smith)
	refused(t, smith.For(accessv1.Purpose_PURPOSE_UNSPECIFIED), http.MethodGet, "/v1/patients", nil, http.StatusBadRequest, "PURPOSE_REQUIRED")
	require.NoError(t, smith.For(accessv1.Purpose_PURPOSE_UNSPECIFIED).Call(t.Context(), http.MethodGet, "/v1/self", nil, nil))
	refused(t, as(t, seed.Receptionist).For(accessv1.Purpose_PURPOSE_TREATMENT), http.MethodGet, "/v1/patients", nil,
		http.StatusForbidden, "PURPOSE_NOT_ALLOWED")
}
