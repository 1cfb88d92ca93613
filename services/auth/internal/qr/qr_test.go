package qr_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"

var desk = &authv1.Client{Address: "198.51.100.7", UserAgent: agent}

func TestDH25_APhoneSignsADeskInOnceBoundToItsBrowser(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, func(s *app.Settings) { s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 10_000, 10_000 })
	phone := w.Superadmin()
	api := authv1.NewCodeServiceClient(w.Auth.Dial("gateway"))
	begin := func() *authv1.BeginQrSignInResponse {
		t.Helper()
		begun, err := api.BeginQrSignIn(w.Context(), &authv1.BeginQrSignInRequest{Client: desk})
		require.NoError(t, err)
		return begun
	}
	poll := func(b *authv1.BeginQrSignInResponse, secret string, client *authv1.Client) (*authv1.PollQrSignInResponse, error) {
		return api.PollQrSignIn(w.Context(), &authv1.PollQrSignInRequest{Request: b.GetRequest(), BrowserSecret: secret, Client: client})
	}
	state := func(b *authv1.BeginQrSignInResponse) authv1.PollQrSignInResponse_State {
		t.Helper()
		answer, err := poll(b, b.GetBrowserSecret(), desk)
		require.NoError(t, err)
		return answer.GetState()
	}
	approve := func(b *authv1.BeginQrSignInResponse, number int32) error {
		_, err := api.ApproveQrSignIn(phone.Context(), &authv1.ApproveQrSignInRequest{Request: b.GetRequest(), Number: number})
		return err
	}
	reason := func(want string, err error) {
		t.Helper()
		require.Equal(t, want, errs.ReasonOf(err), "%v", err)
	}

	b := begin()
	require.WithinDuration(t, w.Clock.Now().Add(2*time.Minute), b.GetExpireTime().AsTime(), 0)
	require.True(t, strings.HasSuffix(b.GetUri(), "#qr="+b.GetRequest()), b.GetUri())
	require.NotContains(t, b.GetUri(), b.GetBrowserSecret())
	require.Equal(t, authv1.PollQrSignInResponse_STATE_PENDING, state(b))
	shown, err := api.GetQrRequest(phone.Context(), &authv1.GetQrRequestRequest{Request: b.GetRequest()})
	require.NoError(t, err)
	require.Equal(t, "198.51.100.0/24", shown.GetNetwork())
	require.Equal(t, "Chrome on Linux", shown.GetBrowser(), "no client writes what the phone shows")
	require.Len(t, shown.GetNumbers(), 3)
	require.Contains(t, shown.GetNumbers(), b.GetNumber())
	require.False(t, shown.GetSameNetwork())
	require.NoError(t, approve(b, b.GetNumber()))
	reason("QR_OVER", approve(b, b.GetNumber()))

	_, err = poll(b, begin().GetBrowserSecret(), desk)
	reason("QR_UNKNOWN", err)
	_, err = poll(b, b.GetBrowserSecret(), &authv1.Client{Address: "203.0.113.7", UserAgent: agent})
	reason("QR_UNKNOWN", err)
	_, err = poll(b, b.GetBrowserSecret(), &authv1.Client{Address: desk.GetAddress(), UserAgent: "Other/1"})
	reason("QR_UNKNOWN", err)

	var race sync.WaitGroup
	var opened atomic.Pointer[authv1.SignInResponse]
	var count atomic.Int32
	for range 20 {
		race.Go(func() {
			if answer, err := poll(b, b.GetBrowserSecret(), desk); err == nil && answer.GetSession() != nil {
				opened.Store(answer.GetSession())
				count.Add(1)
			}
		})
	}
	race.Wait()
	require.EqualValues(t, 1, count.Load(), "one use")
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, opened.Load().GetAssurance())
	require.Equal(t, phone.User, opened.Load().GetUser())
	w.Inbox.Told(phone.Email, "A phone that is signed in to your account let another device sign in.")

	approver := phone.Session
	phone.Session = opened.Load().GetSessionToken()
	there, device := phone.Address, phone.Device
	phone.Device = opened.Load().GetDeviceToken()
	phone.Address = desk.GetAddress()
	chained := begin()
	reason("REAUTHENTICATE", approve(chained, chained.GetNumber()))
	_, err = authv1.NewPasskeyServiceClient(w.Auth.Dial("gateway")).BeginPasskeyRegistration(phone.Context(), &authv1.BeginPasskeyRegistrationRequest{})
	reason("REAUTHENTICATE", err) // whoever tricked the phone keeps nothing
	phone.Session, phone.Address, phone.Device = approver, there, device

	unmeant := begin()
	_, err = api.DenyQrSignIn(phone.Context(), &authv1.DenyQrSignInRequest{Request: unmeant.GetRequest()})
	require.NoError(t, err)
	events := w.Events()
	require.Equal(t, "QR_DENIED", events[len(events)-1].GetReason())
	require.Equal(t, auditv1.Risk_RISK_MEDIUM, events[len(events)-1].GetRisk())
	require.Equal(t, authv1.PollQrSignInResponse_STATE_DENIED, state(unmeant))
	reason("QR_OVER", approve(unmeant, unmeant.GetNumber()))
	_, err = api.DenyQrSignIn(phone.Context(), &authv1.DenyQrSignInRequest{Request: unmeant.GetRequest()})
	reason("QR_OVER", err)

	wrong := begin()
	reason("QR_NUMBER_WRONG", approve(wrong, wrong.GetNumber()%90+10))
	reason("QR_OVER", approve(wrong, wrong.GetNumber()))
	require.Equal(t, authv1.PollQrSignInResponse_STATE_DENIED, state(wrong))

	frozen := begin()
	require.NoError(t, approve(frozen, frozen.GetNumber()))
	freeze := func(sql string) {
		w.Admin(func(ctx context.Context, conn *pgx.Conn) {
			_, err := conn.Exec(ctx, sql)
			require.NoError(t, err)
		})
	}
	freeze("UPDATE users SET frozen = now()")
	_, err = poll(frozen, frozen.GetBrowserSecret(), desk)
	reason("QR_OVER", err)
	freeze("UPDATE users SET frozen = NULL")

	late := begin()
	require.NoError(t, approve(late, late.GetNumber()))
	w.Clock.Advance(2 * time.Minute)
	require.Equal(t, authv1.PollQrSignInResponse_STATE_EXPIRED, state(late))
	w.Clock.Advance(4 * time.Minute)
	stale := begin()
	reason("REAUTHENTICATE", approve(stale, stale.GetNumber()))
}

