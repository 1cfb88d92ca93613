package passkey_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// A passkey alone reaches patient data, a password alone does not, and what the
// user sees of it is right.
func TestDH26_DH22_DMD04_APasskeySignsInAndReachesPatientData(t *testing.T) {
	t.Parallel()
	r := newRig(t, wide)
	root := r.Superadmin()
	admin := r.NewPractice(root, "alice")
	doctor := r.NewUser(admin, "dr.smith", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	ph := newPhone()
	added, err := r.register(doctor, ph, "phone")
	require.NoError(t, err)
	require.Nil(t, added.GetSession(), "the session has two factors already")
	require.Equal(t, "phone", added.GetPasskey().GetDisplayName())
	r.told(doctor, "passkey phone")

	weak, err := doctor.TrySignIn(r.Auth, testkit.Password, "")
	require.NoError(t, err)
	require.Equal(t, authv1.Method_METHOD_PASSKEY, weak.GetSecondFactors()[0])
	doctor.Session = weak.GetSessionToken()
	require.NotContains(t, doctor.Caller(accessv1.Service_SERVICE_RECORDS).Permissions.List(), accessv1.Permission_PERMISSION_PATIENTS_READ)

	ph.credential.Counter++
	strong, err := r.signIn(ph, doctor)
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, strong.GetAssurance())
	require.Equal(t, authv1.NextStep_NEXT_STEP_NONE, strong.GetNextStep())
	require.Equal(t, doctor.User, strong.GetUser())
	doctor.Session = strong.GetSessionToken()
	require.Contains(t, doctor.Caller(accessv1.Service_SERVICE_RECORDS).Permissions.List(), accessv1.Permission_PERMISSION_PATIENTS_READ)

	list, err := r.ListPasskeys(doctor.Context(), &authv1.ListPasskeysRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetPasskeys(), 1)
	require.Equal(t, r.Clock.Now().Unix(), list.GetPasskeys()[0].GetLastUseTime().GetSeconds())
	events := r.Events()
	var in *auditv1.Event
	for _, e := range events {
		if e.GetAction() == accessv1.Action_ACTION_SIGN_IN && e.GetUsername() == "dr.smith" && e.GetOutcome() == auditv1.Outcome_OUTCOME_OK {
			in = e
		}
	}
	require.NotNil(t, in)
	require.Equal(t, doctor.Address, in.GetAddress())
}

// Who has no second factor enrols a passkey as the first one and is raised by it.
func TestDH26_APasskeyIsTheFirstSecondFactor(t *testing.T) {
	t.Parallel()
	r := newRig(t, wide)
	root := r.Superadmin()
	admin := r.NewPractice(root, "alice")
	nurse := r.Invite(admin, "bob", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	accepted, err := r.Auth.AcceptInvitation(r.Context(), &authv1.AcceptInvitationRequest{
		InvitationToken: r.Inbox.Invitation(nurse.Email, 1), Password: testkit.Password, Client: &authv1.Client{Address: nurse.Address},
	})
	require.NoError(t, err)
	nurse.Session = accepted.GetSessionToken()
	ph := newPhone()
	added, err := r.register(nurse, ph, "key")
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, added.GetSession().GetAssurance())
	_, err = nurse.Admit(r.Auth, accessv1.Service_SERVICE_AUTH, false)
	require.Equal(t, "SESSION_INVALID", errs.ReasonOf(err), "the token of before is dead")
	nurse.Session = added.GetSession().GetSessionToken()
	_, err = r.DeletePasskey(nurse.Context(), &authv1.DeletePasskeyRequest{Name: added.GetPasskey().GetName()})
	require.Equal(t, "FACTOR_LAST", errs.ReasonOf(err))

	// A password that somebody knows adds nothing once there is a factor.
	weak, err := nurse.TrySignIn(r.Auth, testkit.Password, "")
	require.NoError(t, err)
	require.Equal(t, authv1.NextStep_NEXT_STEP_VERIFY, weak.GetNextStep())
	nurse.Session = weak.GetSessionToken()
	_, err = r.register(nurse, newPhone(), "another")
	require.Equal(t, "REAUTHENTICATE", errs.ReasonOf(err))
	ph.credential.Counter++
	require.NoError(t, r.stepUp(nurse, ph))
	second := newPhone()
	_, err = r.register(nurse, second, "another")
	require.NoError(t, err)
	_, err = r.DeletePasskey(nurse.Context(), &authv1.DeletePasskeyRequest{Name: added.GetPasskey().GetName()})
	require.NoError(t, err)
	r.told(nurse, "removed from your account: passkey key")
	ph.credential.Counter++
	_, err = r.signIn(ph, nurse)
	require.Equal(t, "PASSKEY_REFUSED", errs.ReasonOf(err))
	second.credential.Counter++
	_, err = r.signIn(second, nurse)
	require.NoError(t, err)
}

