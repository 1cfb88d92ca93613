package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/gateway/disclosure"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

// sessionToken is what the tests sign in with; no log may hold it.
const sessionToken = "test-session-token-5f1c"

// suite is a gateway over four real servers, built as the services build theirs,
// whose handlers the tests fill in.
type suite struct {
	t         *testing.T
	authority *ca.CA
	signer    *caller.Signer
	auth      *authHandlers
	messages  *messageHandlers
	records   *recordsHandlers
	rights    *rightsHandlers
	documents *documentHandlers
	backup    *backupHandlers

	vulnerabilities *vulnerabilityHandlers
	reading         *readingHandlers
	// fhir answers what goes to the FHIR API of records.
	fhir http.HandlerFunc
	// tiles answers for the public log of audit.
	tiles     http.HandlerFunc
	logs      *lockedBuffer
	url, addr string
	// stopUpstream stops a service; stop stops the gateway and returns what Serve returned.
	stopUpstream map[accessv1.Service]func()
	stop         func() error
}

func newSuite(t *testing.T, change ...func(*Settings)) *suite {
	t.Helper()
	s := &suite{
		t: t, authority: ca.ForTest(t), logs: &lockedBuffer{},
		records: &recordsHandlers{}, rights: &rightsHandlers{}, documents: &documentHandlers{}, backup: &backupHandlers{}, messages: &messageHandlers{}, reading: &readingHandlers{},
		vulnerabilities: &vulnerabilityHandlers{},
		stopUpstream:    map[accessv1.Service]func(){},
	}
	keys := s.makeSigner()
	s.auth = &authHandlers{signer: s.signer}
	var web, log *server.Server
	upstreams := Upstreams{
		Auth: s.upstream(accessv1.Service_SERVICE_AUTH, keys, func(srv *server.Server) {
			authv1.RegisterAuthServiceServer(srv, s.auth)
			authv1.RegisterMessageServiceServer(srv, s.messages)
		}),
		Records: s.upstream(accessv1.Service_SERVICE_RECORDS, keys, func(srv *server.Server) {
			recordsv1.RegisterRecordsServiceServer(srv, s.records)
			recordsv1.RegisterRightsServiceServer(srv, s.rights)
			require.NoError(t, srv.ServeHTTP(t.Context(), "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.fhir(w, r) })))
			web = srv
			recordsv1.RegisterDocumentServiceServer(srv, s.documents)
		}),
		Audit: s.upstream(accessv1.Service_SERVICE_AUDIT, keys, func(srv *server.Server) {
			auditv1.RegisterAuditServiceServer(srv, auditv1.UnimplementedAuditServiceServer{})
			auditv1.RegisterVulnerabilityServiceServer(srv, s.vulnerabilities)
			require.NoError(t, srv.ServeHTTP(t.Context(), "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.tiles(w, r) })))
			log = srv
			auditv1.RegisterDetectionServiceServer(srv, auditv1.UnimplementedDetectionServiceServer{})
			auditv1.RegisterReadingServiceServer(srv, s.reading)
			auditv1.RegisterLogReviewServiceServer(srv, auditv1.UnimplementedLogReviewServiceServer{})
		}),
		Backup: s.upstream(accessv1.Service_SERVICE_BACKUP, keys, func(srv *server.Server) {
			backupv1.RegisterBackupServiceServer(srv, s.backup)
		}),
	}
	upstreams.FHIR, upstreams.Log = web.HTTPAddr().String(), log.HTTPAddr().String()
	s.startGateway(upstreams, change)
	return s
}

func (s *suite) makeSigner() (keys string) {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(s.t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(s.t, err)
	folder := s.t.TempDir()
	keyFile := filepath.Join(folder, "signing.pem")
	require.NoError(s.t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	s.signer, err = caller.NewSigner(keyFile)
	require.NoError(s.t, err)
	var set bytes.Buffer
	require.NoError(s.t, caller.WriteJWKS(&set, public))
	keys = filepath.Join(folder, "keys.json")
	require.NoError(s.t, os.WriteFile(keys, set.Bytes(), 0o600))
	return keys
}

func (s *suite) upstream(service accessv1.Service, keys string, register func(*server.Server)) string {
	identity, err := s.authority.Source(access.ServiceName(service))
	require.NoError(s.t, err)
	srv, err := server.New(s.t.Context(), server.Config{
		Listen: "127.0.0.1:0", TrustDomain: s.authority.TrustDomain(), Callers: server.Callers{Keys: keys},
	}, server.Options{Service: service, Sink: &sink{}, Identity: identity, Log: slog.New(slog.DiscardHandler)})
	require.NoError(s.t, err)
	register(srv)
	stop := background(s.t, srv.Serve)
	s.stopUpstream[service] = func() { require.NoError(s.t, stop()) }
	return srv.Addr().String()
}

func (s *suite) startGateway(upstreams Upstreams, change []func(*Settings)) {
	files, err := s.authority.Issue("edge")
	require.NoError(s.t, err)
	mesh, err := s.authority.Issue("gateway")
	require.NoError(s.t, err)
	settings := Settings{
		Listen: "127.0.0.1:0", TrustDomain: s.authority.TrustDomain(), Mesh: mesh, Upstreams: upstreams,
		TLS: edge.TLS{Certificate: files.Certificate, Key: files.Key},
		Disclosure: disclosure.Config{
			URL: "https://api.test.example", Contacts: []string{"mailto:security@test.example", "https://test.example/security"},
			Languages: []string{"en", "de"}, Reviewed: time.Now().UTC().Format(time.DateOnly),
		},
	}
	for _, c := range change {
		c(&settings)
	}
	require.NoError(s.t, settings.TLS.Validate())
	require.NoError(s.t, settings.Limits.Validate())
	require.NoError(s.t, settings.Validate())
	identity, err := mtls.Load(settings.Mesh, nil)
	require.NoError(s.t, err)
	log := telemetry.NewLogger(s.logs, "gateway", slog.LevelDebug)
	gateway, err := NewGateway(s.t.Context(), settings, identity, log, time.Now)
	require.NoError(s.t, err)
	s.addr = gateway.Addr().String()
	s.url = "https://" + s.addr
	s.stop = background(s.t, gateway.Serve)
}

// background runs serve until the returned function, or the end of the test, stops it.
func background(t *testing.T, serve func(context.Context) error) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

func (s *suite) tlsConfig() *tls.Config {
	raw, err := os.ReadFile(s.authority.Authority())
	require.NoError(s.t, err)
	roots := x509.NewCertPool()
	require.True(s.t, roots.AppendCertsFromPEM(raw))
	return &tls.Config{RootCAs: roots}
}

// client speaks HTTP/2 or HTTP/1.1 only.
func (s *suite) client(http2 bool) *http.Client {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{TLSClientConfig: s.tlsConfig(), Protocols: protocols}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ignore closes what was only read from.
func ignore(close func() error) { _ = close() }

type answer struct {
	status int
	header http.Header
	body   []byte
}

// reason returns the stable reason of an error answer.
func (a answer) reason(t *testing.T) string {
	t.Helper()
	var st struct {
		Code    int
		Message string
		Details []struct {
			Type   string `json:"@type"`
			Reason string
			Domain string
		}
	}
	require.NoError(t, json.Unmarshal(a.body, &st), "%s", a.body)
	require.NotZero(t, st.Code, "%s", a.body)
	require.NotEmpty(t, st.Message)
	for _, d := range st.Details {
		if d.Type == "type.googleapis.com/google.rpc.ErrorInfo" {
			require.Equal(t, "carekeep", d.Domain)
			return d.Reason
		}
	}
	t.Fatalf("no ErrorInfo in %s", a.body)
	return ""
}

func (s *suite) request(method, path, body string, headers ...string) *http.Request {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, reader)
	require.NoError(s.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+sessionToken)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	return r
}

func (s *suite) do(client *http.Client, r *http.Request) answer {
	s.t.Helper()
	response, err := client.Do(r)
	require.NoError(s.t, err)
	defer ignore(response.Body.Close)
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return answer{response.StatusCode, response.Header, body}
}

// call makes a request over HTTP/2 with a session.
func (s *suite) call(method, path, body string, headers ...string) answer {
	s.t.Helper()
	return s.do(s.client(true), s.request(method, path, body, headers...))
}

// lockedBuffer takes the log lines of a server that is still running.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// requests returns the log lines of requests.
func (l *lockedBuffer) requests(t *testing.T) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(l.String()) {
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry))
		if entry["msg"] == "request" {
			found = append(found, entry)
		}
	}
	return found
}

var somePatient = "patients/" + uuid.NewString()
