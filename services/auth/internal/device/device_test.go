package device_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
	chrome  = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)

func wide(s *app.Settings) { s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 10_000, 10_000 }

func devices(w *testkit.World) authv1.DeviceServiceClient {
	return authv1.NewDeviceServiceClient(w.Auth.Dial("gateway"))
}

// with counts the events of a user with that reason.
func with(w *testkit.World, user, reason string) []*auditv1.Event {
	var found []*auditv1.Event
	for _, e := range w.Events() {
		if e.GetReason() == reason && e.GetUsername() == user {
			found = append(found, e)
		}
	}
	return found
}

// told waits for the n-th mail with that subject.
func told(t *testing.T, w *testkit.World, p *testkit.Person, subject string, n int) string {
	t.Helper()
	var found []string
	require.Eventually(t, func() bool {
		found = nil
		for _, m := range w.Inbox.Messages(p.Email) {
			if strings.Contains(m.Text, "Subject: carekeep: "+subject) {
				found = append(found, m.Text)
			}
		}
		return len(found) >= n
	}, 20*time.Second, 20*time.Millisecond, subject)
	require.Len(t, found, n)
	return found[n-1]
}

func TestDH31_AnUnknownDeviceIsNoticedAndAKnownOneIsNot(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	require.NotEmpty(t, root.Device)
	require.Empty(t, with(w, "root", "DEVICE_NEW"), "the first device of an account is no news")
	alice := w.NewPractice(root, "alice")
	mine := alice.Device
	w.Clock.Advance(time.Minute)
	require.Empty(t, alice.SignIn().GetDeviceToken(), "it named a device that is known")
	require.Empty(t, with(w, "alice", "DEVICE_NEW"))

	// A stolen token in another client, a forged one, another user's: each is unknown.
	unknown := 0
	for what, try := range map[string]func(){
		"features": func() { alice.Device, alice.Agent = mine, firefox },
		"forged":   func() { alice.Device, alice.Agent = mine[:len(mine)-1]+"!", "testkit" },
		"others":   func() { alice.Device, alice.Agent = root.Device, "testkit" },
	} {
		try()
		presented := alice.Device
		w.Clock.Advance(time.Minute)
		issued := alice.SignIn().GetDeviceToken()
		require.NotEmpty(t, issued, what)
		require.NotEqual(t, presented, issued, what)
		unknown++
		found := with(w, "alice", "DEVICE_NEW")
		require.Len(t, found, unknown, what)
		require.Equal(t, auditv1.Risk_RISK_MEDIUM, found[unknown-1].GetRisk())
		require.Equal(t, accessv1.Action_ACTION_DEVICE_CHANGE, found[unknown-1].GetAction())
		w.Clock.Advance(time.Minute)
		require.Empty(t, alice.SignIn().GetDeviceToken(), "the token that was issued is known: "+what)
	}
	told(t, w, alice, "Sign-in from a new device", unknown)
	w.Clock.Advance(time.Minute)
	require.Empty(t, root.SignIn().GetDeviceToken(), "another user's device stays theirs")

	// A password alone from the unknown device reaches nothing: the second factor is asked for.
	alice.Device = ""
	weak, err := alice.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	require.Equal(t, authv1.NextStep_NEXT_STEP_VERIFY_TOTP, weak.GetNextStep())
	require.NotEmpty(t, weak.GetDeviceToken())
}

func TestUsersNameAndForgetTheirDevices(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	client := devices(w)
	root := w.Superadmin()
	first, firstToken := root.Session, root.Device
	root.Agent, root.Device = firefox, ""
	w.Clock.Advance(time.Minute)
	root.SignIn()

	list, err := client.ListDevices(root.Context(), &authv1.ListDevicesRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetDevices(), 2)
	mine, other := list.GetDevices()[0], list.GetDevices()[1]
	require.True(t, mine.GetCurrent())
	require.False(t, other.GetCurrent())
	require.Equal(t, "Firefox on Linux", mine.GetDisplayName())
	sessions, err := w.Auth.ListSessions(root.Context(), &authv1.ListSessionsRequest{})
	require.NoError(t, err)
	require.Equal(t, mine.GetName(), sessions.GetSessions()[1].GetDevice())
	require.Equal(t, []authv1.Method{authv1.Method_METHOD_TOTP, authv1.Method_METHOD_PASSWORD}, sessions.GetSessions()[1].GetMethods())

	renamed, err := client.RenameDevice(root.Context(), &authv1.RenameDeviceRequest{Name: mine.GetName(), DisplayName: "Ward 3"})
	require.NoError(t, err)
	require.Equal(t, "Ward 3", renamed.GetDisplayName())

	alice := w.NewPractice(root, "alice")
	_, err = client.RenameDevice(alice.Context(), &authv1.RenameDeviceRequest{Name: mine.GetName(), DisplayName: "x"})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = client.ForgetDevice(alice.Context(), &authv1.ForgetDeviceRequest{Name: mine.GetName()})
	require.Equal(t, codes.NotFound, status.Code(err))

	forgotten, err := client.ForgetDevice(root.Context(), &authv1.ForgetDeviceRequest{Name: other.GetName()})
	require.NoError(t, err)
	require.EqualValues(t, 1, forgotten.GetEnded())
	held := root.Session
	root.Session = first
	_, err = root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "its sessions end")
	root.Session, root.Agent, root.Device = held, "testkit", firstToken
	w.Clock.Advance(time.Minute)
	require.NotEmpty(t, root.SignIn().GetDeviceToken(), "its token counts no more")
}