// An address that is blocked (claim DH-39) neither begins nor gets what a phone approved meanwhile.
func TestDH25_ABlockedAddressGetsNoAnswer(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, func(s *app.Settings) { s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 10_000, 10_000 })
	phone := w.Superadmin()
	api := authv1.NewCodeServiceClient(w.Auth.Dial("gateway"))
	begun, err := api.BeginQrSignIn(w.Context(), &authv1.BeginQrSignInRequest{Client: desk})
	require.NoError(t, err)
	_, err = api.ApproveQrSignIn(phone.Context(), &authv1.ApproveQrSignInRequest{Request: begun.GetRequest(), Number: begun.GetNumber()})
	require.NoError(t, err)
	for i := range 10 {
		_, err = w.Auth.SignIn(w.Context(), &authv1.SignInRequest{Username: fmt.Sprintf("nobody%d", i), Password: testkit.Password, Client: desk})
		require.Error(t, err)
	}
	_, err = api.PollQrSignIn(w.Context(), &authv1.PollQrSignInRequest{Request: begun.GetRequest(), BrowserSecret: begun.GetBrowserSecret(), Client: desk})
	require.Equal(t, "ADDRESS_BLOCKED", errs.ReasonOf(err))
	require.Positive(t, errs.RetryOf(err))
	_, err = api.BeginQrSignIn(w.Context(), &authv1.BeginQrSignInRequest{Client: desk})
	require.Equal(t, "ADDRESS_BLOCKED", errs.ReasonOf(err))
}
