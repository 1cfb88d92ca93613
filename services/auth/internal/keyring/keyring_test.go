package keyring_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const mobile = "+12025550123"

// rig is an installation that sends text messages, with one doctor.
type rig struct {
	*testkit.World
	codes  authv1.CodeServiceClient
	phone  *testkit.Phone
	admin  *testkit.Person
	doctor *testkit.Person
	texts  int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	phone := testkit.NewPhone(t)
	w := testkit.New(t, phone.Use, func(s *app.Settings) { s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 10_000, 10_000 })
	r := &rig{World: w, phone: phone, codes: authv1.NewCodeServiceClient(w.Auth.Dial("gateway")), admin: w.NewPractice(w.Superadmin(), "alice")}
	r.doctor = w.NewUser(r.admin, "dr.smith", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	return r
}

// begin asks for the first code to the number.
func (r *rig) begin(p *testkit.Person, number string) (challenge, code string) {
	r.T.Helper()
	asked, err := r.codes.EnrolPhone(p.Context(), &authv1.EnrolPhoneRequest{Number: number, Consent: true})
	require.NoError(r.T, err)
	if number == mobile {
		r.texts++
		return asked.GetChallenge(), r.phone.Code(number, r.texts)
	}
	return asked.GetChallenge(), r.phone.Code(number, 1)
}

// enrol makes the number the person's factor.
func (r *rig) enrol(p *testkit.Person, number string) *authv1.FactorChange {
	r.T.Helper()
	challenge, code := r.begin(p, number)
	changed, err := r.codes.ConfirmPhone(p.Context(), &authv1.ConfirmPhoneRequest{Challenge: challenge, Code: code})
	require.NoError(r.T, err)
	p.Session = changed.GetSession().GetSessionToken()
	return changed
}

func (r *rig) remove(name string) (*authv1.FactorChange, error) {
	r.T.Helper()
	return r.codes.RemoveFactor(r.doctor.Context(), &authv1.RemoveFactorRequest{Name: name})
}

func (r *rig) list() []*authv1.Factor {
	r.T.Helper()
	list, err := r.codes.ListFactors(r.doctor.Context(), &authv1.ListFactorsRequest{})
	require.NoError(r.T, err)
	for _, f := range list.GetFactors() {
		require.NotEmpty(r.T, f.GetName())
	}
	return list.GetFactors()
}

func (r *rig) reason(err error, reason string) {
	r.T.Helper()
	require.Equal(r.T, reason, errs.ReasonOf(err), "%v", err)
}

// consents are the numbers of consents to codes that hold and that do not.
func (r *rig) consents() (live, ended int) {
	r.T.Helper()
	r.Admin(func(ctx context.Context, conn *pgx.Conn) {
		require.NoError(r.T, conn.QueryRow(ctx,
			"SELECT count(*) FILTER (WHERE revoked IS NULL), count(revoked) FROM consents WHERE category = 3").Scan(&live, &ended))
	})
	return live, ended
}

// ASVS 7.5.1 (full authentication first), 6.3.7 (told of it), 7.4.3 (others may be ended).
func TestDH22_AFactorIsRemovedAfterAFreshAuthenticationAndNeverTheLastOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Len(t, r.list(), 2, "TOTP and mail")
	r.enrol(r.doctor, mobile)
	_, err := r.codes.GenerateRecoveryCodes(r.doctor.Context(), &authv1.GenerateRecoveryCodesRequest{})
	require.NoError(t, err)
	list := r.list()
	require.Len(t, list, 4)
	want := []struct {
		name, hint string
		count      int32
		second     bool
	}{{"factors/totp", "", 1, true}, {"factors/sms", "23", 1, true}, {"factors/recoveryCodes", "", 10, true}, {"factors/email", "", 1, false}}
	for i, f := range list {
		require.Equal(t, want[i].name, f.GetName(), "the strongest first")
		require.Equal(t, want[i].hint, f.GetHint())
		require.Equal(t, want[i].count, f.GetCount())
		require.Equal(t, want[i].second, f.GetSecondFactor(), f.GetName())
	}

	_, err = r.remove("factors/totp")
	r.reason(err, "FACTOR_LAST") // a number is lost with STOP, and recovery codes are used up
	_, err = r.remove("factors/passkeys")
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	strong := r.doctor.Session
	weak, err := r.doctor.TrySignIn(r.Auth, testkit.Password, "")
	require.NoError(t, err)
	r.doctor.Session = weak.GetSessionToken()
	_, err = r.remove("factors/sms")
	require.Equal(t, codes.PermissionDenied, status.Code(err), "a password alone")
	r.doctor.Session = strong
	r.Clock.Advance(5*time.Minute + time.Second)
	_, err = r.remove("factors/sms")
	r.reason(err, "REAUTHENTICATE")
	raised, err := r.Auth.VerifyTotp(r.doctor.Context(), &authv1.VerifyTotpRequest{TotpCode: r.doctor.Code()})
	require.NoError(t, err)
	r.doctor.Session = raised.GetSessionToken()
	_, err = r.remove("factors/sms")
	r.reason(err, "REAUTHENTICATE") // one factor is no full authentication

	r.Clock.Advance(30 * time.Second)
	r.doctor.SignIn()
	changed, err := r.remove("factors/sms")
	require.NoError(t, err)
	require.EqualValues(t, 2, changed.GetOtherSessions())
	r.Inbox.Told(r.doctor.Email, "removed from your account: codes by text message")
	_, err = r.remove("factors/sms")
	r.reason(err, "FACTOR_NOT_FOUND")
	changed, err = r.codes.RemoveFactor(r.doctor.Context(), &authv1.RemoveFactorRequest{Name: "factors/recoveryCodes", EndOtherSessions: true})
	require.NoError(t, err)
	require.EqualValues(t, 2, changed.GetEndedSessions())
	require.Zero(t, changed.GetOtherSessions())
	r.Inbox.Told(r.doctor.Email, "removed from your account: recovery codes")
	require.Len(t, r.list(), 2)
	events := r.Events()
	removed := 0
	for _, e := range events {
		if e.GetReason() == "FACTOR_REMOVED" {
			require.Equal(t, accessv1.Action_ACTION_FACTOR_CHANGE, e.GetAction())
			removed++
		}
	}
	require.Equal(t, 2, removed)
}

func TestDH24_ConfirmingANumberMakesANewToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Clock.Advance(30 * time.Second)
	r.doctor.SignIn()
	before := r.doctor.Session
	challenge, code := r.begin(r.doctor, mobile)
	changed, err := r.codes.ConfirmPhone(r.doctor.Context(), &authv1.ConfirmPhoneRequest{Challenge: challenge, Code: code, EndOtherSessions: true})
	require.NoError(t, err)
	require.EqualValues(t, 1, changed.GetEndedSessions())
	require.Zero(t, changed.GetOtherSessions())
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, changed.GetSession().GetAssurance())
	require.NotEqual(t, before, changed.GetSession().GetSessionToken())
	_, err = r.doctor.Admit(r.Auth, accessv1.Service_SERVICE_AUTH, false)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "the old token is dead")
	r.doctor.Session = changed.GetSession().GetSessionToken()
	require.Len(t, r.list(), 3)
	r.Inbox.Told(r.doctor.Email, "added to your account: codes by text message")
}

func TestDMD26_TheConsentToCodesEndsWithTheNumber(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := r.NewUser(r.admin, "dr.jones", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	r.enrol(r.doctor, mobile)
	r.enrol(other, mobile)
	live, _ := r.consents()
	require.Equal(t, 2, live, "two people share a number")

	const next = "+12025550124"
	r.enrol(r.doctor, next)
	live, ended := r.consents()
	require.Equal(t, 2, live, "the other's, and the new number's")
	require.Equal(t, 1, ended, "the replaced number's")
	challenge, code := r.begin(r.doctor, mobile)
	_, err := r.remove("factors/sms")
	require.NoError(t, err)
	live, ended = r.consents()
	require.Equal(t, 1, live, "the other's")
	require.Equal(t, 3, ended)
	_, err = r.codes.ConfirmPhone(r.doctor.Context(), &authv1.ConfirmPhoneRequest{Challenge: challenge, Code: code})
	r.reason(err, "CODE_WRONG") // an enrolment that waited ended too

	r.texts++
	_, err = r.codes.SendSmsCode(other.Context(), &authv1.SendSmsCodeRequest{})
	require.NoError(t, err)
	r.phone.Code(mobile, r.texts)
	_, err = r.codes.SendSmsCode(r.doctor.Context(), &authv1.SendSmsCodeRequest{})
	r.reason(err, "FACTOR_MISSING")
}
