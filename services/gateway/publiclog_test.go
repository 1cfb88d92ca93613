package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// The log is public: no session is asked for, nobody is admitted, and nothing that the client sent goes on.
func TestTheLogIsReadWithoutASession(t *testing.T) {
	s := newSuite(t)
	var seen []*http.Request
	s.tiles = func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r)
		if strings.HasSuffix(r.URL.Path, "/404") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Header().Set("X-Inside", "1")
		_, _ = w.Write(make([]byte, 8192))
	}
	for _, path := range []string{"checkpoint", "tile/0/x001/000.p/7", "tile/entries/000"} {
		got := s.call("GET", "/v1/log/"+path, "", "Authorization", "", "Cookie", "__Host-carekeep-session=x")
		require.Equal(t, 200, got.status, path)
		require.Len(t, got.body, 8192)
		require.Equal(t, "application/octet-stream", got.header.Get("Content-Type"))
		require.Equal(t, "public, max-age=31536000, immutable", got.header.Get("Cache-Control"))
		require.Empty(t, got.header.Get("X-Inside"))
		last := seen[len(seen)-1]
		require.Equal(t, "/"+path, last.URL.Path)
		require.Empty(t, last.Header.Get("Cookie"))
		require.Empty(t, last.Header.Get("Accept-Encoding"))
	}
	require.Empty(t, s.auth.admitted())
	require.Equal(t, 200, s.call("HEAD", "/v1/log/tile/0/000", "").status)
	got := s.call("GET", "/v1/log/tile/0/404", "")
	require.Equal(t, 404, got.status)
	require.Equal(t, "TILE_NOT_FOUND", got.reason(t))
	require.Equal(t, "no-store", got.header.Get("Cache-Control"), "what is missing now may be there soon")

	asked := len(seen)
	for path, reason := range map[string]string{"/v1/log/": "ROUTE_UNKNOWN", "/v1/log/metrics": "ROUTE_UNKNOWN", "/v1/log/checkpoint?x=1": "PARAMETER_UNKNOWN"} {
		require.Equal(t, reason, s.call("GET", path, "").reason(t), path)
	}
	require.Equal(t, "METHOD_NOT_ALLOWED", s.call("POST", "/v1/log/checkpoint", "{}").reason(t))
	require.Len(t, seen, asked)

	requests := s.logs.requests(t)
	require.Equal(t, "/v1/log/tile/{level}/{index}", requests[1]["route"])

	s.stopUpstream[accessv1.Service_SERVICE_AUDIT]()
	got = s.call("GET", "/v1/log/checkpoint", "")
	require.Equal(t, 503, got.status)
	require.Equal(t, "DEPENDENCY_UNAVAILABLE", got.reason(t))
}

// One client cannot read the log faster than it may, and the others go on meanwhile.
func TestTheLogIsLimitedByNetwork(t *testing.T) {
	s := newSuite(t, func(settings *Settings) {
		settings.Limits.LogPerSecond = 1
		settings.TrustedProxies = []string{"127.0.0.1/32"}
	})
	s.tiles = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }
	from := func(address string) answer {
		return s.call("GET", "/v1/log/checkpoint", "", "X-Forwarded-For", address)
	}
	var limited answer
	for i := range 30 { // each from another address, but all within the limit of everybody
		if limited = from(fmt.Sprintf("2001:db8::%x", i+1)); limited.status != 200 {
			break
		}
	}
	require.Equal(t, 429, limited.status, "addresses of one /64 are one client")
	require.Equal(t, "LOG_LIMITED", limited.reason(t))
	require.NotEmpty(t, limited.header.Get("Retry-After"))
	require.Equal(t, 200, from("2001:db8:0:1::1").status)
}

// Where the operator names no address, there is no public log.
func TestWithoutAnUpstreamThereIsNoPublicLog(t *testing.T) {
	s := newSuite(t, func(settings *Settings) { settings.Upstreams.Log = "" })
	require.Equal(t, "ROUTE_UNKNOWN", s.call("GET", "/v1/log/checkpoint", "").reason(t))
}
