package app_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

const (
	superadmin = accessv1.RoleKind_ROLE_KIND_SUPERADMIN
	admin      = accessv1.RoleKind_ROLE_KIND_ADMIN
	doctor     = accessv1.RoleKind_ROLE_KIND_DOCTOR
	staff      = accessv1.RoleKind_ROLE_KIND_STAFF
)

func requireReason(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	require.Equal(t, code, status.Code(err), "%v", err)
	require.Equal(t, reason, errs.ReasonOf(err))
}

func newUser(username string, role accessv1.RoleKind, template string) *authv1.CreateUserRequest {
	return &authv1.CreateUserRequest{
		Username: username, DisplayName: username, Email: username + "@example.org", Role: role, Template: template,
	}
}

func TestDH18_NamesAndIdsAreNeverGivenTwice(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	alice, dave := w.NewPractice(root, "alice"), w.NewPractice(root, "dave")
	first := w.Invite(alice, "bob", doctor, "")
	_, err := w.Auth.CreateUser(alice.Context(), newUser("bob", doctor, ""))
	requireReason(t, err, codes.AlreadyExists, "USERNAME_TAKEN")
	_, err = w.Auth.CreateUser(dave.Context(), newUser("bob", doctor, ""))
	requireReason(t, err, codes.AlreadyExists, "USERNAME_TAKEN")
	_, err = w.Auth.CreatePractice(root.Context(), &authv1.CreatePracticeRequest{
		DisplayName: "Third", AdminUsername: "bob", AdminEmail: "b@example.org",
	})
	requireReason(t, err, codes.AlreadyExists, "USERNAME_TAKEN")

	disabled, err := w.Auth.DisableUser(alice.Context(), &authv1.DisableUserRequest{Name: first.User})
	require.NoError(t, err)
	require.True(t, disabled.GetDisabled())
	_, err = w.Auth.CreateUser(alice.Context(), newUser("bob", doctor, ""))
	requireReason(t, err, codes.AlreadyExists, "USERNAME_TAKEN")
	_, err = w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: &authv1.User{
		Name: alice.User, Username: "alice2", DisplayName: "x", Etag: "1",
	}})
	requireReason(t, err, codes.InvalidArgument, "USERNAME_FIXED")

	// The service's own database role could not do it either.
	conn, err := w.Postgres.Conn(w.Context(), "auth", "auth_app", w.Database)
	require.NoError(t, err)
	defer func() { _ = conn.Close(w.Context()) }()
	_, err = conn.Exec(w.Context(), "SELECT set_config('carekeep.practice', $1, false)", strings.TrimPrefix(alice.Practice, "practices/"))
	require.NoError(t, err)
	for _, statement := range []string{"DELETE FROM users", "UPDATE users SET username = 'x'", "UPDATE users SET id = gen_random_uuid()", "TRUNCATE users"} {
		_, err = conn.Exec(w.Context(), statement)
		require.ErrorContains(t, err, "permission denied", statement)
	}
}

func TestCreatesAreIdempotentByRequestID(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	request := &authv1.CreatePracticeRequest{
		DisplayName: "Elm Street", AdminUsername: "erin", AdminEmail: "erin@example.org", RequestId: uuid.NewString(),
	}
	first, err := w.Auth.CreatePractice(root.Context(), request)
	require.NoError(t, err)
	again, err := w.Auth.CreatePractice(root.Context(), request)
	require.NoError(t, err)
	require.True(t, proto.Equal(first, again))

	alice := w.NewPractice(root, "alice")
	create := newUser("bob", staff, "nurse")
	create.RequestId = uuid.NewString()
	results := make(chan *authv1.User, 4)
	for range 4 {
		go func() {
			user, err := w.Auth.CreateUser(alice.Context(), create)
			if err != nil {
				t.Error(err)
			}
			results <- user
		}()
	}
	bob := <-results
	for range 3 {
		require.True(t, proto.Equal(bob, <-results), "the same call at the same moment makes one user")
	}
	create.Username = "bobby"
	_, err = w.Auth.CreateUser(alice.Context(), create)
	requireReason(t, err, codes.InvalidArgument, "REQUEST_ID_USED")
}

