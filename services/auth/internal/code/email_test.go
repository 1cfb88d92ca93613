package code_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func TestDH23_AMailedCodeOpensNoPatientDataUnlessThePracticeAcceptsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.codes.SendEmailCode(r.doctor.Context(), &authv1.SendEmailCodeRequest{})
	r.requireReason(err, "EMAIL_CODE_TOO_WEAK") // it would renew what two factors gave

	require.NotContains(t, r.password().GetSecondFactors(), authv1.Method_METHOD_EMAIL)
	before := r.doctor.Session
	challenge, code := r.email(1)
	raised, err := r.verify(r.doctor.Context(), challenge, code)
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL1, raised.GetAssurance())
	require.Equal(t, authv1.NextStep_NEXT_STEP_VERIFY_TOTP, raised.GetNextStep())
	require.NotEqual(t, before, raised.GetSessionToken())
	_, err = r.doctor.Admit(r.Auth, accessv1.Service_SERVICE_RECORDS, false)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "the old token is dead")
	r.doctor.Session = raised.GetSessionToken()
	seen := r.doctor.Caller(accessv1.Service_SERVICE_RECORDS)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL1, seen.Assurance)
	require.False(t, seen.Permissions.Has(accessv1.Permission_PERMISSION_PATIENTS_READ), "no PHI RPC passes")
	require.True(t, seen.Authenticated.IsZero(), "not a full authentication")

	r.exec("UPDATE practices SET accept_email_code = true")
	r.Clock.Advance(11 * time.Minute)
	require.Contains(t, r.password().GetSecondFactors(), authv1.Method_METHOD_EMAIL)
	challenge, code = r.email(2)
	raised, err = r.verify(r.doctor.Context(), challenge, code)
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, raised.GetAssurance())
	event := r.last()
	require.Equal(t, accessv1.Action_ACTION_SIGN_IN, event.GetAction())
	require.Equal(t, "EMAIL_CODE", event.GetReason())
	require.Equal(t, auditv1.Risk_RISK_HIGH, event.GetRisk())
	r.doctor.Session = raised.GetSessionToken()
	seen = r.doctor.Caller(accessv1.Service_SERVICE_RECORDS)
	require.True(t, seen.Permissions.Has(accessv1.Permission_PERMISSION_PATIENTS_READ))
	require.True(t, seen.Authenticated.IsZero(), "the mailbox gets the notices, so it changes no factor")

	// The practice changes its mind.
	governance := authv1.NewGovernanceServiceClient(r.Auth.Dial("gateway"))
	policy, err := governance.GetPolicy(r.admin.Context(), &authv1.GetPolicyRequest{})
	require.NoError(t, err)
	_, err = governance.UpdatePolicy(r.admin.Context(), &authv1.UpdatePolicyRequest{Etag: policy.GetEtag()})
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL1, r.doctor.Caller(accessv1.Service_SERVICE_RECORDS).Assurance)

	require.NotContains(t, r.Log.String(), code)
	for _, e := range r.Events() {
		require.NotContains(t, e.String(), code)
	}
}

// ASVS 6.5.1 (once), 6.5.5 (ten minutes), 6.6.2 (bound to the request); every wrong code answers alike.
func TestDH23_ACodeCountsOnceInItsRequestAndSessionForTenMinutes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.password()
	first, firstCode := r.email(1)
	asked := r.doctor.Session
	challenge, code := r.email(2)

	var answers []string
	wrong := func(what, challenge, code string) {
		t.Helper()
		_, err := r.verify(r.doctor.Context(), challenge, code)
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
	wrong("a wrong code", challenge, other(code))
	raised, err := r.verify(r.doctor.Context(), challenge, code)
	require.NoError(t, err)
	r.doctor.Session = raised.GetSessionToken()
	wrong("the code again", challenge, code)

	challenge, code = r.email(3)
	_, err = r.codes.SendEmailCode(r.doctor.Context(), &authv1.SendEmailCodeRequest{})
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "three codes in ten minutes")
	require.NotZero(t, errs.RetryOf(err))
	for range 5 {
		wrong("a guess", challenge, other(code))
	}
	wrong("the right code after five wrong ones", challenge, code)

	r.Clock.Advance(10 * time.Minute)
	challenge, code = r.email(4)
	r.Clock.Advance(10 * time.Minute)
	wrong("after ten minutes", challenge, code)
	for _, answer := range answers[1:] {
		require.Equal(t, answers[0], answer)
	}
}

func TestDH23_ARaceOfTwentyLetsOneThrough(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.password()
	challenge, code := r.email(1)
	ctx := r.doctor.Context()
	var race sync.WaitGroup
	var passed atomic.Int32
	for range 20 {
		race.Go(func() {
			if _, err := r.verify(ctx, challenge, code); err == nil {
				passed.Add(1)
			}
		})
	}
	race.Wait()
	require.EqualValues(t, 1, passed.Load())
}

// No sequence of sending, verifying, waiting and changing sessions accepts a code twice,
// a code that a newer one ended, or one that is ten minutes old.
func TestDH23_NoSequenceAcceptsAUsedCode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mails := 0
	type issued struct {
		challenge, code, session string
		at                       time.Time
		dead                     bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		r.password()
		session := "first"
		var list []*issued
		for range rapid.IntRange(2, 10).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "step") {
			case 0:
				r.exec("DELETE FROM attempts") // the limit of sending is another test's
				mails++
				challenge, code := r.email(mails)
				for _, older := range list {
					older.dead = true
				}
				list = append(list, &issued{challenge: challenge, code: code, session: session, at: r.Clock.Now()})
			case 1, 2:
				if len(list) == 0 {
					continue
				}
				pick := rapid.SampledFrom(list).Draw(rt, "code")
				raised, err := r.verify(r.doctor.Context(), pick.challenge, pick.code)
				r.exec("DELETE FROM failures") // so is what follows from wrong codes in a row
				may := !pick.dead && pick.session == session && r.Clock.Now().Sub(pick.at) < 10*time.Minute
				if (err == nil) != may {
					rt.Fatalf("accepted: %t, may be: %t", err == nil, may)
				}
				if err == nil {
					pick.dead = true
					r.doctor.Session = raised.GetSessionToken()
				}
			case 3:
				r.Clock.Advance(time.Duration(rapid.IntRange(1, 6).Draw(rt, "minutes")) * time.Minute)
				r.doctor.Context() // keeps the session from idling out
			case 4:
				r.password()
				session = strings.Repeat("x", len(session)+1)
			}
		}
		r.Clock.Advance(11 * time.Minute)
	})
}
