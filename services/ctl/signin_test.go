package main

import (
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/ctl/internal/session"
)

func (g *gateway) signIn(t *testing.T, stdin string) ran {
	t.Helper()
	return g.run(t, stdin, "sign-in", "--url", g.url, "--ca", g.ca, "--username", "dr.smith")
}

func TestSignInKeepsTheSessionForItsOwnerAlone(t *testing.T) {
	g := newGateway(t)
	ended := g.onSignIn(t, authv1.NextStep_NEXT_STEP_NONE)
	got := g.signIn(t, testPassword+"\r\n"+testCode).secretless(t)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "signed in as dr.smith until")
	info, err := os.Stat(g.session)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(filepath.Dir(g.session))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	raw, err := os.ReadFile(g.session)
	require.NoError(t, err)
	require.NotContains(t, string(raw), testPassword)

	g.on(t, "POST /v1/audit/entries:list", func(w http.ResponseWriter, _ *http.Request) { answer(w, &auditv1.ListEntriesResponse{}) })
	require.Zero(t, g.run(t, "", "audit", "list").code, "the session is used")

	require.Zero(t, g.run(t, "", "sign-out").secretless(t).code)
	require.Equal(t, []string{testToken}, *ended)
	require.NoFileExists(t, g.session)
	got = g.run(t, "", "audit", "list")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "run carekeep sign-in")
}

func TestSignInLeavesNothingBehindWhereItFails(t *testing.T) {
	for name, c := range map[string]struct {
		stdin string
		step  authv1.NextStep
		want  string
		ended int
	}{
		"wrong code":       {testPassword + "\n000000\n", authv1.NextStep_NEXT_STEP_NONE, "SIGN_IN_FAILED", 0},
		"no password":      {"", authv1.NextStep_NEXT_STEP_NONE, "no password given", 0},
		"code missing":     {testPassword + "\n", authv1.NextStep_NEXT_STEP_VERIFY_TOTP, "the one-time code is missing", 1},
		"no factor as yet": {testPassword + "\n", authv1.NextStep_NEXT_STEP_ENROL_TOTP, "no one-time codes yet", 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			ended := g.onSignIn(t, c.step)
			got := g.signIn(t, c.stdin).secretless(t)
			require.Equal(t, failed, got.code)
			require.Contains(t, got.err, c.want)
			require.Len(t, *ended, c.ended, "a session that nothing can be done with is ended")
			require.NoFileExists(t, g.session)
		})
	}
}

func TestSignInTrustsTheNamedAuthorityOnly(t *testing.T) {
	g := newGateway(t)
	g.onSignIn(t, authv1.NextStep_NEXT_STEP_NONE)
	got := g.run(t, testPassword+"\n"+testCode+"\n", "sign-in", "--url", g.url, "--username", "dr.smith")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "--ca FILE")

	for want, url := range map[string]string{
		"not like https://": "http://127.0.0.1:8443",
		"is not like":       g.url + "/v1",
		"cannot be reached": "https://127.0.0.1:1",
	} {
		got := g.run(t, testPassword+"\n"+testCode+"\n", "sign-in", "--url", url, "--ca", g.ca, "--username", "dr.smith")
		require.Equal(t, failed, got.code)
		require.Contains(t, got.err, want)
	}
	got = g.run(t, "x\ny\n", "sign-in", "--url", g.url, "--ca", write(t, "empty.crt", nil), "--username", "dr.smith")
	require.Contains(t, got.err, "holds no certificate")
}

func TestDH04_CommandLineSpeaksTLS13Only(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := write(t, "ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	got := carekeep(t, "x\ny\n", "sign-in", "--url", server.URL, "--ca", ca, "--username", "dr.smith", "--session", filepath.Join(t.TempDir(), "s"))
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "protocol version")
}

func TestATokenGoesNowhereElse(t *testing.T) {
	g := signedIn(t)
	reached := false
	other := newGateway(t)
	other.HandleFunc("/", func(http.ResponseWriter, *http.Request) { reached = true })
	g.HandleFunc("POST /v1/audit/entries:list", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.url+"/v1/audit/entries:list", http.StatusTemporaryRedirect)
	})
	got := g.run(t, "", "audit", "list")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "is this a carekeep gateway?")
	require.False(t, reached)
}

