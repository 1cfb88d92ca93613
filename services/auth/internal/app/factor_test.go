package app_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/password"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// A session with the password alone is refused by every RPC of every service
// that reaches patient data or administration: it lacks permission and level.
func TestDH22_APasswordAloneReachesNoPatientDataAndNoAdministration(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	doctor := w.NewUser(admin, "dr.smith", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	for _, p := range []*testkit.Person{root, admin, doctor} {
		weak, err := p.TrySignIn(w.Auth, testkit.Password, "")
		require.NoError(t, err)
		p.Session = weak.GetSessionToken()
		held := p.Caller(accessv1.Service_SERVICE_RECORDS)
		require.Equal(t, accessv1.Assurance_ASSURANCE_AAL1, held.Assurance)
		require.ElementsMatch(t, []accessv1.Permission{
			accessv1.Permission_PERMISSION_SELF_READ, accessv1.Permission_PERMISSION_SELF_SESSIONS_END,
			accessv1.Permission_PERMISSION_SELF_FACTORS_ENROL, accessv1.Permission_PERMISSION_SELF_FACTORS_VERIFY,
			accessv1.Permission_PERMISSION_SELF_FACTORS_READ, accessv1.Permission_PERMISSION_SELF_COMPROMISE_REPORT,
		}, held.Permissions.List())
	}

	conn := w.Auth.Dial("gateway")
	reached := 0
	for _, full := range methods() {
		rule, ok := access.RuleOf(full)
		require.True(t, ok)
		if rule.GetAnonymous() || rule.GetAssurance() == accessv1.Assurance_ASSURANCE_AAL1 {
			continue
		}
		for _, p := range []*testkit.Person{root, admin, doctor} {
			err := conn.Invoke(p.Context(), full, &authv1.ListRolesRequest{}, &authv1.ListRolesResponse{})
			require.Equal(t, codes.PermissionDenied, status.Code(err), full)
			require.Equal(t, "ASSURANCE_TOO_LOW", errs.ReasonOf(err))
		}
		reached++
	}
	require.GreaterOrEqual(t, reached, 50)
}

// methods are the RPCs of all that auth serves.
func methods() (all []string) {
	for _, service := range []grpc.ServiceDesc{
		authv1.AuthService_ServiceDesc, authv1.PasskeyService_ServiceDesc, authv1.CodeService_ServiceDesc, authv1.DeviceService_ServiceDesc,
		authv1.GuardService_ServiceDesc, authv1.GovernanceService_ServiceDesc, authv1.MessageService_ServiceDesc,
	} {
		for _, method := range service.Methods {
			all = append(all, "/"+service.ServiceName+"/"+method.MethodName)
		}
	}
	return all
}

func TestDH22_ACodeCountsOnce(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	used := root.Code()
	_, err := root.TrySignIn(w.Auth, testkit.Password, used)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "the code that confirmed the enrolment")
	w.Clock.Advance(30 * time.Second)
	code := root.Code()
	_, err = root.TrySignIn(w.Auth, testkit.Password, code)
	require.NoError(t, err)
	_, err = root.TrySignIn(w.Auth, testkit.Password, code)
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	_, err = root.TrySignIn(w.Auth, testkit.Password, used)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "an earlier step is not accepted after a later one")
}

func TestDH22_OneCodeOpensOneSessionInARace(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	other := w.Replica()
	w.Clock.Advance(time.Minute)
	code := root.Code()
	results := make(chan error)
	for i := range 10 {
		go func() {
			_, err := root.TrySignIn([]*testkit.Auth{w.Auth, other}[i%2], testkit.Password, code)
			results <- err
		}()
	}
	opened := 0
	for range 10 {
		if err := <-results; err == nil {
			opened++
		} else {
			require.Equal(t, codes.Unauthenticated, status.Code(err))
		}
	}
	require.Equal(t, 1, opened)
}