// Changing factors takes a full authentication within five minutes (ASVS 7.5.1).
func TestFactorsChangeOnlyAfterAFreshAuthentication(t *testing.T) {
	t.Parallel()
	r := newRig(t, wide)
	root := r.Superadmin()
	ph := newPhone()
	added, err := r.register(root, ph, "one")
	require.NoError(t, err)
	name := added.GetPasskey().GetName()
	r.Clock.Advance(6 * time.Minute)
	_, err = r.register(root, newPhone(), "two")
	require.Equal(t, "REAUTHENTICATE", errs.ReasonOf(err))
	_, err = r.DeletePasskey(root.Context(), &authv1.DeletePasskeyRequest{Name: name})
	require.Equal(t, "REAUTHENTICATE", errs.ReasonOf(err))

	renamed, err := r.UpdatePasskey(root.Context(), &authv1.UpdatePasskeyRequest{
		Passkey:    &authv1.Passkey{Name: name, DisplayName: "first", Etag: added.GetPasskey().GetEtag()},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}},
	})
	require.NoError(t, err, "a name is no factor")
	require.Equal(t, "first", renamed.GetDisplayName())
	_, err = r.UpdatePasskey(root.Context(), &authv1.UpdatePasskeyRequest{
		Passkey: &authv1.Passkey{Name: name, DisplayName: "second", Etag: added.GetPasskey().GetEtag()},
	})
	require.Equal(t, "ETAG_STALE", errs.ReasonOf(err))

	for _, wrong := range []*authv1.ReauthenticateRequest{
		{Password: "wrong", TotpCode: root.Code()}, {Password: testkit.Password, TotpCode: "000000"},
	} {
		_, err = r.Reauthenticate(root.Context(), wrong)
		require.Equal(t, "PROOF_WRONG", errs.ReasonOf(err))
		require.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	before, code := root.Session, root.Code()
	proved, err := r.Reauthenticate(root.Context(), &authv1.ReauthenticateRequest{Password: testkit.Password, TotpCode: code})
	require.NoError(t, err)
	require.NotEqual(t, before, proved.GetSessionToken())
	root.Session = proved.GetSessionToken()
	_, err = r.Reauthenticate(root.Context(), &authv1.ReauthenticateRequest{Password: testkit.Password, TotpCode: code})
	require.Equal(t, "PROOF_WRONG", errs.ReasonOf(err), "a code counts once")
	_, err = root.TrySignIn(r.Auth, testkit.Password, "")
	require.NoError(t, err)
	gone, err := r.DeletePasskey(root.Context(), &authv1.DeletePasskeyRequest{Name: name})
	require.NoError(t, err, "TOTP is left")
	require.EqualValues(t, 1, gone.GetOtherSessions())
	_, err = r.BeginPasskeyStepUp(root.Context(), &authv1.BeginPasskeyStepUpRequest{})
	require.Equal(t, "FACTOR_MISSING", errs.ReasonOf(err))
}
