package app_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/structpb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

const nextPassword = "trombone-glacier-saffron-91" //nolint:gosec // of a user that lives as long as a test

func guardOf(auth *testkit.Auth) authv1.GuardServiceClient {
	return authv1.NewGuardServiceClient(auth.Dial("gateway"))
}

func reasonsOf(events []*auditv1.Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, e.GetReason())
	}
	return all
}

func manySignIns(s *app.Settings) { s.Limits.SignInPerMinute = 1000 }

var resetForm = regexp.MustCompile(`ckr_[A-Za-z0-9_-]{43}`)

// resetToken asks for a reset and reads the mail to the person.
func resetToken(t *testing.T, w *testkit.World, p *testkit.Person) string {
	t.Helper()
	_, err := guardOf(w.Auth).RequestPasswordReset(w.Context(), &authv1.RequestPasswordResetRequest{
		Username: p.Username, Client: &authv1.Client{Address: p.Address},
	})
	require.NoError(t, err)
	var token string
	require.Eventually(t, func() bool {
		for _, m := range w.Inbox.Messages(p.Email) {
			text := strings.ReplaceAll(strings.ReplaceAll(m.Text, "=\r\n", ""), "=3D", "=")
			if found := resetForm.FindString(text); found != "" {
				token = found
			}
		}
		return token != ""
	}, 20*time.Second, 10*time.Millisecond)
	return token
}

func TestResetsWorkOnceAndInTime(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	before := root.Session
	perform := func(token, password string) string {
		w.Clock.Advance(time.Minute)
		_, err := guardOf(w.Auth).ResetPassword(w.Context(), &authv1.ResetPasswordRequest{
			ResetToken: token, NewPassword: password, Client: &authv1.Client{Address: "192.0.2.77"},
		})
		return errs.ReasonOf(err)
	}
	token := resetToken(t, w, root)
	require.Equal(t, "PASSWORD_WEAK", perform(token, "password1"), "and the token is not used up")
	require.Equal(t, "RESET_INVALID", perform("ckr_"+strings.Repeat("A", 43), nextPassword))
	require.Equal(t, "RESET_INVALID", perform("nonsense", nextPassword))
	require.Empty(t, perform(token, nextPassword))
	require.Equal(t, "RESET_INVALID", perform(token, "lantern-orchid-tundra-17"))
	root.Session = before
	_, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "sessions of before are over")

	// A name that nobody has is answered alike, and gets no mail.
	_, err = guardOf(w.Auth).RequestPasswordReset(w.Context(), &authv1.RequestPasswordResetRequest{
		Username: "nobody", Client: &authv1.Client{Address: "192.0.2.78"},
	})
	require.NoError(t, err)
	require.Empty(t, w.Inbox.Messages("nobody@invalid"))
}

func TestDH39_AnAddressIsBlockedForAWhileAndTwiceAsLongTheNextTime(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, manySignIns)
	root := w.Superadmin()
	replicas := []*testkit.Auth{w.Auth, w.Replica()}
	const bad = "203.0.113.9"
	n := 0
	guess := func(address string) error {
		n++
		_, err := replicas[n%2].SignIn(w.Context(), &authv1.SignInRequest{
			Username: fmt.Sprintf("nobody-%d", n), Password: "x", Client: &authv1.Client{Address: address},
		})
		return err
	}
	for _, length := range []time.Duration{15 * time.Minute, 30 * time.Minute} {
		for range 10 { // two points each for unknown users: the tenth reaches 20
			require.Equal(t, codes.Unauthenticated, status.Code(guess(bad)))
		}
		requireLimited(t, guess(bad), "ADDRESS_BLOCKED", length)
		require.Equal(t, codes.Unauthenticated, status.Code(guess("203.0.113.10")), "its neighbour is not blocked")
		w.Clock.Advance(length - time.Microsecond)
		require.Equal(t, "ADDRESS_BLOCKED", errs.ReasonOf(guess(bad)))
		w.Clock.Advance(time.Microsecond)
	}
	for range 10 {
		require.Equal(t, codes.Unauthenticated, status.Code(guess(bad)))
	}
	w.Clock.Advance(time.Minute)
	root.SignIn()
	stolen := *root
	stolen.Address = bad
	_, err := stolen.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
	requireLimited(t, err, "ADDRESS_BLOCKED", 59*time.Minute)

	// Slow guessing decays: eight points in ten minutes for an hour never reach the threshold.
	for range 6 {
		for range 4 {
			require.Equal(t, codes.Unauthenticated, status.Code(guess("203.0.113.11")))
		}
		w.Clock.Advance(10 * time.Minute)
	}
	var blocked []*auditv1.Event
	for _, e := range w.Events() {
		if e.GetAction() == accessv1.Action_ACTION_BLOCK_CHANGE {
			blocked = append(blocked, e)
		}
	}
	require.Len(t, blocked, 3)
	require.Equal(t, auditv1.Risk_RISK_HIGH, blocked[0].GetRisk())
	require.Equal(t, bad, blocked[0].GetAddress())
}