func TestDC09_EveryWrongSignInAnswersAlikeAndIsRecordedByItsStage(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	invited := w.Invite(admin, "bob", accessv1.RoleKind_ROLE_KIND_STAFF, "nurse")
	gone := w.NewUser(admin, "carol", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	_, err := w.Auth.DisableUser(admin.Context(), &authv1.DisableUserRequest{Name: gone.User})
	require.NoError(t, err)
	shut := w.NewPractice(root, "dave")
	found, err := w.Auth.GetPractice(root.Context(), &authv1.GetPracticeRequest{Name: shut.Practice})
	require.NoError(t, err)
	found.Disabled = true
	_, err = w.Auth.UpdatePractice(root.Context(), &authv1.UpdatePracticeRequest{Practice: found})
	require.NoError(t, err)
	w.Clock.Advance(time.Minute)

	wrong := "000000"
	if admin.Code() == wrong {
		wrong = "000001"
	}
	var texts []string
	for _, c := range []struct {
		username, password, code, stage string
	}{
		{"nobody", testkit.Password, "", "UNKNOWN_USER"},
		{"no\x00body", testkit.Password, "", "UNKNOWN_USER"},
		{"alice", "wrong", "", "WRONG_PASSWORD"},
		{"alice", testkit.Password, wrong, "WRONG_CODE"},
		{invited.Username, testkit.Password, "", "INVITATION_NOT_ACCEPTED"},
		{gone.Username, testkit.Password, gone.Code(), "USER_DISABLED"},
		{shut.Username, testkit.Password, shut.Code(), "PRACTICE_DISABLED"},
	} {
		_, err := w.Auth.SignIn(w.Context(), &authv1.SignInRequest{
			Username: c.username, Password: c.password, TotpCode: c.code, Client: &authv1.Client{Address: "192.0.2.1"},
		})
		require.Equal(t, codes.Unauthenticated, status.Code(err), c.stage)
		require.Equal(t, "SIGN_IN_FAILED", errs.ReasonOf(err))
		texts = append(texts, status.Convert(err).Proto().String())
		events := w.Events()
		last := events[len(events)-1]
		require.Equal(t, c.stage, last.GetReason())
		require.Equal(t, strings.ReplaceAll(c.username, "\x00", "\ufffd"), last.GetUsername())
		require.Equal(t, "192.0.2.1", last.GetAddress())
	}
	for _, text := range texts[1:] {
		require.Equal(t, texts[0], text)
	}
}

func TestDC11_DX11_HashesFollowTheParametersAtSignIn(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	stored := func() (hash string) {
		w.Admin(func(ctx context.Context, conn *pgx.Conn) {
			require.NoError(t, conn.QueryRow(ctx, "SELECT password_hash FROM credentials").Scan(&hash))
		})
		return hash
	}
	before := stored()
	require.True(t, strings.HasPrefix(before, "$argon2id$v=19$m=19456,t=2,p=1$"), before)
	w.Settings.Argon2id = password.Parameters{MemoryKiB: 47104, Passes: 1, Parallelism: 1}
	stronger := w.Replica()
	w.Clock.Advance(time.Minute)
	_, err := root.TrySignIn(stronger, "wrong", "")
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	require.Equal(t, before, stored(), "a wrong password changes nothing")
	_, err = root.TrySignIn(stronger, testkit.Password, root.Code())
	require.NoError(t, err)
	after := stored()
	require.True(t, strings.HasPrefix(after, "$argon2id$v=19$m=47104,t=1,p=1$"), after)
	w.Clock.Advance(time.Minute)
	_, err = root.TrySignIn(stronger, testkit.Password, root.Code())
	require.NoError(t, err)
	require.Equal(t, after, stored(), "and then stays")
}

func TestChangingThePasswordEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	first := root.Session
	w.Clock.Advance(time.Minute)
	root.SignIn()
	change := func(current, next string) error {
		_, err := w.Auth.ChangePassword(root.Context(), &authv1.ChangePasswordRequest{CurrentPassword: current, NewPassword: next})
		return err
	}
	require.Equal(t, "PASSWORD_WRONG", errs.ReasonOf(change("wrong", "other-long-unrelated-words")))
	require.Equal(t, "PASSWORD_SAME", errs.ReasonOf(change(testkit.Password, testkit.Password)))
	err := change(testkit.Password, "root@example.org")
	require.Equal(t, "PASSWORD_WEAK", errs.ReasonOf(err))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.NoError(t, change(testkit.Password, "marzipan-gleis-forelle-77"))
	requireOver(t, root, w, first, "another session")
	require.Len(t, live(t, root, w), 1)
	w.Clock.Advance(time.Minute)
	_, err = root.TrySignIn(w.Auth, testkit.Password, "")
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	_, err = root.TrySignIn(w.Auth, "marzipan-gleis-forelle-77", root.Code())
	require.NoError(t, err)
}

