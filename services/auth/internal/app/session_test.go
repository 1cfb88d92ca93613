package app_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// wide lifts the limits for tests that are about something else.
func wide(s *app.Settings) {
	s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 10_000, 10_000
}

func live(t *testing.T, p *testkit.Person, w *testkit.World) []*authv1.Session {
	t.Helper()
	list, err := w.Auth.ListSessions(p.Context(), &authv1.ListSessionsRequest{})
	require.NoError(t, err)
	return list.GetSessions()
}

func requireOver(t *testing.T, p *testkit.Person, w *testkit.World, session string, why string) {
	t.Helper()
	held := p.Session
	defer func() { p.Session = held }()
	p.Session = session
	_, err := p.Admit(w.Auth, accessv1.Service_SERVICE_RECORDS, false)
	require.Equal(t, codes.Unauthenticated, status.Code(err), why)
	require.Equal(t, "SESSION_INVALID", errs.ReasonOf(err))
}

func TestDH28_TheFifthSessionEndsTheOldest(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	tokens := []string{root.Session}
	for range 3 {
		w.Clock.Advance(time.Minute)
		root.SignIn()
		tokens = append(tokens, root.Session)
	}
	require.Len(t, live(t, root, w), 4)
	w.Clock.Advance(time.Minute)
	root.SignIn()
	require.Len(t, live(t, root, w), 4)
	requireOver(t, root, w, tokens[0], "the oldest made room")
	for _, token := range tokens[1:] {
		root.Session = token
		_, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
		require.NoError(t, err)
	}
	events := w.Events()
	last := events[len(events)-1]
	for i := len(events) - 1; last.GetReason() != "SESSION_EVICTED"; i-- {
		last = events[i]
	}
	require.Equal(t, accessv1.Action_ACTION_SESSION_CHANGE, last.GetAction())
	require.Equal(t, "root", last.GetUsername())
}

func TestDH28_ARaceOfTwentyLeavesFour(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	other := w.Replica()
	// Without a code, for a code counts once; the limit is on sessions of any level.
	var race sync.WaitGroup
	tokens := make([]string, 20)
	for i := range tokens {
		race.Go(func() {
			auth := w.Auth
			if i%2 == 1 {
				auth = other
			}
			response, err := root.TrySignIn(auth, testkit.Password, "")
			if status.Code(err) == codes.DeadlineExceeded {
				return // twenty hashes on a busy machine
			}
			if err != nil {
				t.Error(err)
				return
			}
			tokens[i] = response.GetSessionToken()
		})
	}
	race.Wait()
	admitted := 0
	opened := 0
	for _, token := range tokens {
		if token == "" {
			continue
		}
		opened++
		root.Session = token
		if _, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false); err == nil {
			admitted++
		}
	}
	require.Greater(t, opened, 4)
	require.LessOrEqual(t, admitted, 4)
	w.Clock.Advance(time.Minute)
	root.SignIn()
	require.Len(t, live(t, root, w), 4)
}

// No sequence of sign-ins, second factors, sign-outs and waits ever leaves five open sessions.
func TestDH28_NoSequenceReachesFiveSessions(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	rapid.Check(t, func(rt *rapid.T) {
		var tokens []string
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "step") {
			case 0, 1:
				response, err := root.TrySignIn(w.Auth, testkit.Password, "")
				if err != nil {
					rt.Fatal(err)
				}
				tokens = append(tokens, response.GetSessionToken())
			case 2:
				w.Clock.Advance(time.Duration(rapid.IntRange(1, 20).Draw(rt, "minutes")) * time.Minute)
			case 3:
				if len(tokens) == 0 {
					continue
				}
				root.Session = rapid.SampledFrom(tokens).Draw(rt, "session")
				token, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
				if err != nil {
					continue
				}
				if _, err := w.Auth.SignOut(caller.Attach(w.Context(), token), &authv1.SignOutRequest{}); err != nil {
					rt.Fatal(err)
				}
			case 4:
				if len(tokens) == 0 {
					continue
				}
				w.Clock.Advance(30 * time.Second) // a code counts once
				root.Session = rapid.SampledFrom(tokens).Draw(rt, "raised")
				token, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
				if err != nil {
					continue
				}
				raised, err := w.Auth.VerifyTotp(caller.Attach(w.Context(), token), &authv1.VerifyTotpRequest{TotpCode: root.Code()})
				if err != nil {
					rt.Fatal(err)
				}
				tokens = append(tokens, raised.GetSessionToken())
			}
			open := 0
			for _, token := range tokens {
				root.Session = token
				if _, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, true); err == nil {
					open++
				}
			}
			if open > 4 {
				rt.Fatalf("%d open sessions", open)
			}
		}
	})
}