func TestSessionsThatCannotBeUsed(t *testing.T) {
	kept := session.Session{URL: "https://127.0.0.1:1", Username: "dr.smith", Token: testToken, Expires: time.Now().Add(time.Hour)}
	over := kept
	over.Expires = time.Now().Add(-time.Hour)
	for want, prepare := range map[string]func(file string){
		"nobody is signed in":           func(string) {},
		"the session of dr.smith ended": func(file string) { require.NoError(t, session.Save(file, over)) },
		"others can read": func(file string) {
			require.NoError(t, session.Save(file, kept))
			require.NoError(t, os.Chmod(file, 0o640))
		},
		"is damaged": func(file string) { require.NoError(t, os.WriteFile(file, []byte(`{"token":"`+testToken), 0o600)) },
	} {
		t.Run(want, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "session.json")
			prepare(file)
			for _, args := range [][]string{{"audit", "list"}, {"audit", "export", "--out", file + ".jsonl"}, {"audit", "checkpoint"}, {"import", "-"}, {"backup", "create"}} {
				got := carekeep(t, "", append(args, "--session", file)...).secretless(t)
				require.Equal(t, failed, got.code)
				require.Contains(t, got.err, want)
				require.Contains(t, got.err, "run carekeep sign-in")
			}
			require.NoFileExists(t, file+".jsonl")
		})
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for want, refusal := range map[string]*errs.Error{
		"SESSION_IDLE): run carekeep sign-in":       errs.New(errs.KindUnauthenticated, "SESSION_IDLE", "the session was not used"),
		"give a one-time code":                      errs.New(errs.KindDenied, "ASSURANCE_TOO_LOW", "this takes AAL2"),
		"to_time: must be after from_time":          errs.New(errs.KindInvalid, "REQUEST_INVALID", "not valid").WithField("to_time", "must be after from_time"),
		"(RATE_LIMITED): try again in 1h0m0s":       errs.New(errs.KindLimited, "RATE_LIMITED", "too many").WithRetry(time.Hour),
		"may not list the log (PERMISSION_MISSING)": errs.New(errs.KindDenied, "PERMISSION_MISSING", "may not list the log"),
	} {
		g := signedIn(t)
		g.on(t, "POST /v1/audit/entries:list", func(w http.ResponseWriter, _ *http.Request) {
			code := http.StatusForbidden
			if refusal.Retry() > 0 {
				code = http.StatusTooManyRequests
			}
			fail(w, code, refusal)
		})
		got := g.run(t, "", "audit", "list").secretless(t)
		require.Equal(t, failed, got.code)
		require.Contains(t, got.err, want)
	}
}

func TestSignOutForgetsTheTokenEvenUnheard(t *testing.T) {
	g := signedIn(t)
	g.HandleFunc("POST /v1/auth:signOut", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusServiceUnavailable, errs.New(errs.KindUnavailable, "UNAVAILABLE", "auth does not answer"))
	})
	got := g.run(t, "", "sign-out")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "forgotten here")
	require.NoFileExists(t, g.session)

	g = signedIn(t)
	g.HandleFunc("POST /v1/auth:signOut", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusUnauthorized, errs.New(errs.KindUnauthenticated, "SESSION_INVALID", "the session has ended"))
	})
	require.Zero(t, g.run(t, "", "sign-out").code, "a session that had ended already is signed out")
}

// The device keeps its name when its user signs out, so that the next sign-in is
// from a known device; another user or gateway does not get to see it.
func TestTheDeviceOutlivesTheSession(t *testing.T) {
	g := newGateway(t)
	var seen []string
	g.HandleFunc("POST /v1/auth:signIn", func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("X-Device-Token"))
		opened := &authv1.SignInResponse{SessionToken: testToken, NextStep: authv1.NextStep_NEXT_STEP_NONE, ExpireTime: timestamppb.New(time.Now().Add(time.Hour))}
		if len(seen) == 1 {
			opened.DeviceToken = "ckd_device"
		}
		answer(w, opened)
	})
	g.HandleFunc("POST /v1/auth:signOut", func(w http.ResponseWriter, _ *http.Request) { answer(w, &authv1.SignOutResponse{}) })
	for range 2 {
		require.Zero(t, g.signIn(t, testPassword+"\n"+testCode).code)
		require.Zero(t, g.run(t, "", "sign-out").code)
		require.NotZero(t, g.run(t, "", "sign-out").code, "nobody is signed in")
	}
	require.Equal(t, []string{"", "ckd_device"}, seen)
	require.Empty(t, session.Device(g.session, g.url, "somebody.else"))
	require.Empty(t, session.Device(g.session, "https://elsewhere.example", "dr.smith"))
}