func TestDH40_ASessionThatMovesAsksForAFactor(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	root.Address = "192.0.2.10"
	w.Clock.Advance(time.Minute)
	root.SignIn()
	require.Len(t, with(w, "root", "NETWORK_NEW"), 1, "signed in from a new /24")
	told(t, w, root, "Sign-in from a new network", 1)

	practices := func() error {
		_, err := w.Auth.ListPractices(root.Context(), &authv1.ListPracticesRequest{})
		return err
	}
	root.Address = "192.0.2.200"
	require.NoError(t, practices(), "the same /24")
	root.Address = "::ffff:192.0.2.201"
	require.NoError(t, practices(), "the same /24, written as IPv6")
	for n, moved := range []string{"192.0.3.10", "2001:db8:7::1"} {
		root.Address = moved
		err := practices()
		require.Error(t, err, "another network: "+moved)
		require.Equal(t, codes.FailedPrecondition, status.Code(err))
		require.Equal(t, "GATE_NETWORK", errs.ReasonOf(err))
		held := root.Caller(accessv1.Service_SERVICE_AUTH)
		require.True(t, held.Gates.Has(accessv1.Gate_GATE_NETWORK))
		require.True(t, held.Authenticated.IsZero())
		_, err = authv1.NewPasskeyServiceClient(w.Auth.Dial("gateway")).
			BeginPasskeyRegistration(root.Context(), &authv1.BeginPasskeyRegistrationRequest{})
		require.Equal(t, "REAUTHENTICATE", errs.ReasonOf(err), "who took the session along adds no factor")
		w.Clock.Advance(time.Minute)
		stolen := root.Session
		raised, err := w.Auth.VerifyTotp(root.Context(), &authv1.VerifyTotpRequest{TotpCode: root.Code()})
		require.NoError(t, err)
		root.Session = raised.GetSessionToken()
		require.NoError(t, practices(), "after a second factor from there")
		require.NotEqual(t, stolen, root.Session)
		found := with(w, "root", "NETWORK_NEW")
		require.Len(t, found, n+2)
		require.Equal(t, auditv1.Risk_RISK_MEDIUM, found[n+1].GetRisk())
		require.Contains(t, told(t, w, root, "Sign-in from a new network", n+2), moved)
	}
	root.Address = "2001:db8:7:99::5"
	require.NoError(t, practices(), "the same /48")
	root.Address = "2001:db8:8::1"
	require.Error(t, practices(), "another /48")
}

func TestDX29_TwoDistantDevicesAtOnceRaiseAnAlert(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	near, far := "10.0.77.1", "198.51.100.7"
	desktop := root.Device
	open := func(address, agent, device string, after time.Duration) string {
		w.Clock.Advance(after)
		root.Address, root.Agent, root.Device = address, agent, device
		root.SignIn()
		return root.Device
	}
	alerts := func() int { return len(with(w, "root", "CREDENTIAL_SHARING")) }
	phone := open(near, firefox, "", time.Minute)
	require.Zero(t, alerts(), "another device nearby")
	open(far, "testkit", desktop, 20*time.Minute)
	require.Zero(t, alerts(), "far away, but the other one is idle")
	open(near, firefox, phone, time.Minute)
	require.Equal(t, 1, alerts())
	event := with(w, "root", "CREDENTIAL_SHARING")[0]
	require.Equal(t, accessv1.Action_ACTION_ALERT, event.GetAction())
	require.Equal(t, auditv1.Risk_RISK_HIGH, event.GetRisk())
	open(far, "testkit", desktop, time.Minute)
	require.Equal(t, 1, alerts(), "once for each pair")
	open("203.0.113.9", chrome, "", time.Minute)
	require.Equal(t, 2, alerts(), "one event, whatever the number of pairs")
	told(t, w, root, "Your account is in use in two places", 2)
}

