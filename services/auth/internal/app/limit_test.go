package app_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func requireLimited(t *testing.T, err error, reason string, wait time.Duration) {
	t.Helper()
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
	require.Equal(t, reason, errs.ReasonOf(err))
	require.Equal(t, wait, errs.RetryOf(err))
}

func TestDH32_TheSixthSignInOfAnAccountIsLimited(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	w.Clock.Advance(time.Minute)
	other, third := w.Replica(), w.Replica()
	for i := range 5 {
		attacker := *root
		attacker.Address = []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"}[i]
		_, err := attacker.TrySignIn([]*testkit.Auth{w.Auth, other, third}[i%3], "wrong", "")
		require.Equal(t, codes.Unauthenticated, status.Code(err))
		w.Clock.Advance(time.Second)
	}
	_, err := root.TrySignIn(w.Auth, testkit.Password, root.Code())
	requireLimited(t, err, "SIGN_IN_LIMITED", 55*time.Second)
	events := w.Events()
	require.Equal(t, "SIGN_IN_LIMITED", events[len(events)-1].GetReason())
	require.Equal(t, "root", events[len(events)-1].GetUsername())
	require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, events[len(events)-1].GetOutcome())

	w.Clock.Advance(54 * time.Second)
	_, err = root.TrySignIn(w.Auth, testkit.Password, root.Code())
	requireLimited(t, err, "SIGN_IN_LIMITED", time.Second)
	w.Clock.Advance(time.Second)
	root.SignIn()
	_, err = root.TrySignIn(w.Auth, testkit.Password, "")
	requireLimited(t, err, "SIGN_IN_LIMITED", time.Second)
}

func TestDH32_TheSixthSignInFromAnAddressIsLimited(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	w.Clock.Advance(time.Minute)
	attempt := func(username, address string) error {
		_, err := w.Auth.SignIn(w.Context(), &authv1.SignInRequest{Username: username, Password: "wrong", Client: &authv1.Client{Address: address}})
		return err
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		require.Equal(t, codes.Unauthenticated, status.Code(attempt(name, "192.0.2.9")))
	}
	requireLimited(t, attempt("f", "192.0.2.9"), "SIGN_IN_LIMITED", time.Minute)
	require.Equal(t, codes.Unauthenticated, status.Code(attempt("f", "192.0.2.10")))

	// An IPv6 client has a /64 to choose from; it is one address here.
	for i, host := range []string{"::1", "::2", "::3", "::4", "::5"} {
		require.Equal(t, codes.Unauthenticated, status.Code(attempt(string(rune('g'+i)), "2001:db8:1:2"+host)))
	}
	requireLimited(t, attempt("m", "2001:db8:1:2::6"), "SIGN_IN_LIMITED", time.Minute)
	require.Equal(t, codes.Unauthenticated, status.Code(attempt("m", "2001:db8:1:3::6")))
	root.SignIn()
}

func TestDH32_UnknownNamesAreLimitedLikeKnownOnes(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	for i := range 6 {
		_, err := w.Auth.SignIn(w.Context(), &authv1.SignInRequest{
			Username: []string{"nobody", "NoBody"}[i%2], Password: "x", Client: &authv1.Client{Address: "192.0.2." + string(rune('1'+i))},
		})
		if i < 5 {
			require.Equal(t, codes.Unauthenticated, status.Code(err))
			continue
		}
		requireLimited(t, err, "SIGN_IN_LIMITED", time.Minute)
	}
}

func TestDH32_ARaceOfTwentyLetsFiveThrough(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	other, third := w.Replica(), w.Replica()
	var through atomic.Int32
	var race sync.WaitGroup
	for i := range 20 {
		race.Go(func() {
			auth := []*testkit.Auth{w.Auth, other, third}[i%3]
			_, err := auth.SignIn(w.Context(), &authv1.SignInRequest{Username: "nobody", Password: "x", Client: &authv1.Client{Address: "192.0.2.1"}})
			switch status.Code(err) {
			case codes.Unauthenticated:
				through.Add(1)
			case codes.ResourceExhausted:
			default:
				t.Error(err)
			}
		})
	}
	race.Wait()
	require.EqualValues(t, 5, through.Load())
}

func TestDH33_TheSixtyFirstRequestIsLimitedAcrossReplicas(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	other, third := w.Replica(), w.Replica()
	w.Clock.Advance(time.Minute)
	ask := func(i int) error {
		_, err := root.Admit([]*testkit.Auth{w.Auth, other, third}[i%3], accessv1.Service_SERVICE_RECORDS, i%4 == 0)
		return err
	}
	for i := range 60 {
		require.NoError(t, ask(i), "request %d", i+1)
		w.Clock.Advance(100 * time.Millisecond)
	}
	requireLimited(t, ask(60), "REQUESTS_LIMITED", 54*time.Second)
	requireLimited(t, ask(61), "REQUESTS_LIMITED", 54*time.Second)
	w.Clock.Advance(54*time.Second - time.Millisecond)
	requireLimited(t, ask(60), "REQUESTS_LIMITED", time.Millisecond)
	w.Clock.Advance(time.Millisecond)
	require.NoError(t, ask(60), "the first of the sixty left the window")
	requireLimited(t, ask(61), "REQUESTS_LIMITED", 100*time.Millisecond)
}

func TestDH33_ARaceAcrossReplicasAndSessionsLetsSixtyThrough(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	other, third := w.Replica(), w.Replica()
	w.Clock.Advance(time.Minute)
	first := *root
	root.SignIn()
	second := *root
	var through atomic.Int32
	var race sync.WaitGroup
	for i := range 100 {
		race.Go(func() {
			p := []*testkit.Person{&first, &second}[i/2%2]
			_, err := p.Admit([]*testkit.Auth{w.Auth, other, third}[i%3], accessv1.Service_SERVICE_RECORDS, false)
			switch status.Code(err) {
			case codes.OK:
				through.Add(1)
			case codes.ResourceExhausted:
			default:
				t.Error(err)
			}
		})
	}
	race.Wait()
	require.EqualValues(t, 60, through.Load())
}

func TestGuessingCodesIsLimited(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	w.Clock.Advance(time.Minute)
	weak, err := root.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	root.Session = weak.GetSessionToken()
	wrong := "000000"
	if root.Code() == wrong {
		wrong = "000001"
	}
	for range 5 {
		_, err := w.Auth.VerifyTotp(root.Context(), &authv1.VerifyTotpRequest{TotpCode: wrong})
		require.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	_, err = w.Auth.VerifyTotp(root.Context(), &authv1.VerifyTotpRequest{TotpCode: root.Code()})
	requireLimited(t, err, "FACTOR_LIMITED", time.Minute)
}
