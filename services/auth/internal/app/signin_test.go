package app_test

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestDC09_SignInsAreRecordedWithOutcomeAndSecondFactor(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	w.Clock.Advance(time.Minute)
	last := func() *auditv1.Event {
		events := w.Events()
		return events[len(events)-1]
	}
	recorded := func(outcome auditv1.Outcome, reason string) {
		t.Helper()
		event := last()
		require.Equal(t, accessv1.Action_ACTION_SIGN_IN, event.GetAction())
		require.Equal(t, outcome, event.GetOutcome())
		require.Equal(t, reason, event.GetReason())
		require.Equal(t, "root", event.GetUsername())
		require.Equal(t, root.Address, event.GetAddress())
	}
	weak, err := root.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	recorded(auditv1.Outcome_OUTCOME_OK, "SECOND_FACTOR_DUE")
	require.NotEmpty(t, last().GetSessionId())
	root.Session = weak.GetSessionToken()
	_, err = w.Auth.VerifyTotp(root.Context(), &authv1.VerifyTotpRequest{TotpCode: wrongCode(root)})
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	recorded(auditv1.Outcome_OUTCOME_DENIED, "CODE_WRONG")
	require.NotEqual(t, auditv1.Risk_RISK_LOW, last().GetRisk())
	_, err = w.Auth.VerifyTotp(root.Context(), &authv1.VerifyTotpRequest{TotpCode: root.Code()})
	require.NoError(t, err)
	recorded(auditv1.Outcome_OUTCOME_OK, "TOTP_CODE")
	w.Clock.Advance(time.Minute)
	root.SignIn()
	recorded(auditv1.Outcome_OUTCOME_OK, "SECOND_FACTOR_GIVEN")
}

// ASVS 6.3.8: who measures cannot tell names that exist from names that do not, nor the
// states of an account. All are asked in turn, so that what else the machine does is shared
// out; the measure is how often one takes longer than the other (Mann and Whitney), which is
// one half where nothing tells them apart and has a standard error of 0.065 here. Without the
// hash for unknown names it is 0.
func TestSignInTimeTellsNobodyWhoExists(t *testing.T) {
	t.Parallel()
	const rounds = 40
	w := testkit.New(t, wide)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	w.Invite(admin, "invited", accessv1.RoleKind_ROLE_KIND_STAFF, "nurse")
	gone := w.NewUser(admin, "gone", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	_, err := w.Auth.DisableUser(admin.Context(), &authv1.DisableUserRequest{Name: gone.User})
	require.NoError(t, err)
	names := []string{"alice", "nobody", "invited", "gone"}
	took := map[string][]time.Duration{}
	for range rounds {
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			begun := time.Now()
			_, err := w.Auth.SignIn(w.Context(), &authv1.SignInRequest{
				Username: name, Password: "wrong", Client: &authv1.Client{Address: "192.0.2.1"},
			})
			took[name] = append(took[name], time.Since(begun))
			require.Equal(t, codes.Unauthenticated, status.Code(err))
		}
		w.Clock.Advance(time.Hour) // past every delay and block
	}
	for _, name := range []string{"nobody", "invited", "gone"} {
		share := slower(took[name], took["alice"])
		t.Logf("%s takes longer than a user with a wrong password in %.2f of the pairs", name, share)
		require.InDelta(t, 0.5, share, 0.3, name)
	}
}

// Whoever asks for a reset learns no more, though a mail leaves for one and not for the
// other. Transit is made far away, so that a call more or less shows.
func TestResetTimeTellsNobodyWhoExists(t *testing.T) {
	t.Parallel()
	const distance, rounds = 30 * time.Millisecond, 25
	w := testkit.Prepare(t, wide)
	w.Settings.Transit.Address = "https://" + distant(t, strings.TrimPrefix(w.Settings.Transit.Address, "https://"), distance)
	w.Auth = w.Replica()
	root := w.Superadmin()
	took := map[string][]time.Duration{}
	for range rounds {
		names := []string{root.Username, "nobody"}
		if rand.IntN(2) == 0 {
			names[0], names[1] = names[1], names[0]
		}
		for _, name := range names {
			begun := time.Now()
			_, err := guardOf(w.Auth).RequestPasswordReset(w.Context(), &authv1.RequestPasswordResetRequest{
				Username: name, Client: &authv1.Client{Address: "192.0.2.1"},
			})
			took[name] = append(took[name], time.Since(begun))
			require.NoError(t, err)
		}
	}
	share := slower(took["nobody"], took[root.Username])
	t.Logf("a name that nobody has takes longer in %.2f of the pairs", share)
	require.Greater(t, slices.Min(took["nobody"]), 2*distance, "an address opened, a mail sealed")
	require.InDelta(t, 0.5, share, 0.35)
}

// distant is an address that leads to another, with a delay for what comes back.
func distant(t *testing.T, to string, delay time.Duration) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			go carry(far, near, 0)
			go carry(near, far, delay)
		}
	}()
	return listener.Addr().String()
}

// carry copies until one end closes, and then closes both.
func carry(to, from net.Conn, delay time.Duration) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		<-time.After(delay)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// slower is how often a value of a is the larger one of a pair from a and b.
func slower(a, b []time.Duration) float64 {
	n := 0
	for _, x := range a {
		for _, y := range b {
			if x > y {
				n++
			}
		}
	}
	return float64(n) / float64(len(a)*len(b))
}
