package main

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/mtls"
)

// warden stands for auth where rules ask for something; tests/e2e has the real one.
type warden struct {
	authv1.UnimplementedContainmentServiceServer
	away  atomic.Bool
	mu    sync.Mutex
	asked []*authv1.RespondRequest
	peers []accessv1.Service
}

func (w *warden) Respond(ctx context.Context, r *authv1.RespondRequest) (*authv1.RespondResponse, error) {
	peer, _ := mtls.PeerService(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.peers = append(w.asked, r), append(w.peers, peer)
	if w.away.Load() {
		return nil, status.Error(codes.Unavailable, "away")
	}
	if r.GetKind() == authv1.ResponseKind_RESPONSE_KIND_FREEZE_USER && r.GetPractice() == "" {
		return nil, errs.Status(errs.New(errs.KindDenied, "SUPERADMIN_SPARED", "no")).Err()
	}
	return &authv1.RespondResponse{}, nil
}

// kinds are what was asked for about a rule, in order.
func (w *warden) kinds(title string) []authv1.ResponseKind {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []authv1.ResponseKind
	for _, r := range w.asked {
		if r.GetTitle() == title {
			all = append(all, r.GetKind())
		}
	}
	return all
}

// listener is a receiver of webhooks.
type listener struct {
	broken atomic.Bool
	mu     sync.Mutex
	ids    []string
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, r.Header.Get("webhook-id"))
	if l.broken.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (l *listener) got() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ids)
}

// answering gives the suite's replicas an auth and a webhook.
func (s *suite) answering() (*warden, *listener) {
	s.t.Helper()
	at, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	auth := &warden{}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(identity(s.t, "auth").ServerTLS())))
	authv1.RegisterContainmentServiceServer(server, auth)
	go func() { _ = server.Serve(at) }()
	s.t.Cleanup(server.Stop)

	hook := &listener{}
	web := httptest.NewTLSServer(hook)
	s.t.Cleanup(web.Close)
	folder := s.t.TempDir()
	require.NoError(s.t, os.WriteFile(filepath.Join(folder, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600))
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	require.NoError(s.t, os.WriteFile(filepath.Join(folder, "secret"), []byte(secret), 0o600))
	file := filepath.Join(folder, "response.yaml")
	require.NoError(s.t, os.WriteFile(file, []byte("auth: "+at.Addr().String()+"\nwebhooks:\n- name: team\n  url: "+web.URL+
		"\n  secret: {file: secret}\n  allow_networks: [127.0.0.0/8]\n  authorities: ca.pem\n"), 0o600))
	require.NoError(s.t, config.Load(file, &s.response))
	return auth, hook
}

const (
	titleForced = "Many failed sign-ins to one account"
	titleDecoy  = "Somebody opened a decoy, a patient who does not exist"
)

// From the act to auth and to the webhook within 5 s, each once, also over a restart of the service.
func TestDH37_DTD11_DMD17_DC10_ADetectionIsAnsweredOnceWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	auth, hook := s.answering()
	r := s.writer()
	records, producer := s.producer("records"), s.producer("auth")
	records.await(records.send(event()))
	began := time.Now()
	producer.send(wrongs(10)...)
	records.send(decoy())
	require.Eventually(t, func() bool {
		return len(auth.kinds(titleForced)) == 2 && len(auth.kinds(titleDecoy)) == 3 && len(hook.got()) == 2
	}, patience, often)
	require.Less(t, time.Since(began), 5*time.Second)
	require.ElementsMatch(t, []authv1.ResponseKind{authv1.ResponseKind_RESPONSE_KIND_NOTIFY_ADMINISTRATORS, authv1.ResponseKind_RESPONSE_KIND_NOTIFY_USER}, auth.kinds(titleForced))
	require.ElementsMatch(t, []authv1.ResponseKind{
		authv1.ResponseKind_RESPONSE_KIND_END_SESSIONS, authv1.ResponseKind_RESPONSE_KIND_FREEZE_USER, authv1.ResponseKind_RESPONSE_KIND_NOTIFY_ADMINISTRATORS,
	}, auth.kinds(titleDecoy), "whoever touched a decoy is not told")
	asked := auth.asked[0]
	require.Equal(t, []string{"practices/" + practiceA.String(), "users/" + drSmith.String(), "192.0.2.7"}, []string{asked.GetPractice(), asked.GetUser(), asked.GetAddress()})
	require.Equal(t, accessv1.Service_SERVICE_AUDIT, auth.peers[0])

	ids := map[string]bool{}
	for _, d := range found(t, s.detections(r), practiceA, 2) {
		ids["detection_"+d.GetDetectionId()] = true
	}
	for _, id := range hook.got() {
		require.True(t, ids[id], id)
	}
	r.stop()
	s.writer()
	records.await(records.send(decoy(func(e *auditv1.Event) { e.UserId = uuid.NewString() })))
	require.Eventually(t, func() bool { return len(hook.got()) == 3 }, patience, often, "the next detection is told")
	require.Len(t, auth.kinds(titleForced), 2, "and those from before the restart are not told again")
}

// What cannot be done is tried again: an action is an alert after four tries, a delivery when it is given up after a day.
func TestDH37_WhatFailsIsTriedAgainAndAnAlert(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	auth, hook := s.answering()
	auth.away.Store(true)
	hook.broken.Store(true)
	s.writer()
	records := s.producer("records")
	records.send(decoy())
	admin := s.as("")
	reasons := func() map[string]int {
		rows, err := admin.Query(t.Context(), "SELECT reason FROM alerts WHERE reason LIKE 'RESPONSE_%'")
		require.NoError(t, err)
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		n := map[string]int{}
		for _, reason := range list {
			n[reason]++
		}
		return n
	}
	for tries := 1; tries <= 4; tries++ {
		require.Eventually(t, func() bool { return len(auth.kinds(titleDecoy)) >= 3*tries && len(hook.got()) >= tries }, patience, often)
		require.Empty(t, reasons()["RESPONSE_GIVEN_UP"])
		s.shift.Add(int64(10 * time.Second << tries))
	}
	require.Eventually(t, func() bool { return reasons()["RESPONSE_LATE"] == 3 }, patience, often, "three actions are late, the delivery is not")
	auth.away.Store(false)
	s.shift.Add(int64(25 * time.Hour))
	require.Eventually(t, func() bool { return reasons()["RESPONSE_GIVEN_UP"] == 1 }, patience, often, "what auth did in the end is not given up, the delivery is")
	require.Equal(t, 1, len(slices.Compact(hook.got())), "one id for all tries")
	var open int
	require.NoError(t, s.as("audit_app").QueryRow(t.Context(), "SELECT count(*) FROM responses WHERE done IS NULL").Scan(&open))
	require.Zero(t, open)
}

// What auth refuses is final, and no alert: auth has recorded it.
func TestDH53_WhatAuthRefusesIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	auth, _ := s.answering()
	s.writer()
	records := s.producer("records")
	records.send(decoy(func(e *auditv1.Event) { e.PracticeId = "" }))
	app := s.as("audit_app")
	require.Eventually(t, func() bool {
		var outcome string
		err := app.QueryRow(t.Context(), "SELECT outcome FROM responses WHERE action = 'freeze_user' AND done IS NOT NULL").Scan(&outcome)
		return err == nil && outcome == "REFUSED"
	}, patience, often)
	require.Len(t, auth.kinds(titleDecoy), 3)
}
