package app_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// Every failure comes from another address, to three replicas in turn: only the account counts.
func TestDH32_AHundredFailuresCloseTheAccountAndAResetOpensIt(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, manySignIns)
	root := w.Superadmin()
	replicas := []*testkit.Auth{w.Auth, w.Replica(), w.Replica()}
	n := 0
	fail := func() error {
		attacker := *root
		n++
		attacker.Address = fmt.Sprintf("198.51.%d.%d", n/200, n%200+1)
		_, err := attacker.TrySignIn(replicas[n%3], "wrong", "")
		return err
	}
	for range 10 {
		require.Equal(t, codes.Unauthenticated, status.Code(fail()))
	}
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		requireLimited(t, fail(), "SIGN_IN_DELAYED", wait*time.Minute)
		w.Clock.Advance(wait*time.Minute - time.Microsecond)
		require.Equal(t, "SIGN_IN_DELAYED", errs.ReasonOf(fail()), "not a moment sooner")
		w.Clock.Advance(time.Microsecond)
		require.Equal(t, codes.Unauthenticated, status.Code(fail()))
	}
	for range 81 { // 18 so far
		w.Clock.Advance(time.Hour)
		require.Equal(t, codes.Unauthenticated, status.Code(fail()))
	}
	require.NotContains(t, reasonsOf(w.Events()), "ACCOUNT_CLOSED", "ninety-nine are not a hundred")
	w.Clock.Advance(time.Hour)
	require.Equal(t, codes.Unauthenticated, status.Code(fail()))
	require.Contains(t, reasonsOf(w.Events()), "ACCOUNT_CLOSED")
	w.Clock.Advance(time.Hour)
	_, err := root.TrySignIn(w.Auth, testkit.Password, root.Code())
	require.Equal(t, "SIGN_IN_FAILED", errs.ReasonOf(err), "closed, and nothing tells that from a wrong password")

	w.Clock.Advance(time.Hour)
	_, err = guardOf(w.Auth).ResetPassword(w.Context(), &authv1.ResetPasswordRequest{
		ResetToken: resetToken(t, w, root), NewPassword: nextPassword, Client: &authv1.Client{Address: root.Address},
	})
	require.NoError(t, err)
	w.Clock.Advance(time.Minute)
	opened, err := root.TrySignIn(w.Auth, nextPassword, "")
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL1, opened.GetAssurance(), "the reset gives no second factor (ASVS 6.4.3)")
	require.Equal(t, authv1.NextStep_NEXT_STEP_VERIFY_TOTP, opened.GetNextStep())
}

// Whoever knows the password guesses second factors in a session: these failures count in the
// same row, a password alone does not end it, and the hundredth ends the sessions.
func TestDH32_WrongSecondFactorsCloseTheAccountToo(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	passkeys, more := authv1.NewPasskeyServiceClient(w.Auth.Dial("gateway")), authv1.NewCodeServiceClient(w.Auth.Dial("gateway"))
	strong := []func() error{
		func() error {
			_, err := passkeys.Reauthenticate(root.Context(), &authv1.ReauthenticateRequest{Password: testkit.Password, TotpCode: wrongCode(root)})
			return err
		},
		func() error {
			_, err := w.Auth.ChangePassword(root.Context(), &authv1.ChangePasswordRequest{CurrentPassword: "wrong", NewPassword: nextPassword})
			return err
		},
	}
	weak := []func() error{
		func() error {
			_, err := w.Auth.VerifyTotp(root.Context(), &authv1.VerifyTotpRequest{TotpCode: wrongCode(root)})
			return err
		},
		func() error {
			_, err := more.VerifyRecoveryCode(root.Context(), &authv1.VerifyRecoveryCodeRequest{Code: "0000-0000-0000-0000"})
			return err
		},
		func() error {
			_, err := more.VerifyRecoveryCode(root.Context(), &authv1.VerifyRecoveryCodeRequest{Code: "no code at all"})
			return err
		},
	}
	fail := func(ways []func() error, times int) {
		t.Helper()
		for i := range times {
			require.Equal(t, codes.Unauthenticated, status.Code(ways[i%len(ways)]()))
			w.Clock.Advance(40 * time.Second) // slower than what blocks the address
		}
	}
	fail(strong, 39)
	require.Equal(t, "SIGN_IN_DELAYED", errs.ReasonOf(func() error { _, err := root.TrySignIn(w.Auth, testkit.Password, ""); return err }()))
	w.Clock.Advance(time.Hour)
	again, err := root.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	root.Session = again.GetSessionToken()
	fail(weak, 60)
	require.NotContains(t, reasonsOf(w.Events()), "ACCOUNT_CLOSED", "ninety-nine are not a hundred")
	fail(weak, 1)
	require.Contains(t, reasonsOf(w.Events()), "ACCOUNT_CLOSED")
	_, err = root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "the session in which it was guessed is over")
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(w.Inbox.Messages(root.Email), func(m testkit.Mail) bool {
			return strings.Contains(m.Text, "Your account was closed")
		})
	}, 20*time.Second, 10*time.Millisecond)
}

// wrongCode differs from the right one of any step around now.
func wrongCode(p *testkit.Person) string {
	if code := p.Code(); code[0] == '0' {
		return "9" + code[1:]
	}
	return "0" + p.Code()[1:]
}

func TestDH32_ASecondFactorEndsTheRowOfFailures(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	for range 3 { // eighteen in all
		for range 6 {
			_, err := root.TrySignIn(w.Auth, "wrong", "")
			require.Equal(t, codes.Unauthenticated, status.Code(err), "never delayed")
		}
		w.Clock.Advance(11 * time.Minute)
		weak, err := root.TrySignIn(w.Auth, testkit.Password, "")
		require.NoError(t, err)
		root.Session = weak.GetSessionToken()
		_, err = w.Auth.VerifyTotp(root.Context(), &authv1.VerifyTotpRequest{TotpCode: root.Code()})
		require.NoError(t, err)
	}
}

func TestDH32_OneOfARaceTakesTheTurnAfterADelay(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, manySignIns)
	root := w.Superadmin()
	replicas := []*testkit.Auth{w.Auth, w.Replica()}
	fail := func(i int) error {
		attacker := *root
		attacker.Address = fmt.Sprintf("198.51.100.%d", i+1)
		_, err := attacker.TrySignIn(replicas[i%2], "wrong", "")
		return err
	}
	for i := range 10 {
		require.Equal(t, codes.Unauthenticated, status.Code(fail(i)))
	}
	w.Clock.Advance(time.Minute)
	reasons := make([]string, 20)
	var race sync.WaitGroup
	for i := range reasons {
		race.Go(func() { reasons[i] = errs.ReasonOf(fail(i)) })
	}
	race.Wait()
	slices.Sort(reasons)
	require.Equal(t, append(slices.Repeat([]string{"SIGN_IN_DELAYED"}, 19), "SIGN_IN_FAILED"), reasons)
	// Whoever is delayed by somebody else's guesses still gets a new password.
	require.NotEmpty(t, resetToken(t, w, root))
}
