package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDMD09_OversizeAnswers413(t *testing.T) {
	s := newSuite(t)
	big := `{"phone":"` + strings.Repeat("5", 10<<20) + `"}`
	for _, http2 := range []bool{true, false} {
		client := s.client(http2)
		for name, reader := range map[string]io.Reader{
			"with length": strings.NewReader(big),
			// A reader of unknown length is sent in chunks, or without a length over HTTP/2.
			"without length": io.MultiReader(strings.NewReader(big)),
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/patients:search", reader)
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+sessionToken)
			got := s.do(client, r)
			require.Equal(t, http.StatusRequestEntityTooLarge, got.status, "http2=%v %s: %s", http2, name, got.body)
			require.Equal(t, "BODY_TOO_LARGE", got.reason(t))
		}
	}
	// A client that asks first is refused before it sends.
	sent := &counter{Reader: strings.NewReader(big)}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/patients:search", sent)
	require.NoError(t, err)
	r.ContentLength = int64(len(big))
	r.Header = http.Header{"Expect": {"100-continue"}, "Content-Type": {"application/json"}, "Authorization": {"Bearer " + sessionToken}}
	client := s.client(false)
	client.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	require.Equal(t, http.StatusRequestEntityTooLarge, s.do(client, r).status)
	require.Zero(t, sent.n)

	require.Empty(t, s.auth.admitted(), "no call may start on half a body")
	almost := `{"phone":"` + strings.Repeat("5", 1<<20-12) + `"}`
	require.Len(t, almost, 1<<20)
	require.Equal(t, "REQUEST_INVALID", s.call("POST", "/v1/patients:search", almost).reason(t), "1 MiB is taken, and refused by the service")
}

type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// Errors say where, and never repeat what: it may be patient data.
func TestMalformedBodiesAreRefusedWithoutEcho(t *testing.T) {
	s := newSuite(t)
	client := s.client(true)
	const canary = "Zebedee"
	for name, c := range map[string]struct{ body, want string }{
		"invalid UTF-8":     {"{\"phone\":\"" + canary + "\xff\"}", "byte 17: not valid UTF-8"},
		"escaped surrogate": {`{"phone":"` + canary + `\ud800"}`, "invalid character"},
		"unknown field":     {`{"phone":"555-1234","` + canary + `":1}`, "line 1, column 21: unknown field"},
		"wrong type":        {`{"phone":{"` + canary + `":1}}`, "line 1, column"},
		"number for string": {`{"phone":5551234}`, "field phone has the wrong type"},
		"bad number":        {`{"pageSize":"` + canary + `"}`, "field pageSize has the wrong type"},
		"two of a oneof":    {`{"phone":"` + canary + `","name":{}}`, "only one may be set"},
		"duplicate":         {`{"phone":"` + canary + `","phone":"x"}`, "a field stands twice"},
		"no JSON":           {canary, "not valid JSON"},
		"cut short":         {`{"phone":"` + canary, "cut short"},
		"two values":        {`{"phone":"555-1234"} {"x":"` + canary + `"}`, "not valid JSON"},
		"array":             {`["` + canary + `"]`, "not valid JSON"},
		"deep":              {strings.Repeat(`{"name":`, 100) + `"` + canary + `"` + strings.Repeat("}", 100), "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.do(client, s.request("POST", "/v1/patients:search", c.body))
			require.Equal(t, http.StatusBadRequest, got.status, "%s", got.body)
			require.Equal(t, "BODY_MALFORMED", got.reason(t))
			require.Contains(t, string(got.body), c.want)
			require.NotContains(t, string(got.body), canary)
		})
	}
	require.Empty(t, s.auth.admitted())
	require.NotContains(t, s.logs.String(), canary)

	// The same holds where the body is one field of the request.
	got := s.call("PATCH", "/v1/"+somePatient, `{"birthDate":7,"familyName":"`+canary+`"}`)
	require.Equal(t, "BODY_MALFORMED", got.reason(t))
	require.Contains(t, string(got.body), "field birthDate")
	require.NotContains(t, string(got.body), canary)
}

func TestBadParametersAreRefusedWithoutEcho(t *testing.T) {
	s := newSuite(t)
	client := s.client(true)
	const canary = "Zebedee"
	for name, c := range map[string]struct{ path, reason string }{
		"unknown":       {"/v1/patients?" + canary + "=1", "PARAMETER_UNKNOWN"},
		"unknown value": {"/v1/patients?filter=" + canary, "PARAMETER_UNKNOWN"},
		"wrong type":    {"/v1/patients?pageSize=" + canary, "PARAMETER_MALFORMED"},
		"twice":         {"/v1/patients?pageSize=1&pageSize=2", "PARAMETER_MALFORMED"},
		"invalid UTF-8": {"/v1/patients?pageToken=%ff", "PARAMETER_MALFORMED"},
		"escape":        {"/v1/patients?pageToken=%zz", "PARAMETER_MALFORMED"},
		"path type":     {"/v1/audit/entries/" + canary, "PARAMETER_MALFORMED"},
		"path UTF-8":    {"/v1/patients/%ff", "PARAMETER_MALFORMED"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.request("GET", "/v1/patients", "")
			path, query, _ := strings.Cut(c.path, "?")
			r.URL.Opaque, r.URL.RawQuery = "//"+s.addr+path, query
			got := s.do(client, r)
			require.Equal(t, http.StatusBadRequest, got.status, "%s", got.body)
			require.Equal(t, c.reason, got.reason(t))
			require.NotContains(t, string(got.body), canary)
		})
	}
	require.NotContains(t, s.logs.String(), canary)
}

func TestOtherContentTypesAreRefused(t *testing.T) {
	s := newSuite(t)
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/fhir+json"} {
		got := s.call("POST", "/v1/patients:search", `{"phone":"555-1234"}`, "Content-Type", kind)
		require.Equal(t, http.StatusUnsupportedMediaType, got.status, kind)
		require.Equal(t, "BODY_TYPE_UNSUPPORTED", got.reason(t))
	}
	got := s.call("POST", "/v1/patients:search", `{"phone":"555-1234"}`, "Content-Type", "application/json; charset=UTF-8")
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
}

func TestDMD09_HTMLIsEscaped(t *testing.T) {
	s := newSuite(t)
	got := s.call("GET", "/v1/"+somePatient, "")
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.NotContains(t, string(got.body), "<b>")
	require.NotContains(t, string(got.body), "& Sons")
	var patient struct{ FamilyName string }
	require.NoError(t, json.Unmarshal(got.body, &patient))
	require.Equal(t, "<b>O'Neil & Sons</b>", patient.FamilyName)
}

// Raw FHIR comes byte for byte, with its own type and nothing that lets a browser run it.
func TestRawFHIRPassesThrough(t *testing.T) {
	s := newSuite(t)
	s.records.raw = []byte("{\"resourceType\":\"Observation\",  \"note\":\"<script>&\u2028\"}\n")
	got := s.call("GET", "/v1/fhir/Observation/"+strings.TrimPrefix(somePatient, "patients/"), "")
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.Equal(t, s.records.raw, got.body)
	require.Equal(t, "application/fhir+json", got.header.Get("Content-Type"))
	requireSecure(t, "FHIR", got.header)
}
