package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	s := newSuite(t)
	client := s.client(true)
	ready := func() answer { return s.do(client, s.request("GET", "/readyz", "", "Authorization", "")) }
	require.Eventually(t, func() bool { return ready().status == http.StatusOK }, 20*time.Second, 100*time.Millisecond)
	require.JSONEq(t, `{"status":"ready"}`, string(ready().body))

	s.stopUpstream[accessv1.Service_SERVICE_BACKUP]()
	require.Eventually(t, func() bool { return ready().status == http.StatusServiceUnavailable }, 20*time.Second, 100*time.Millisecond)
	got := ready()
	require.JSONEq(t, `{"status":"not ready","missing":["backup"]}`, string(got.body))
	require.Equal(t, http.StatusOK, s.call("GET", "/healthz", "").status, "one that waits for others must not be restarted")
}

// A stop signal lets the request that runs finish, and takes no new one.
func TestDrainFinishesOpenRequests(t *testing.T) {
	s := newSuite(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	s.records.get = func(_ context.Context, r *recordsv1.GetPatientRequest) (*recordsv1.Patient, error) {
		close(entered)
		<-leave
		return &recordsv1.Patient{Name: r.GetName()}, nil
	}
	client, request := s.client(true), s.request("GET", "/v1/"+somePatient, "")
	got := make(chan answer, 1)
	go func() { got <- s.do(client, request) }()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	other := s.client(true)
	require.Eventually(t, func() bool {
		response, err := other.Do(s.request("GET", "/healthz", ""))
		if err == nil {
			_ = response.Body.Close()
			other.CloseIdleConnections()
		}
		return err != nil
	}, 10*time.Second, 20*time.Millisecond)
	close(leave)
	require.Equal(t, http.StatusOK, (<-got).status)
	require.NoError(t, <-stopped)
}

func TestExampleConfigurationLoads(t *testing.T) {
	var settings Settings
	require.NoError(t, config.Load("config/gateway.example.yaml", &settings))
	require.Equal(t, edge.Strict, settings.TLS.Profile)
	require.Equal(t, settings.TrustDomain, settings.Mesh.TrustDomain)

	// The example shows the defaults.
	var defaults edge.Limits
	require.NoError(t, defaults.Validate())
	require.Equal(t, defaults, settings.Limits)
}

func TestBadConfigurationIsRefused(t *testing.T) {
	raw, err := os.ReadFile("config/gateway.example.yaml")
	require.NoError(t, err)
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key":    {"upstreams:", "upstream:", `unknown key "upstream"`},
		"no upstream":    {"  backup: backup:8104\n", "", "upstreams.backup: this setting is required"},
		"profile":        {"profile: strict", "profile: legacy", "use strict or compat"},
		"proxy":          {"trusted_proxies: []", "trusted_proxies: [10.0.0.1]", "is not a network"},
		"any origin":     {"allowed_origins: []", "allowed_origins: ['*']", "is not an origin"},
		"plain origin":   {"allowed_origins: []", "allowed_origins: ['http://a.example']", "is not an origin"},
		"origin path":    {"allowed_origins: []", "allowed_origins: ['https://a.example/']", "is not an origin"},
		"negative limit": {"body_seconds: 30", "body_seconds: -1", "body_seconds is -1"},
		"no contact":     {"  contacts:\n    - mailto:security@carekeep.example\n", "", "disclosure.contacts: this setting is required"},
		"a phone":        {"mailto:security@carekeep.example", "security@carekeep.example", "disclosure.contacts"},
		"two lines":      {"mailto:security@carekeep.example", `"mailto:a@b.example\nExpires: never"`, "disclosure.contacts"},
		"no review":      {"  reviewed: 2026-11-27\n", "", "disclosure.reviewed: this setting is required"},
		"some review":    {"reviewed: 2026-11-27", "reviewed: lately", "disclosure.reviewed"},
		"plain page":     {"url: https://api", "url: http://api", "disclosure.url"},
		"no language":    {"languages: [en]", "languages: [English please]", "disclosure.languages"},
		"no certificate": {"  certificate: pki/edge.crt\n", "", "tls.certificate: this setting is required"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, string(raw), c.old)
			path := filepath.Join(t.TempDir(), "gateway.yaml")
			require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(raw), c.old, c.new, 1)), 0o600))
			var settings Settings
			require.ErrorContains(t, config.Load(path, &settings), c.want)
		})
	}
}

func TestHealthAnswersAreJSON(t *testing.T) {
	s := newSuite(t)
	got := s.call("GET", "/healthz", "", "Authorization", "")
	require.Equal(t, http.StatusOK, got.status)
	require.True(t, json.Valid(got.body))
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
}
