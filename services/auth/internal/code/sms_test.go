package code_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

const mobile = "+12025550123"

// textRig is an installation that sends text messages, with one doctor.
type textRig struct {
	*rig
	phone *testkit.Phone
}

func newTextRig(t *testing.T) *textRig {
	t.Helper()
	phone := testkit.NewPhone(t)
	return &textRig{rig: newRig(t, phone.Use), phone: phone}
}

// enrol makes the number the doctor's factor; its first code is the only message so far.
func (r *textRig) enrol() {
	r.T.Helper()
	asked, err := r.codes.EnrolPhone(r.doctor.Context(), &authv1.EnrolPhoneRequest{Number: mobile, Consent: true})
	require.NoError(r.T, err)
	changed, err := r.codes.ConfirmPhone(r.doctor.Context(), &authv1.ConfirmPhoneRequest{
		Challenge: asked.GetChallenge(), Code: r.phone.Code(mobile, 1),
	})
	require.NoError(r.T, err)
	r.doctor.Session = changed.GetSession().GetSessionToken()
}

// text sends a code to the enrolled number, which is the n-th message there.
func (r *textRig) text(n int) (challenge, code string) {
	r.T.Helper()
	sent, err := r.codes.SendSmsCode(r.doctor.Context(), &authv1.SendSmsCodeRequest{})
	require.NoError(r.T, err)
	require.WithinDuration(r.T, r.Clock.Now().Add(10*time.Minute), sent.GetExpireTime().AsTime(), 0, "ASVS 6.5.5")
	return sent.GetChallenge(), r.phone.Code(mobile, n)
}

func (r *textRig) verifyText(challenge, code string) (*authv1.SignInResponse, error) {
	r.T.Helper()
	return r.codes.VerifySmsCode(r.doctor.Context(), &authv1.VerifySmsCodeRequest{Challenge: challenge, Code: code})
}

func TestDH24_ATextedCodeIsTheSecondFactorOnceItsNumberIsEnrolled(t *testing.T) {
	t.Parallel()
	r := newTextRig(t)
	_, err := r.codes.SendSmsCode(r.doctor.Context(), &authv1.SendSmsCodeRequest{})
	r.requireReason(err, "FACTOR_MISSING")
	_, err = r.codes.EnrolPhone(r.doctor.Context(), &authv1.EnrolPhoneRequest{Number: mobile})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "no consent")
	r.Clock.Advance(5*time.Minute + time.Second)
	_, err = r.codes.EnrolPhone(r.doctor.Context(), &authv1.EnrolPhoneRequest{Number: mobile, Consent: true})
	r.requireReason(err, "REAUTHENTICATE")
	r.doctor.SignIn()
	asked, err := r.codes.EnrolPhone(r.doctor.Context(), &authv1.EnrolPhoneRequest{Number: mobile, Consent: true})
	require.NoError(t, err)
	first := r.phone.Code(mobile, 1)
	_, err = r.codes.SendSmsCode(r.doctor.Context(), &authv1.SendSmsCodeRequest{})
	r.requireReason(err, "FACTOR_MISSING") // nobody has proved yet that the number is the doctor's
	_, err = r.codes.ConfirmPhone(r.doctor.Context(), &authv1.ConfirmPhoneRequest{Challenge: asked.GetChallenge(), Code: other(first)})
	r.requireReason(err, "CODE_WRONG")
	_, err = r.codes.ConfirmPhone(r.doctor.Context(), &authv1.ConfirmPhoneRequest{Challenge: asked.GetChallenge(), Code: first})
	require.NoError(t, err)

	require.Contains(t, r.password().GetSecondFactors(), authv1.Method_METHOD_SMS)
	require.False(t, r.doctor.Caller(accessv1.Service_SERVICE_RECORDS).Permissions.Has(accessv1.Permission_PERMISSION_PATIENTS_READ))
	_, err = r.verifyText(asked.GetChallenge(), first)
	r.requireReason(err, "CODE_WRONG") // a code that proved the number opens no session
	challenge, code := r.text(2)
	raised, err := r.verifyText(challenge, code)
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, raised.GetAssurance())
	require.Equal(t, authv1.NextStep_NEXT_STEP_NONE, raised.GetNextStep())
	event := r.last()
	require.Equal(t, accessv1.Action_ACTION_SIGN_IN, event.GetAction())
	require.Equal(t, "SMS_CODE", event.GetReason())
	require.Equal(t, auditv1.Risk_RISK_MEDIUM, event.GetRisk(), "SP 800-63B-4 section 3.1.3.3")
	_, err = r.doctor.Admit(r.Auth, accessv1.Service_SERVICE_RECORDS, false)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "the old token is dead")
	r.doctor.Session = raised.GetSessionToken()
	seen := r.doctor.Caller(accessv1.Service_SERVICE_RECORDS)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, seen.Assurance)
	require.True(t, seen.Permissions.Has(accessv1.Permission_PERMISSION_PATIENTS_READ))

	for _, secret := range []string{first, code, mobile[1:]} {
		require.NotContains(t, r.Log.String(), secret)
		for _, e := range r.Events() {
			require.NotContains(t, e.String(), secret)
		}
	}
}

