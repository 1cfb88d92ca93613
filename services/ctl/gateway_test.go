package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/ctl/internal/session"
)

const (
	testToken    = "test-session-token-5f1c"
	testPassword = "correct horse battery"
	testCode     = "314159"
)

// gateway answers in the gateway's shapes over real TLS; tests fill in the routes.
type gateway struct {
	*http.ServeMux
	url, ca, session string
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{ServeMux: http.NewServeMux()}
	server := httptest.NewUnstartedServer(g.ServeMux)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	server.StartTLS()
	t.Cleanup(server.Close)
	g.url = server.URL
	g.ca = write(t, "ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	g.session = filepath.Join(t.TempDir(), "carekeep", "session.json")
	return g
}

// signedIn is a gateway with a session in its file.
func signedIn(t *testing.T) *gateway {
	t.Helper()
	g := newGateway(t)
	require.NoError(t, session.Save(g.session, session.Session{
		URL: g.url, Authority: g.ca, Username: "dr.smith", Token: testToken, Expires: time.Now().Add(time.Hour),
	}))
	return g
}

// run runs a command with the gateway's session file.
func (g *gateway) run(t *testing.T, stdin string, args ...string) ran {
	t.Helper()
	return carekeep(t, stdin, append(args, "--session", g.session)...)
}

// on serves a route for whoever has the session.
func (g *gateway) on(t *testing.T, route string, serve http.HandlerFunc) {
	t.Helper()
	g.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+testToken {
			fail(w, http.StatusUnauthorized, errs.New(errs.KindUnauthenticated, "SESSION_INVALID", "the session has ended"))
			return
		}
		serve(w, r)
	})
}

func answer(w http.ResponseWriter, m proto.Message) {
	raw, _ := protojson.Marshal(m)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw)
}

func fail(w http.ResponseWriter, code int, err error) {
	raw, _ := protojson.Marshal(errs.Status(err).Proto())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(raw)
}

// results writes a server stream; err, where it is not nil, breaks it off.
func results(w http.ResponseWriter, err error, items ...proto.Message) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	for _, m := range items {
		raw, _ := protojson.Marshal(m)
		line, _ := json.Marshal(map[string]json.RawMessage{"result": raw})
		_, _ = w.Write(append(line, '\n'))
	}
	if err != nil {
		writeError(w, err)
	}
}

func writeError(w io.Writer, err error) {
	raw, _ := protojson.Marshal(errs.Status(err).Proto())
	line, _ := json.Marshal(map[string]json.RawMessage{"error": raw})
	_, _ = w.Write(append(line, '\n'))
}

// take reads a request's body strictly, as the gateway does.
func take(t *testing.T, r *http.Request, into proto.Message) bool {
	raw, err := io.ReadAll(r.Body)
	return noError(t, err) && noError(t, protojson.Unmarshal(raw, into))
}

// noError is for handlers, which do not run in the test's goroutine.
func noError(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// onSignIn serves sign-ins and sign-outs, and tells which tokens were signed out.
func (g *gateway) onSignIn(t *testing.T, step authv1.NextStep) *[]string {
	t.Helper()
	var ended []string
	g.HandleFunc("POST /v1/auth:signIn", func(w http.ResponseWriter, r *http.Request) {
		var got authv1.SignInRequest
		if !take(t, r, &got) {
			return
		}
		if got.GetUsername() != "dr.smith" || got.GetPassword() != testPassword || (got.GetTotpCode() != testCode && step == authv1.NextStep_NEXT_STEP_NONE) {
			fail(w, http.StatusUnauthorized, errs.New(errs.KindUnauthenticated, "SIGN_IN_FAILED", "name, password or code is wrong"))
			return
		}
		answer(w, &authv1.SignInResponse{
			SessionToken: testToken, NextStep: step, User: "users/01234567-89ab-7def-8123-456789abcdef",
			IdleExpireTime: timestamppb.New(time.Now().Add(15 * time.Minute)), ExpireTime: timestamppb.New(time.Now().Add(12 * time.Hour)),
		})
	})
	g.HandleFunc("POST /v1/auth:signOut", func(w http.ResponseWriter, r *http.Request) {
		ended = append(ended, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		answer(w, &authv1.SignOutResponse{})
	})
	return &ended
}

// secretless fails where a secret was shown.
func (r ran) secretless(t *testing.T) ran {
	t.Helper()
	for _, secret := range []string{testToken, testPassword, testCode} {
		require.NotContains(t, r.out+r.err, secret)
	}
	return r
}