func TestDH29_DMD10_FifteenMinutesIdle(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	admit := func(background bool) error {
		_, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, background)
		return err
	}
	w.Clock.Advance(14*time.Minute + 59*time.Second)
	require.NoError(t, admit(false), "14:59 passes")
	w.Clock.Advance(14*time.Minute + 59*time.Second)
	require.NoError(t, admit(false), "the request before started the time anew")
	w.Clock.Advance(15 * time.Minute)
	require.Equal(t, codes.Unauthenticated, status.Code(admit(false)), "15:00 is denied")
	require.Equal(t, codes.Unauthenticated, status.Code(admit(false)), "and stays so")

	events := w.Events()
	require.Equal(t, "SESSION_IDLE", events[len(events)-1].GetReason())
	require.Equal(t, "root", events[len(events)-1].GetUsername())
}

func TestDH29_DMD10_PollingDoesNotKeepASessionAlive(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	for range 14 {
		w.Clock.Advance(time.Minute)
		_, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, true)
		require.NoError(t, err)
	}
	w.Clock.Advance(time.Minute)
	_, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, true)
	require.Equal(t, codes.Unauthenticated, status.Code(err))
}

func TestSessionsEndAfterTwelveHoursHoweverMuchTheyAreUsed(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	w.Clock.Advance(time.Minute)
	signed := root.SignIn()
	require.Equal(t, 12*time.Hour, signed.GetExpireTime().AsTime().Sub(w.Clock.Now()))
	require.Equal(t, 15*time.Minute, signed.GetIdleExpireTime().AsTime().Sub(w.Clock.Now()))
	for range 71 {
		w.Clock.Advance(10 * time.Minute)
		_, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
		require.NoError(t, err)
	}
	w.Clock.Advance(10 * time.Minute)
	requireOver(t, root, w, root.Session, "12:00")
}

func TestDC12_EachRaiseOfAssuranceMakesANewToken(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	w.Clock.Advance(time.Minute)
	weak, err := root.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL1, weak.GetAssurance())
	require.Equal(t, authv1.NextStep_NEXT_STEP_VERIFY_TOTP, weak.GetNextStep())
	root.Session = weak.GetSessionToken()

	strong, err := w.Auth.VerifyTotp(root.Context(), &authv1.VerifyTotpRequest{TotpCode: root.Code()})
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, strong.GetAssurance())
	require.Equal(t, authv1.NextStep_NEXT_STEP_NONE, strong.GetNextStep())
	require.NotEqual(t, weak.GetSessionToken(), strong.GetSessionToken())
	requireOver(t, root, w, weak.GetSessionToken(), "a token fixed before the second factor is worth nothing after it")
	root.Session = strong.GetSessionToken()
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, root.Caller(accessv1.Service_SERVICE_RECORDS).Assurance)
}

func TestDC12_SignInGivesEachSessionItsOwnToken(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	first := root.Session
	w.Clock.Advance(time.Minute)
	second := root.SignIn().GetSessionToken()
	require.NotEqual(t, first, second)
	_, err := w.Auth.SignOut(root.Context(), &authv1.SignOutRequest{})
	require.NoError(t, err)
	requireOver(t, root, w, second, "signed out")
	root.Session = first
	require.Len(t, live(t, root, w), 1)
}

func TestUsersListAndEndTheirOwnSessionsOnly(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	w.Clock.Advance(time.Minute)
	first := admin.Session
	admin.SignIn()
	list := live(t, admin, w)
	require.Len(t, list, 2)
	require.False(t, list[0].GetCurrent())
	require.True(t, list[1].GetCurrent())
	require.Equal(t, admin.Address, list[1].GetAddress())
	require.Equal(t, "testkit", list[1].GetUserAgent())

	foreign := live(t, root, w)[0].GetName()
	_, err := w.Auth.EndSession(admin.Context(), &authv1.EndSessionRequest{Name: foreign})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = w.Auth.EndSession(admin.Context(), &authv1.EndSessionRequest{Name: list[0].GetName()})
	require.NoError(t, err)
	requireOver(t, admin, w, first, "ended")
	_, err = w.Auth.EndSession(admin.Context(), &authv1.EndSessionRequest{Name: list[0].GetName()})
	require.Equal(t, codes.NotFound, status.Code(err), "it is over already")
}
