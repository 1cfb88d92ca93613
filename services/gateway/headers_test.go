package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/gateway/rest"
)

func requireSecure(t *testing.T, what string, h http.Header) {
	t.Helper()
	for name, want := range map[string]string{
		"Strict-Transport-Security":    "max-age=31536000; includeSubDomains",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cache-Control":                "no-store",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		require.Equal(t, []string{want}, h.Values(name), "%s: %s", what, name)
	}
	policy := h.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'", what)
	require.Contains(t, policy, "frame-ancestors 'none'", what)
	require.NotContains(t, policy, "unsafe", what)
	require.Empty(t, h.Values("Server"), what)
	require.Empty(t, h.Values("Access-Control-Allow-Origin"), what)
	for name := range h {
		require.False(t, strings.HasPrefix(name, "Grpc-"), "%s: %s", what, name)
	}
}

func TestDC21_SecurityHeadersOnEveryAnswer(t *testing.T) {
	s := newSuite(t)
	s.records.get = func(_ context.Context, r *recordsv1.GetPatientRequest) (*recordsv1.Patient, error) {
		if strings.Contains(r.GetName(), "00000000") {
			panic("a patient's name")
		}
		return &recordsv1.Patient{Name: r.GetName()}, nil
	}
	s.backup.create = nil // makes the handler panic inside the service
	s.records.load = func(stream recordsv1.RecordsService_ImportBundleServer) error {
		return stream.Send(&recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Result{Result: &recordsv1.ImportProgress{}}})
	}
	client := s.client(true)
	routes, err := rest.Routes()
	require.NoError(t, err)
	for _, route := range routes {
		body := ""
		if route.Method == http.MethodPost || route.Method == http.MethodPatch {
			body = "{}"
		}
		got := s.do(client, s.request(route.Method, pathOf(route.Template), body))
		requireSecure(t, route.Pattern(), got.header)
		got = s.do(client, s.request(route.Method, pathOf(route.Template), body, "Authorization", ""))
		requireSecure(t, route.Pattern()+" without a session", got.header)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/", "", 200}, {"GET", "/docs", "", 200}, {"GET", "/docs/docs.js", "", 200}, {"GET", "/openapi.json", "", 200},
		{"GET", "/docs/swagger-ui-bundle.js", "", 200}, {"GET", "/healthz", "", 200}, {"GET", "/nowhere", "", 404},
		{"PUT", "/v1/self", "", 405}, {"POST", "/docs", "{}", 404}, {"BREW", "/v1/self", "", 405}, {"OPTIONS", "/v1/self", "", 405},
		{"POST", "/v1/patients:search", "{", 400}, {"GET", "/v1/self?x=1", "", 400}, {"GET", "/v1/patients/%ff", "", 400},
		{"GET", "/v1/patients/00000000-0000-0000-0000-000000000000", "", 500},
		{"POST", "/v1/patients:search", `"` + strings.Repeat("x", 2<<20) + `"`, 413},
	} {
		got := s.do(client, s.request(c.method, c.path, c.body))
		require.Equal(t, c.status, got.status, "%s %s: %.200s", c.method, c.path, got.body)
		requireSecure(t, c.method+" "+c.path, got.header)
		require.NotContains(t, string(got.body), "a patient's name")
	}
}