// ASVS 6.5.1 (once), 6.5.5 (ten minutes), 6.6.2 (bound to the request); every wrong code answers alike.
func TestDH24_ACodeCountsOnceInItsRequestAndSessionForTenMinutes(t *testing.T) {
	t.Parallel()
	r := newTextRig(t)
	r.enrol()
	r.password()
	asked := r.doctor.Session
	first, firstCode := r.text(2)
	challenge, code := r.text(3)

	var answers []string
	wrong := func(what, challenge, code string) {
		t.Helper()
		_, err := r.verifyText(challenge, code)
		require.Equal(t, codes.Unauthenticated, status.Code(err), what)
		answers = append(answers, status.Convert(err).Proto().String())
	}
	wrong("a code that a newer one ended", first, firstCode)
	wrong("the older code at the newer request", challenge, firstCode)
	wrong("the code at another request", first, code)
	wrong("the code at a request that never was", uuid.NewString(), code)
	r.password()
	wrong("the code in another session of the same user", challenge, code)
	r.doctor.Session = asked
	_, err := r.verify(r.doctor.Context(), challenge, code)
	r.requireReason(err, "CODE_WRONG") // nor as a code by mail
	raised, err := r.verifyText(challenge, code)
	require.NoError(t, err)
	r.doctor.Session = raised.GetSessionToken()
	wrong("the code again", challenge, code)

	r.Clock.Advance(10 * time.Minute)
	challenge, code = r.text(4)
	for range 5 {
		wrong("a guess", challenge, other(code))
	}
	wrong("the right code after five wrong ones", challenge, code)

	challenge, code = r.text(5)
	r.Clock.Advance(10 * time.Minute)
	wrong("after ten minutes", challenge, code)
	challenge, code = r.text(6)
	r.Clock.Advance(10*time.Minute - time.Second)
	raised, err = r.verifyText(challenge, code)
	require.NoError(t, err, "a second before")
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, raised.GetAssurance())
	for _, answer := range answers[1:] {
		require.Equal(t, answers[0], answer)
	}
}

func TestDH24_ARaceOfTwentyLetsOneThrough(t *testing.T) {
	t.Parallel()
	r := newTextRig(t)
	r.enrol()
	r.password()
	challenge, code := r.text(2)
	ctx := r.doctor.Context()
	var race sync.WaitGroup
	var passed atomic.Int32
	for range 20 {
		race.Go(func() {
			if _, err := r.codes.VerifySmsCode(ctx, &authv1.VerifySmsCodeRequest{Challenge: challenge, Code: code}); err == nil {
				passed.Add(1)
			}
		})
	}
	race.Wait()
	require.EqualValues(t, 1, passed.Load())
}

// The limit is one for mail and text, for enrolment and sign-in, and for all sessions.
func TestDH24_ThreeCodesAreSentInTenMinutes(t *testing.T) {
	t.Parallel()
	r := newTextRig(t)
	r.enrol()
	r.password()
	r.text(2)
	r.email(1)
	for _, session := range []func(){func() {}, func() { r.password() }} {
		session()
		_, err := r.codes.SendSmsCode(r.doctor.Context(), &authv1.SendSmsCodeRequest{})
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		r.requireReason(err, "CODES_LIMITED")
		require.Positive(t, errs.RetryOf(err))
		require.LessOrEqual(t, errs.RetryOf(err), 10*time.Minute)
	}
	require.Len(t, r.phone.Texts(mobile), 2)
	r.Clock.Advance(10 * time.Minute)
	challenge, code := r.text(3)
	_, err := r.verifyText(challenge, code)
	require.NoError(t, err)
}

func TestDH24_AfterSTOPNoCodeIsSent(t *testing.T) {
	t.Parallel()
	r := newTextRig(t)
	r.enrol()
	r.password()
	messages := authv1.NewMessageServiceClient(r.Auth.Dial("gateway"))
	form, signature := r.phone.Reply(mobile, testkit.SMSFrom, "STOP")
	_, err := messages.ReceiveSms(r.Context(), &authv1.ReceiveSmsRequest{Form: form, Signature: signature})
	require.NoError(t, err)
	require.Contains(t, r.phone.Text(mobile, 2).Body, "you have opted out")
	_, err = r.codes.SendSmsCode(r.doctor.Context(), &authv1.SendSmsCodeRequest{})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	r.requireReason(err, "OPTED_OUT")
	require.Contains(t, status.Convert(err).Message(), "opted out of text messages")
	r.Clock.Advance(10 * time.Minute)
	r.doctor.SignIn()
	_, err = r.codes.EnrolPhone(r.doctor.Context(), &authv1.EnrolPhoneRequest{Number: mobile, Consent: true})
	r.requireReason(err, "OPTED_OUT") // a fresh consent changes nothing (claim DMD-27)

	// Messages leave in the order in which they were queued: this one comes after whatever came before.
	const next = "+12025550124"
	_, err = r.codes.EnrolPhone(r.doctor.Context(), &authv1.EnrolPhoneRequest{Number: next, Consent: true})
	require.NoError(t, err)
	r.phone.Code(next, 1)
	require.Len(t, r.phone.Texts(mobile), 2)
}
