package main

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// One log line for each request, denied and failed ones included, and in none of
// them the token, an id, a query or a body.
func TestDTD07_EveryRequestIsLoggedOnceAndNothingOfIt(t *testing.T) {
	s := newSuite(t)
	s.records.get = func(_ context.Context, r *recordsv1.GetPatientRequest) (*recordsv1.Patient, error) {
		if strings.HasSuffix(r.GetName(), "dead") {
			panic("Jane Roe")
		}
		return &recordsv1.Patient{Name: r.GetName(), FamilyName: "Zebedee"}, nil
	}
	const secret = "hunter2-hunter2"
	patient := uuid.NewString()
	client := s.client(true)
	want := 0
	for _, c := range []struct {
		method, path, body, route string
		status                    float64
		headers                   []string
	}{
		{"GET", "/v1/patients/" + patient, "", "/v1/{name=patients/*}", 200, nil},
		{"GET", "/v1/patients/" + patient, "", "/v1/{name=patients/*}", 401, []string{"Authorization", ""}},
		{"GET", "/v1/patients/" + patient[:32] + "dead", "", "/v1/{name=patients/*}", 500, nil},
		{"GET", "/v1/patients/" + patient + "/notes?pageToken=" + secret, "", "/v1/{parent=patients/*}/notes", 501, nil},
		{"POST", "/v1/patients:search", `{"phone":"` + secret + `"}`, "/v1/patients:search", 200, nil},
		{"POST", "/v1/patients:search", `{"` + secret + `":1}`, "/v1/patients:search", 400, nil},
		{"POST", "/v1/auth:signIn", `{"username":"zebedee","password":"` + secret + `"}`, "/v1/auth:signIn", 200, nil},
		{"GET", "/v1/nothing/" + patient, "", "unmatched", 404, nil},
		{"GET", "/healthz", "", "/healthz", 200, nil},
	} {
		got := s.do(client, s.request(c.method, c.path, c.body, c.headers...))
		require.EqualValues(t, c.status, got.status, "%s %s: %s", c.method, c.path, got.body)
		want++
		entries := s.logs.requests(t)
		require.Len(t, entries, want)
		last := entries[want-1]
		require.Equal(t, c.route, last["route"])
		require.Equal(t, c.status, last["status"])
		require.Equal(t, c.method, last["method"])
		require.Equal(t, "127.0.0.1", last["address"])
		require.Equal(t, got.status >= http.StatusBadRequest, last["reason"] != "", "%v", last)
	}
	logs := s.logs.String()
	for _, leak := range []string{sessionToken, secret, patient, "Zebedee", "zebedee", "Jane Roe", "Bearer"} {
		require.NotContains(t, logs, leak)
	}
}