func TestUpdatesTakeTheEtagThatWasRead(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	bob := w.Invite(alice, "bob", staff, "nurse")
	read, err := w.Auth.GetUser(alice.Context(), &authv1.GetUserRequest{Name: bob.User})
	require.NoError(t, err)
	require.Equal(t, "bob@example.org", read.GetEmail())

	update := func(u *authv1.User, paths ...string) (*authv1.User, error) {
		return w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: u, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	}
	changed, err := update(&authv1.User{Name: bob.User, DisplayName: "Bob the nurse", Etag: read.GetEtag()}, "display_name")
	require.NoError(t, err)
	require.Equal(t, "Bob the nurse", changed.GetDisplayName())
	require.Equal(t, "nurse", changed.GetTemplate())
	require.NotEqual(t, read.GetEtag(), changed.GetEtag())
	_, err = update(&authv1.User{Name: bob.User, DisplayName: "late", Etag: read.GetEtag()}, "display_name")
	requireReason(t, err, codes.Aborted, "ETAG_STALE")
	_, err = update(&authv1.User{Name: bob.User, DisplayName: "late", Etag: "x"}, "display_name")
	requireReason(t, err, codes.Aborted, "ETAG_STALE")
	_, err = update(&authv1.User{Name: bob.User, DisplayName: "late"}, "display_name")
	requireReason(t, err, codes.InvalidArgument, "ETAG_MISSING")
	_, err = update(&authv1.User{Name: bob.User, Etag: changed.GetEtag()}, "password")
	requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
	for _, bad := range []*authv1.User{
		{Name: bob.User, Etag: changed.GetEtag(), DisplayName: "two\nlines"},
		{Name: bob.User, Etag: changed.GetEtag(), DisplayName: "nul\x00"},
		{Name: bob.User, Etag: changed.GetEtag(), Email: "Bob <bob@example.org>, eve@example.org"},
		{Name: bob.User, Etag: changed.GetEtag(), Disabled: true},
	} {
		_, err = update(bad)
		requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
	}
	// A REST client sends the whole resource back, read-only fields included.
	changed.DisplayName = "Bob"
	changed, err = update(changed, "name", "username", "display_name", "email", "role", "template", "practice", "etag", "create_time", "disabled")
	require.NoError(t, err)
	require.Equal(t, "Bob", changed.GetDisplayName())
}

// An administrator who could move the mailbox could choose the password by a reset (ASVS 6.4.6).
func TestDC13_AMovedMailboxIsToldAndGetsNoResetForADay(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	bob := w.NewUser(alice, "bob", doctor, "")
	asked := resetToken(t, w, bob)
	read, err := w.Auth.GetUser(alice.Context(), &authv1.GetUserRequest{Name: bob.User})
	require.NoError(t, err)
	move := &authv1.UpdateUserRequest{User: &authv1.User{Name: bob.User, Email: "mallory@example.org", Etag: read.GetEtag()}}
	w.Clock.Advance(10 * time.Minute)
	_, err = w.Auth.UpdateUser(alice.Context(), move)
	requireReason(t, err, codes.PermissionDenied, "REAUTHENTICATE")
	alice.SignIn()
	_, err = w.Auth.UpdateUser(alice.Context(), move)
	require.NoError(t, err)
	events := w.Events()
	require.True(t, slices.ContainsFunc(events, func(e *auditv1.Event) bool {
		return e.GetReason() == "EMAIL_CHANGED" && e.GetRisk() == auditv1.Risk_RISK_HIGH && e.GetUsername() == "alice"
	}))
	w.Inbox.Told(bob.Email, "The mail address of your account was changed.")
	_, err = guardOf(w.Auth).ResetPassword(w.Context(), &authv1.ResetPasswordRequest{
		ResetToken: asked, NewPassword: nextPassword, Client: &authv1.Client{Address: bob.Address},
	})
	require.Equal(t, "RESET_INVALID", errs.ReasonOf(err), "what was sent before opens nothing")

	bob.Email = "mallory@example.org"
	ask := func() {
		_, err := guardOf(w.Auth).RequestPasswordReset(w.Context(), &authv1.RequestPasswordResetRequest{
			Username: bob.Username, Client: &authv1.Client{Address: bob.Address},
		})
		require.NoError(t, err, "answers as ever")
	}
	w.Clock.Advance(24*time.Hour - 11*time.Minute)
	ask()
	last := w.Events()
	require.Equal(t, "MAILBOX_TOO_NEW", last[len(last)-1].GetReason())
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		var open int
		require.NoError(t, conn.QueryRow(ctx, "SELECT count(*) FROM resets WHERE used IS NULL AND expires > $1", w.Clock.Now()).Scan(&open))
		require.Zero(t, open, "nothing was made that could be sent")
	})
	w.Clock.Advance(12 * time.Minute)
	require.NotEmpty(t, resetToken(t, w, bob))
}