// What a client writes into headers never becomes gRPC metadata (ASVS 4.1.3).
func TestClientMetadataIsStripped(t *testing.T) {
	s := newSuite(t)
	forged, err := s.signer.Sign(caller.Caller{
		User: uuid.New(), Session: uuid.New(), Username: "forged", Audience: accessv1.Service_SERVICE_RECORDS,
		Role: accessv1.RoleKind_ROLE_KIND_SUPERADMIN, Assurance: accessv1.Assurance_ASSURANCE_AAL2,
		Purpose: accessv1.Purpose_PURPOSE_TREATMENT,
	}, time.Now())
	require.NoError(t, err)
	var who string
	s.records.get = func(ctx context.Context, r *recordsv1.GetPatientRequest) (*recordsv1.Patient, error) {
		c, _ := caller.From(ctx)
		who = c.Username
		return &recordsv1.Patient{Name: r.GetName()}, nil
	}
	headers := []string{
		"Grpc-Metadata-Carekeep-Caller", forged, "Carekeep-Caller", forged, "Grpc-Metadata-X-Forwarded-For", "6.6.6.6",
		"X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "evil.example", "Forwarded", "for=6.6.6.6", "Cookie", "a=b",
		"Grpc-Timeout", "1n", "X-Http-Method-Override", "DELETE", "Grpc-Metadata-Grpcgateway-Cookie", "x", "X-Anything", "y",
		"Te", "trailers",
	}
	got := s.call("GET", "/v1/"+somePatient, "", headers...)
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.Equal(t, "dr.smith", who)
	require.Len(t, s.records.seen.Get(caller.MetadataKey), 1)
	for key := range s.records.seen {
		switch key {
		case ":authority", "content-type", "user-agent", "grpc-accept-encoding", "traceparent", caller.MetadataKey:
		default:
			t.Errorf("metadata %q reached the service", key)
		}
	}
	require.NotContains(t, s.records.seen.Get("user-agent")[0], "Go-http-client")

	// Without a session of one's own, a forged caller token opens nothing.
	headers = append(headers, "Authorization", "")
	require.Equal(t, http.StatusUnauthorized, s.call("GET", "/v1/"+somePatient, "", headers...).status)
}

func TestForwardedAddressNeedsATrustedProxy(t *testing.T) {
	const chain = "6.6.6.6, 203.0.113.7, 10.1.2.3"
	for name, c := range map[string]struct {
		trusted []string
		header  string
		want    string
	}{
		"nobody trusted":       {nil, chain, "127.0.0.1"},
		"other proxy trusted":  {[]string{"10.0.0.0/8"}, chain, "127.0.0.1"},
		"right-most untrusted": {[]string{"127.0.0.0/8", "10.0.0.0/8"}, chain, "203.0.113.7"},
		"nearest only":         {[]string{"127.0.0.0/8"}, chain, "10.1.2.3"},
		"with port":            {[]string{"127.0.0.0/8"}, "[2001:db8::1]:443", "2001:db8::1"},
		"nonsense":             {[]string{"127.0.0.0/8"}, "6.6.6.6, unknown", "127.0.0.1"},
		"none":                 {[]string{"127.0.0.0/8"}, "", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t, func(c2 *Settings) { c2.TrustedProxies = c.trusted })
			s.call("GET", "/v1/self", "", "X-Forwarded-For", c.header)
			admits := s.auth.admitted()
			require.Len(t, admits, 1)
			require.Equal(t, c.want, admits[0].GetClient().GetAddress())
		})
	}
}

func TestCORSIsOffUnlessConfigured(t *testing.T) {
	const origin = "https://app.clinic.example"
	preflight := []string{"Origin", origin, "Access-Control-Request-Method", "GET", "Authorization", ""}
	s := newSuite(t)
	got := s.call("OPTIONS", "/v1/self", "", preflight...)
	require.Equal(t, http.StatusMethodNotAllowed, got.status)
	require.Empty(t, got.header.Get("Access-Control-Allow-Origin"))

	s = newSuite(t, func(c *Settings) { c.AllowedOrigins = []string{origin} })
	got = s.call("OPTIONS", "/v1/self", "", preflight...)
	require.Equal(t, http.StatusNoContent, got.status)
	require.Equal(t, origin, got.header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, got.header.Get("Access-Control-Allow-Credentials"))
	require.Contains(t, got.header.Get("Access-Control-Allow-Headers"), "Authorization")
	require.Contains(t, got.header.Get("Access-Control-Allow-Headers"), "X-Device-Token")
	require.NotContains(t, got.header.Get("Access-Control-Allow-Headers"), "X-Session-Transport")
	got = s.call("GET", "/v1/"+somePatient, "", "Origin", origin)
	require.Equal(t, origin, got.header.Get("Access-Control-Allow-Origin"))
	got = s.call("GET", "/v1/"+somePatient, "", "Origin", "https://evil.example")
	require.Empty(t, got.header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "Origin", got.header.Get("Vary"))
}