// ASVS 7.5.1 (full authentication first), 6.3.7 (told of it), 7.4.3 (others may be ended).
func TestASecondFactorIsReplacedOnlyWithTheFirstOne(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	w.Clock.Advance(time.Minute)
	strong := root.Session
	weak, err := root.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	root.Session = weak.GetSessionToken()
	_, err = w.Auth.EnrolTotp(root.Context(), &authv1.EnrolTotpRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.Equal(t, "ASSURANCE_TOO_LOW", errs.ReasonOf(err))

	root.Session = strong
	old := *root
	enrolled, err := w.Auth.EnrolTotp(root.Context(), &authv1.EnrolTotpRequest{})
	require.NoError(t, err)
	require.NotEqual(t, root.Secret, enrolled.GetSecret())
	require.Contains(t, enrolled.GetUri(), "otpauth://totp/carekeep:root")
	_, err = old.TrySignIn(w.Auth, testkit.Password, old.Code())
	require.NoError(t, err, "the old factor counts until the new one is confirmed")

	root.Secret = enrolled.GetSecret()
	root.Session = weak.GetSessionToken()
	_, err = w.Auth.ConfirmTotp(root.Context(), &authv1.ConfirmTotpRequest{TotpCode: root.Code()})
	require.Equal(t, "ASSURANCE_TOO_LOW", errs.ReasonOf(err))
	root.Session = strong
	w.Clock.Advance(4*time.Minute + time.Second)
	confirm := &authv1.ConfirmTotpRequest{TotpCode: root.Code(), EndOtherSessions: true}
	_, err = w.Auth.ConfirmTotp(root.Context(), confirm)
	require.Equal(t, "REAUTHENTICATE", errs.ReasonOf(err))
	_, err = w.Auth.EnrolTotp(root.Context(), &authv1.EnrolTotpRequest{})
	require.Equal(t, "REAUTHENTICATE", errs.ReasonOf(err))
	again, err := w.Auth.VerifyTotp(root.Context(), &authv1.VerifyTotpRequest{TotpCode: old.Code()})
	require.NoError(t, err)
	root.Session = again.GetSessionToken()
	_, err = w.Auth.ConfirmTotp(root.Context(), confirm)
	require.Equal(t, "REAUTHENTICATE", errs.ReasonOf(err), "one factor is no full authentication")
	w.Clock.Advance(30 * time.Second)
	again, err = authv1.NewPasskeyServiceClient(w.Auth.Dial("gateway")).Reauthenticate(root.Context(),
		&authv1.ReauthenticateRequest{Password: testkit.Password, TotpCode: old.Code()})
	require.NoError(t, err)
	root.Session = again.GetSessionToken()
	require.Len(t, live(t, root, w), 3)
	confirm.TotpCode = root.Code()
	confirmed, err := w.Auth.ConfirmTotp(root.Context(), confirm)
	require.NoError(t, err)
	root.Session = confirmed.GetSessionToken()
	require.EqualValues(t, 2, confirmed.GetEndedSessions())
	require.Zero(t, confirmed.GetOtherSessions())
	require.Len(t, live(t, root, w), 1)
	w.Inbox.Told(root.Email, "one-time codes of an app, in place of another")
	w.Clock.Advance(time.Minute)
	_, err = old.TrySignIn(w.Auth, testkit.Password, old.Code())
	require.Equal(t, codes.Unauthenticated, status.Code(err), "the old factor is gone")
	root.SignIn()
}

func TestAnEnrolmentBelongsToItsSessionAndLapses(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	invited := w.Invite(admin, "bob", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	accepted, err := w.Auth.AcceptInvitation(w.Context(), &authv1.AcceptInvitationRequest{
		InvitationToken: w.Inbox.Invitation(invited.Email, 1), Password: testkit.Password, Client: &authv1.Client{Address: invited.Address},
	})
	require.NoError(t, err)
	invited.Session = accepted.GetSessionToken()
	confirm := func() error {
		_, err := w.Auth.ConfirmTotp(invited.Context(), &authv1.ConfirmTotpRequest{TotpCode: "123456"})
		return err
	}
	require.Equal(t, "ENROLMENT_MISSING", errs.ReasonOf(confirm()))
	_, err = w.Auth.VerifyTotp(invited.Context(), &authv1.VerifyTotpRequest{TotpCode: "123456"})
	require.Equal(t, "FACTOR_MISSING", errs.ReasonOf(err))
	enrolled, err := w.Auth.EnrolTotp(invited.Context(), &authv1.EnrolTotpRequest{})
	require.NoError(t, err)
	invited.Secret = enrolled.GetSecret()

	victim := invited.Session
	w.Clock.Advance(time.Minute)
	second, err := invited.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	require.Equal(t, authv1.NextStep_NEXT_STEP_ENROL_TOTP, second.GetNextStep())
	invited.Session = second.GetSessionToken()
	require.Equal(t, "ENROLMENT_MISSING", errs.ReasonOf(confirm()), "another session of the same user")

	invited.Session = victim
	w.Clock.Advance(13 * time.Minute)
	_, err = invited.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
	require.NoError(t, err)
	w.Clock.Advance(time.Minute)
	_, err = w.Auth.ConfirmTotp(invited.Context(), &authv1.ConfirmTotpRequest{TotpCode: invited.Code()})
	require.Equal(t, "ENROLMENT_MISSING", errs.ReasonOf(err), "15 minutes are over")
}

func TestACallerTokenOfAnEndedSessionRaisesNothing(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	w.Clock.Advance(time.Minute)
	weak, err := root.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	root.Session = weak.GetSessionToken()
	token, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
	require.NoError(t, err)
	ctx := caller.Attach(w.Context(), token)
	_, err = w.Auth.SignOut(ctx, &authv1.SignOutRequest{})
	require.NoError(t, err)
	_, err = w.Auth.VerifyTotp(ctx, &authv1.VerifyTotpRequest{TotpCode: root.Code()})
	require.Equal(t, "SESSION_OVER", errs.ReasonOf(err))
}