func TestANewRoleCountsAtTheNextRequest(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	bob := w.NewUser(alice, "bob", doctor, "")
	require.True(t, bob.Caller(accessv1.Service_SERVICE_RECORDS).Permissions.Has(accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ))
	read, err := w.Auth.GetUser(alice.Context(), &authv1.GetUserRequest{Name: bob.User})
	require.NoError(t, err)
	_, err = w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: &authv1.User{
		Name: bob.User, Role: staff, Etag: read.GetEtag(),
	}})
	requireReason(t, err, codes.InvalidArgument, "ROLE_INVALID")
	_, err = w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: &authv1.User{
		Name: bob.User, Role: superadmin, Etag: read.GetEtag(),
	}})
	requireReason(t, err, codes.PermissionDenied, "ROLE_NOT_GRANTABLE")
	_, err = w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: &authv1.User{
		Name: bob.User, Role: staff, Template: "receptionist", Etag: read.GetEtag(),
	}})
	require.NoError(t, err)
	now := bob.Caller(accessv1.Service_SERVICE_RECORDS)
	require.Equal(t, staff, now.Role)
	require.Equal(t, "receptionist", now.Template)
	require.False(t, now.Permissions.Has(accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ))
}

func TestRolesThatCannotBeGiven(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	alice := w.NewPractice(root, "alice")
	_, err := w.Auth.CreateUser(alice.Context(), newUser("bob", superadmin, ""))
	requireReason(t, err, codes.PermissionDenied, "ROLE_NOT_GRANTABLE")
	_, err = w.Auth.CreateUser(root.Context(), newUser("bob", doctor, ""))
	requireReason(t, err, codes.PermissionDenied, "ROLE_NOT_GRANTABLE")
	_, err = w.Auth.CreateUser(alice.Context(), newUser("bob", staff, ""))
	requireReason(t, err, codes.InvalidArgument, "ROLE_INVALID")
	_, err = w.Auth.CreateUser(alice.Context(), newUser("bob", doctor, "nurse"))
	requireReason(t, err, codes.InvalidArgument, "ROLE_INVALID")
	_, err = w.Auth.CreateUser(root.Context(), newUser("second", superadmin, ""))
	require.NoError(t, err)
}

func TestDisablingAUserEndsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	bob := w.NewUser(alice, "bob", doctor, "")
	other := w.Replica()
	w.Clock.Advance(time.Minute)
	first := bob.Session
	bob.SignIn()
	_, err := w.Auth.DisableUser(alice.Context(), &authv1.DisableUserRequest{Name: bob.User})
	require.NoError(t, err)
	for _, token := range []string{first, bob.Session} {
		bob.Session = token
		_, err := bob.Admit(other, accessv1.Service_SERVICE_RECORDS, false)
		require.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	_, err = w.Auth.DisableUser(alice.Context(), &authv1.DisableUserRequest{Name: bob.User})
	require.NoError(t, err, "disabling twice changes nothing")
	read, err := w.Auth.GetUser(alice.Context(), &authv1.GetUserRequest{Name: bob.User})
	require.NoError(t, err)
	_, err = w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: &authv1.User{
		Name: bob.User, DisplayName: "x", Etag: read.GetEtag(),
	}})
	requireReason(t, err, codes.FailedPrecondition, "USER_DISABLED")
}

func TestAnAdministratorEndsAUsersSessions(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	bob := w.NewUser(alice, "bob", doctor, "")
	w.Clock.Advance(time.Minute)
	bob.SignIn()
	ended, err := w.Auth.EndUserSessions(alice.Context(), &authv1.EndUserSessionsRequest{Name: bob.User})
	require.NoError(t, err)
	require.EqualValues(t, 2, ended.GetEnded())
	requireOver(t, bob, w, bob.Session, "ended by the administrator")
}

func TestTheLastAdministratorStays(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	_, err := w.Auth.DisableUser(root.Context(), &authv1.DisableUserRequest{Name: root.User})
	requireReason(t, err, codes.FailedPrecondition, "LAST_ADMINISTRATOR")
	alice := w.NewPractice(root, "alice")
	_, err = w.Auth.DisableUser(alice.Context(), &authv1.DisableUserRequest{Name: alice.User})
	requireReason(t, err, codes.FailedPrecondition, "LAST_ADMINISTRATOR")
	second := w.NewUser(alice, "second", admin, "")
	results := make(chan error, 2)
	// Both are admitted before either is disabled or gets another role.
	hers, theirs := alice.Context(), second.Context()
	go func() {
		_, err := w.Auth.DisableUser(hers, &authv1.DisableUserRequest{Name: second.User})
		results <- err
	}()
	go func() {
		_, err := w.Auth.UpdateUser(theirs, &authv1.UpdateUserRequest{User: &authv1.User{Name: alice.User, Role: doctor, Etag: "1"}})
		results <- err
	}()
	failed := 0
	for range 2 {
		if err := <-results; err != nil {
			requireReason(t, err, codes.FailedPrecondition, "LAST_ADMINISTRATOR")
			failed++
		}
	}
	require.Equal(t, 1, failed, "two who remove each other at the same moment leave one")
}

func TestDC29_NobodyChangesTheirOwnRole(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	w.NewUser(alice, "second", admin, "")
	_, err := w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: &authv1.User{Name: alice.User, Role: doctor, Etag: "1"}})
	requireReason(t, err, codes.PermissionDenied, "SELF_ASSIGNMENT")
	require.Equal(t, admin, alice.Caller(records).Role)
	_, err = w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: &authv1.User{
		Name: alice.User, DisplayName: "Alice A.", Role: admin, Etag: "1",
	}})
	require.NoError(t, err, "the name is their own affair")
}

