package app_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/caller"
)

// fuzzedHeaders are those that FHIR's HTTP reads, in the order of the seeds.
var fuzzedHeaders = []string{"Content-Type", "Accept", "If-Match", "If-None-Exist", "If-None-Match", "Prefer"}

// FuzzFHIR sends anything over HTTP to a service that has a patient: it never fails by itself, and whatever it
// refuses it refuses with an OperationOutcome. {patient} and {note} stand for the ids of what is there.
func FuzzFHIR(f *testing.F) {
	h := newHouse(f)
	doctor := h.doctor()
	there := h.file(doctor)
	fill := strings.NewReplacer("{patient}", there.patientID, "{note}", there.noteID)
	const entry = `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"`
	for _, seed := range [][]string{ // method, path, body, headers
		{"GET", "/metadata", ""}, {"GET", "/.well-known/smart-configuration", ""},
		{"GET", "/Patient/{patient}", "", "", "application/fhir+json;q=0.5, */*", "", "", `W/"1"`},
		{"GET", "/Patient/{patient}?_format=xml", ""}, {"GET", "/Patient/{patient}/_history?_count=1&_page=zz", ""},
		{"GET", "/Patient/{patient}/_history/99999999999999999999", ""}, {"HEAD", "/Patient/{patient}", ""},
		{"GET", "/Patient/{patient}/$everything?_type=Patient,Observation&_since=2026-01-01T00:00:00Z&_count=2", ""},
		{"GET", "/Patient/{patient}/$everything?_page=AAAA", ""}, {"GET", "/Patient/%00/%2e%2e//x", ""}, {"GET", "/Patient?name=x", ""},
		{"GET", "/Observation/_search?page=AAAA", ""}, {"GET", "/Patient/$export?_type=Patient&_typeFilter=x", "", "", "", "", "", "", "respond-async"},
		{"POST", "/Patient/_search", `identifier=urn:s|A\,1&_count=3`, "application/x-www-form-urlencoded"},
		{"POST", "/Observation/_search", "patient={patient}&code=a|b&_page=%ff", "application/x-www-form-urlencoded"},
		{"POST", "/Patient", `{"resourceType":"Patient","name":[{"family":"Ng"}]}`, fhirType, "", "", "identifier=urn:s|1", "", "return=minimal"},
		{"POST", "/Observation", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/{patient}"}}`, fhirType},
		{"POST", "/Patient", "{\"resourceType\":\"Patient\",\"id\":\"\u0000\"}", fhirType}, {"POST", "/Patient", `<Patient/>`, "application/fhir+xml"},
		{"POST", "/Patient", `{"resourceType":"Patient","resourceType":"Patient"}`, "application/json; charset=latin1"},
		{"PUT", "/Patient/{patient}", `{"resourceType":"Patient","id":"{patient}","birthDate":"1980-02-29"}`, fhirType, "", `W/"1"`},
		{"PUT", "/Patient/{patient}", `{"resourceType":"Patient","id":"x"}`, fhirType, "", "*"},
		{"PATCH", "/DocumentReference/{note}", `[{"op":"add","path":"/language","value":"de"}]`, "application/json-patch+json", "", `W/"1"`},
		{"PATCH", "/DocumentReference/{note}", `[{"op":"move","from":"/a","path":"/a/b"}]`, "application/json-patch+json", "", `"-1"`},
		{"DELETE", "/Patient/x", "", "", "", `W/"0"`}, {"OPTIONS", "/", ""}, {"POST", "", `{"resourceType":"Bundle","type":"transaction"}`, fhirType},
		{"POST", "", entry + `GET","url":"Patient/{patient}"}},{"request":{"method":"PUT","url":"//%"}}]}`, fhirType},
		{"POST", "", reads("batch", slices.Repeat([]string{"Patient/{patient}", "DocumentReference/{note}"}, 20)...), fhirType},
		{"POST", "", reads("transaction", slices.Repeat([]string{"DocumentReference/{note}/_history/1"}, 20)...), fhirType},
		{"PATCH", "/DocumentReference/{note}", `[` + strings.Repeat(`{"op":"copy","from":"/content","path":"/content/0/x"},`, 20) + `{"op":"remove","path":"/x"}]`, "application/json-patch+json", "", `W/"1"`},
		{"POST", "/Patient/_search", strings.Repeat("birthdate=1980-02-29&", 70) + strings.Repeat("family=a&", 50) + strings.Repeat("given=b&", 48), "application/x-www-form-urlencoded"},
		{"POST", "", entry + `PATCH","url":"Patient/{patient}","ifMatch":"x"},"resource":{"resourceType":"Binary","data":"W10="}}]}`, fhirType},
	} {
		seed = append(seed, make([]string, 3+len(fuzzedHeaders)-len(seed))...)
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7], seed[8])
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: street.gateway.ClientTLS(accessv1.Service_SERVICE_RECORDS), Protocols: protocols}
	defer transport.CloseIdleConnections()
	f.Fuzz(func(t *testing.T, method, path, body, h0, h1, h2, h3, h4, h5 string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		target, err := url.Parse("https://" + h.web + "/fhir/R4" + fill.Replace(path))
		if err != nil || target.Host != h.web {
			t.Skip("no URL")
		}
		request, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(fill.Replace(body)))
		if err != nil || method == http.MethodConnect {
			t.Skip("no request")
		}
		for i, value := range []string{h0, h1, h2, h3, h4, h5} {
			if value != "" {
				request.Header.Set(fuzzedHeaders[i], value)
			}
		}
		token, err := street.signer.Sign(doctor.Caller, h.now())
		require.NoError(t, err)
		request.Header.Set(caller.MetadataKey, token)
		response, err := transport.RoundTrip(request)
		if err != nil && strings.Contains(err.Error(), "invalid header field value") {
			t.Skip("no request")
		}
		require.NoError(t, err) // a panic of the handler ends the stream
		defer func() { _ = response.Body.Close() }()
		raw, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Less(t, response.StatusCode, 500, "%s", raw)
		if response.StatusCode < 400 || method == http.MethodHead {
			return
		}
		require.Equal(t, fhirType+"; charset=utf-8", response.Header.Get("Content-Type"))
		require.True(t, gjson.ValidBytes(raw), "%s", raw)
		for _, path := range []string{"issue.0.severity", "issue.0.code", "issue.0.details.text"} {
			require.NotEmpty(t, gjson.GetBytes(raw, path).Str, "%s %s", path, raw)
		}
		require.Equal(t, "OperationOutcome", gjson.GetBytes(raw, "resourceType").Str)
	})
}