func TestDH39_ProbesCountAndASuperadminLiftsTheBlock(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	guard := guardOf(w.Auth)
	for range 4 {
		_, err := guard.ReportProbe(w.Context(), &authv1.ReportProbeRequest{Client: &authv1.Client{Address: "2001:db8:1:2::9"}})
		require.NoError(t, err)
	}
	list, err := guard.ListBlocks(root.Context(), &authv1.ListBlocksRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetBlocks(), 1)
	require.Equal(t, "2001:db8:1:2::/64", list.GetBlocks()[0].GetNetwork())
	require.Equal(t, "PROBES", list.GetBlocks()[0].GetReason())
	try := func() error {
		_, err := w.Auth.SignIn(w.Context(), &authv1.SignInRequest{Username: "x", Password: "x", Client: &authv1.Client{Address: "2001:db8:1:2::1"}})
		return err
	}
	require.Equal(t, "ADDRESS_BLOCKED", errs.ReasonOf(try()), "the whole /64")
	_, err = guard.LiftBlock(root.Context(), &authv1.LiftBlockRequest{Network: "2001:db8:1:2::/64"})
	require.NoError(t, err)
	require.Equal(t, codes.Unauthenticated, status.Code(try()))
	_, err = guard.LiftBlock(root.Context(), &authv1.LiftBlockRequest{Network: "2001:db8:1:2::/64"})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = guard.ListBlocks(w.NewPractice(root, "alice").Context(), &authv1.ListBlocksRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err), "an administrator of a practice sees no addresses of others")
}

// Whoever is blocked for a week does not get out of it in half an hour by scanning on.
func TestDH39_ProbesDoNotShortenABlock(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	const bad = "203.0.113.30"
	made, err := containmentsOf(w, "gateway").ContainAddress(root.Context(), &authv1.ContainAddressRequest{Address: bad, Hours: 168, Reason: "scans"})
	require.NoError(t, err)
	list := func() *authv1.Block {
		t.Helper()
		page, err := guardOf(w.Auth).ListBlocks(root.Context(), &authv1.ListBlocksRequest{})
		require.NoError(t, err)
		require.Len(t, page.GetBlocks(), 1)
		return page.GetBlocks()[0]
	}
	probe := func() {
		t.Helper()
		for range 4 {
			_, err := guardOf(w.Auth).ReportProbe(w.Context(), &authv1.ReportProbeRequest{Client: &authv1.Client{Address: bad}})
			require.NoError(t, err)
		}
	}
	before, events := list(), len(w.Events())
	w.Clock.Advance(time.Minute)
	probe()
	require.Equal(t, made.GetExpireTime().AsTime(), list().GetExpireTime().AsTime())
	require.Equal(t, before.GetReason(), list().GetReason())
	for _, e := range w.Events()[events:] {
		require.NotEqual(t, accessv1.Action_ACTION_BLOCK_CHANGE, e.GetAction(), "no block was made")
	}
	// What ends sooner is lengthened.
	w.Clock.Advance(168*time.Hour - 2*time.Minute)
	root.SignIn()
	probe()
	require.True(t, list().GetExpireTime().AsTime().After(made.GetExpireTime().AsTime()))
	require.Equal(t, "PROBES", list().GetReason())
}

func TestDH39_WrongPasskeysSpeakAgainstTheAddressToo(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, manySignIns)
	root := w.Superadmin()
	passkeys := authv1.NewPasskeyServiceClient(w.Auth.Dial("gateway"))
	from := &authv1.Client{Address: "203.0.113.20"}
	try := func() error {
		_, err := passkeys.FinishPasskeySignIn(w.Context(), &authv1.FinishPasskeySignInRequest{
			Ceremony: uuid.NewString(), Credential: &structpb.Struct{}, Client: from,
		})
		return err
	}
	for range 20 {
		require.Equal(t, "PASSKEY_REFUSED", errs.ReasonOf(try()))
	}
	requireLimited(t, try(), "ADDRESS_BLOCKED", 15*time.Minute)
	_, err := passkeys.BeginPasskeySignIn(w.Context(), &authv1.BeginPasskeySignInRequest{Client: from})
	requireLimited(t, err, "ADDRESS_BLOCKED", 15*time.Minute)

	// Who was verified in that network goes on: a whole building may be behind one address.
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, "UPDATE sessions SET networks = '{203.0.113.0/24}'")
		require.NoError(t, err)
	})
	root.Address = "203.0.113.20"
	_, err = root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
	require.NoError(t, err)
	root.Session = "cks_" + strings.Repeat("A", 43)
	_, err = root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
	requireLimited(t, err, "ADDRESS_BLOCKED", 15*time.Minute)
}

func TestSomebodyElseReopensAnAccount(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	bob := w.NewUser(admin, "bob", accessv1.RoleKind_ROLE_KIND_ADMIN, "")
	unlock := func(by, whom *testkit.Person) error {
		_, err := guardOf(w.Auth).UnlockUser(by.Context(), &authv1.UnlockUserRequest{Name: whom.User})
		return err
	}
	require.Equal(t, "SELF_APPROVAL", errs.ReasonOf(unlock(admin, admin)))
	require.Equal(t, "USER_NOT_LOCKED", errs.ReasonOf(unlock(admin, bob)))
	require.Equal(t, codes.NotFound, status.Code(unlock(root, bob)), "a superadmin is in no practice")
}

// No RPC lets anybody choose the password of somebody else (ASVS 6.4.6): passwords stand
// only in requests that name their user by a secret of that user.
func TestDC13_NobodyChoosesAnothersPassword(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{
		"SignInRequest": true, "AcceptInvitationRequest": true, "ChangePasswordRequest": true, "ResetPasswordRequest": true, "ReauthenticateRequest": true,
	}
	seen := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("carekeep.auth.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Messages().Len() {
			message := file.Messages().Get(i)
			for j := range message.Fields().Len() {
				if strings.Contains(string(message.Fields().Get(j).Name()), "password") {
					seen++
					require.True(t, allowed[string(message.Name())], "%s takes a password", message.FullName())
				}
			}
		}
		return true
	})
	require.GreaterOrEqual(t, seen, 4)
}