func TestDC30_ReportingACompromiseFreezesTheAccount(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	client := devices(w)
	root := w.Superadmin()
	alice := w.NewPractice(root, "alice")
	smith := w.NewUser(alice, "dr.smith", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	strong := smith.Session
	w.Clock.Advance(time.Minute)
	weak, err := smith.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	smith.Session = weak.GetSessionToken()
	reported, err := client.ReportCompromise(smith.Context(), &authv1.ReportCompromiseRequest{})
	require.NoError(t, err, "one factor is enough")
	require.EqualValues(t, 2, reported.GetEnded())
	for _, session := range []string{strong, weak.GetSessionToken()} {
		smith.Session = session
		_, err := smith.Admit(w.Auth, accessv1.Service_SERVICE_RECORDS, false)
		require.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	event := with(w, "dr.smith", "COMPROMISE_REPORTED")[0]
	require.Equal(t, auditv1.Risk_RISK_CRITICAL, event.GetRisk())
	require.Equal(t, accessv1.Action_ACTION_ACCOUNT_CHANGE, event.GetAction())
	told(t, w, smith, "Your account was frozen", 1)

	_, wrong := smith.TrySignIn(w.Auth, "wrong-"+testkit.Password, "")
	w.Clock.Advance(time.Minute)
	_, frozen := smith.TrySignIn(w.Auth, testkit.Password, smith.Code())
	require.Equal(t, status.Convert(wrong).Message(), status.Convert(frozen).Message(), "answers as a wrong password does")
	require.Equal(t, errs.ReasonOf(wrong), errs.ReasonOf(frozen))
	require.Len(t, with(w, "dr.smith", "ACCOUNT_FROZEN"), 1)

	dave := w.NewPractice(root, "dave")
	_, err = client.ThawUser(dave.Context(), &authv1.ThawUserRequest{Name: smith.User})
	require.Equal(t, codes.NotFound, status.Code(err), "of another practice")
	_, err = client.ThawUser(alice.Context(), &authv1.ThawUserRequest{Name: smith.User})
	require.NoError(t, err)
	require.Equal(t, auditv1.Risk_RISK_CRITICAL, with(w, "alice", "ACCOUNT_THAWED")[0].GetRisk())
	w.Clock.Advance(time.Minute)
	_, err = smith.TrySignIn(w.Auth, testkit.Password, smith.Code())
	require.Equal(t, errs.ReasonOf(wrong), errs.ReasonOf(err), "the password has to be reset first")
	require.Len(t, with(w, "dr.smith", "ACCOUNT_CLOSED"), 1)
	_, err = client.ThawUser(alice.Context(), &authv1.ThawUserRequest{Name: smith.User})
	require.Equal(t, codes.NotFound, status.Code(err), "it is not frozen")
	_, err = authv1.NewGuardServiceClient(w.Auth.Dial("gateway")).UnlockUser(alice.Context(), &authv1.UnlockUserRequest{Name: smith.User})
	require.Equal(t, "USER_NOT_LOCKED", errs.ReasonOf(err), "nobody opens it with the password that may be known")

	_, err = client.ReportCompromise(dave.Context(), &authv1.ReportCompromiseRequest{})
	require.NoError(t, err)
	_, err = client.ThawUser(root.Context(), &authv1.ThawUserRequest{Name: dave.User})
	require.NoError(t, err, "the only administrator of a practice is thawed by a superadmin")
}

func TestDC28_LoggingOutEverywhere(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	client := devices(w)
	root := w.Superadmin()
	dead := func(session string) {
		t.Helper()
		held := root.Session
		defer func() { root.Session = held }()
		root.Session = session
		_, err := root.Admit(w.Auth, accessv1.Service_SERVICE_AUTH, false)
		require.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	first := root.Session
	w.Clock.Advance(time.Minute)
	root.SignIn()
	ended, err := client.EndOtherSessions(root.Context(), &authv1.EndOtherSessionsRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 1, ended.GetEnded())
	dead(first)
	ended, err = client.EndOtherSessions(root.Context(), &authv1.EndOtherSessionsRequest{IncludeCurrent: true})
	require.NoError(t, err)
	require.EqualValues(t, 1, ended.GetEnded())
	dead(root.Session)
}