func TestListsPage(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	alice := w.NewPractice(root, "alice")
	want := []string{"alice"}
	for _, name := range []string{"u-1", "u-2", "u-3", "u-4"} {
		w.Invite(alice, name, staff, "nurse")
		want = append(want, name)
	}
	var got []string
	token := ""
	for pages := 0; ; pages++ {
		require.Less(t, pages, 4)
		page, err := w.Auth.ListUsers(alice.Context(), &authv1.ListUsersRequest{PageSize: 2, PageToken: token})
		require.NoError(t, err)
		for _, u := range page.GetUsers() {
			got = append(got, u.GetUsername())
			require.Equal(t, u.GetUsername()+"@example.org", u.GetEmail())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	require.Equal(t, want, got)
	_, err := w.Auth.ListUsers(alice.Context(), &authv1.ListUsersRequest{PageToken: "rubbish"})
	requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
	practices, err := w.Auth.ListPractices(root.Context(), &authv1.ListPracticesRequest{PageSize: 1})
	require.NoError(t, err)
	require.Len(t, practices.GetPractices(), 1)
	require.Empty(t, practices.GetNextPageToken())
}

func TestInvitationsWorkOnceWithinADay(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	bob := w.Invite(alice, "bob", doctor, "")
	accept := func(token, password string) error {
		_, err := w.Auth.AcceptInvitation(w.Context(), &authv1.AcceptInvitationRequest{
			InvitationToken: token, Password: password, Client: &authv1.Client{Address: bob.Address},
		})
		return err
	}
	token := w.Inbox.Invitation(bob.Email, 1)
	mail := w.Inbox.Messages(bob.Email)[0].Text
	require.Contains(t, strings.ReplaceAll(mail, "=\r\n", ""), "https://care.example.org/invitation#cki_")
	requireReason(t, accept(token+"x", testkit.Password), codes.Unauthenticated, "INVITATION_INVALID")
	requireReason(t, accept("cki_rubbish", testkit.Password), codes.Unauthenticated, "INVITATION_INVALID")
	requireReason(t, accept(token, "bob@example.org"), codes.InvalidArgument, "PASSWORD_WEAK")
	requireReason(t, accept(token, "short-7"), codes.InvalidArgument, "PASSWORD_WEAK")
	require.NoError(t, accept(token, testkit.Password), "a weak password did not use it up")
	requireReason(t, accept(token, testkit.Password), codes.Unauthenticated, "INVITATION_INVALID")

	carol := w.Invite(alice, "carol", doctor, "")
	late := w.Inbox.Invitation(carol.Email, 1)
	w.Clock.Advance(24 * time.Hour)
	requireReason(t, accept(late, testkit.Password), codes.Unauthenticated, "INVITATION_INVALID")
	alice.SignIn()
	// A corrected mail address sends a new one and ends the old one.
	_, err := w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: &authv1.User{
		Name: carol.User, Email: "carol.new@example.org", Etag: "1",
	}})
	require.NoError(t, err)
	second := w.Inbox.Invitation("carol.new@example.org", 1)
	requireReason(t, accept(late, testkit.Password), codes.Unauthenticated, "INVITATION_INVALID")
	require.NoError(t, accept(second, testkit.Password))
}

func TestDisabledUsersCannotAcceptInvitations(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	bob := w.Invite(alice, "bob", doctor, "")
	token := w.Inbox.Invitation(bob.Email, 1)
	_, err := w.Auth.DisableUser(alice.Context(), &authv1.DisableUserRequest{Name: bob.User})
	require.NoError(t, err)
	_, err = w.Auth.AcceptInvitation(w.Context(), &authv1.AcceptInvitationRequest{
		InvitationToken: token, Password: testkit.Password, Client: &authv1.Client{Address: bob.Address},
	})
	requireReason(t, err, codes.Unauthenticated, "INVITATION_INVALID")
}

func TestMailWaitsForTheMailServer(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	w.Inbox.Refuse(true)
	bob := w.Invite(alice, "bob", doctor, "")
	require.Eventually(t, func() bool { return strings.Contains(w.Log.String(), "mail was not sent") }, 20*time.Second, 10*time.Millisecond)
	require.NotContains(t, w.Log.String(), bob.Email, "the server's answer named the recipient, our log must not")
	w.Inbox.Refuse(false)
	require.Empty(t, w.Inbox.Messages(bob.Email))
	w.Clock.Advance(10 * time.Second)
	w.Invite(alice, "carol", doctor, "") // pokes the worker
	w.Inbox.Invitation(bob.Email, 1)
	require.Eventually(t, func() bool {
		left := 0
		w.Admin(func(ctx context.Context, conn *pgx.Conn) {
			require.NoError(t, conn.QueryRow(ctx, "SELECT count(*) FROM mail").Scan(&left))
		})
		return left == 0
	}, 20*time.Second, 20*time.Millisecond)
}
