package recovery_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
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

// rig is an installation with one doctor who has two factors.
type rig struct {
	*testkit.World
	codes  authv1.CodeServiceClient
	admin  *testkit.Person
	doctor *testkit.Person
}

func newRig(t *testing.T) *rig {
	t.Helper()
	w := testkit.New(t, func(s *app.Settings) { s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 10_000, 10_000 })
	admin := w.NewPractice(w.Superadmin(), "alice")
	return &rig{
		World: w, codes: authv1.NewCodeServiceClient(w.Auth.Dial("gateway")), admin: admin,
		doctor: w.NewUser(admin, "dr.smith", accessv1.RoleKind_ROLE_KIND_DOCTOR, ""),
	}
}

func (r *rig) generate() []string {
	r.T.Helper()
	made, err := r.codes.GenerateRecoveryCodes(r.doctor.Context(), &authv1.GenerateRecoveryCodesRequest{})
	require.NoError(r.T, err)
	return made.GetCodes()
}

// password opens one more session of the doctor with the password alone.
func (r *rig) password() *authv1.SignInResponse {
	r.T.Helper()
	opened, err := r.doctor.TrySignIn(r.Auth, testkit.Password, "")
	require.NoError(r.T, err)
	r.doctor.Session = opened.GetSessionToken()
	return opened
}

func (r *rig) verify(code string) (*authv1.SignInResponse, error) {
	r.T.Helper()
	return r.codes.VerifyRecoveryCode(r.doctor.Context(), &authv1.VerifyRecoveryCodeRequest{Code: code})
}

// left is how many codes ListFactors counts, and whether they are a second factor.
func (r *rig) left() (count int, second bool) {
	r.T.Helper()
	list, err := r.codes.ListFactors(r.doctor.Context(), &authv1.ListFactorsRequest{})
	require.NoError(r.T, err)
	for _, f := range list.GetFactors() {
		if f.GetMethod() == authv1.Method_METHOD_RECOVERY_CODE {
			return int(f.GetCount()), f.GetSecondFactor()
		}
	}
	r.T.Fatal("no recovery codes are listed")
	return 0, false
}

func (r *rig) reason(err error, reason string) {
	r.T.Helper()
	require.Equal(r.T, reason, errs.ReasonOf(err), "%v", err)
}

func TestDH22_ARecoveryCodeIsASecondFactorOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.generate()
	require.Len(t, made, 10)
	r.Inbox.Told(r.doctor.Email, "added to your account: recovery codes")
	count, second := r.left()
	require.Equal(t, 10, count)
	require.True(t, second)

	opened := r.password()
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL1, opened.GetAssurance())
	require.Contains(t, opened.GetSecondFactors(), authv1.Method_METHOD_RECOVERY_CODE)
	_, err := r.verify("0000-0000-0000-0000")
	r.reason(err, "CODE_WRONG")
	_, err = r.verify("not a code")
	r.reason(err, "CODE_WRONG")
	raised, err := r.verify(strings.ToLower(strings.ReplaceAll(made[0], "-", " ")))
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, raised.GetAssurance())
	events := r.Events()
	event := events[len(events)-1]
	require.Equal(t, "RECOVERY_CODE", event.GetReason())
	require.Equal(t, auditv1.Risk_RISK_HIGH, event.GetRisk())
	_, err = r.doctor.Admit(r.Auth, accessv1.Service_SERVICE_RECORDS, false)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "the old token is dead")
	r.doctor.Session = raised.GetSessionToken()
	require.True(t, r.doctor.Caller(accessv1.Service_SERVICE_RECORDS).Permissions.Has(accessv1.Permission_PERMISSION_PATIENTS_READ))
	r.Inbox.Told(r.doctor.Email, "with a recovery code (9 of 10 are left).")
	count, _ = r.left()
	require.Equal(t, 9, count)

	r.password()
	_, err = r.verify(made[0])
	r.reason(err, "CODE_WRONG") // it was used
	for n, code := range made[1:] {
		r.password()
		raised, err = r.verify(code)
		require.NoError(t, err)
		r.doctor.Session = raised.GetSessionToken()
		if n == 6 {
			r.Inbox.Told(r.doctor.Email, "with a recovery code (2 of 10 are left; make new ones soon).")
		}
	}
	count, second = r.left()
	require.Zero(t, count)
	require.False(t, second, "nothing is left to give")
	for _, code := range made {
		require.NotContains(t, r.Log.String(), code)
		for _, e := range r.Events() {
			require.NotContains(t, e.String(), code)
		}
	}
}

func TestDH22_NewRecoveryCodesEndTheOldOnesAndTakeAFreshAuthentication(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old := r.generate()
	fresh := r.generate()
	for _, code := range fresh {
		require.NotContains(t, old, code)
	}
	count, _ := r.left()
	require.Equal(t, 10, count)
	strong := r.doctor.Session
	r.password()
	_, err := r.codes.GenerateRecoveryCodes(r.doctor.Context(), &authv1.GenerateRecoveryCodesRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err), "a password alone")
	_, err = r.verify(old[0])
	r.reason(err, "CODE_WRONG")
	_, err = r.verify(fresh[0])
	require.NoError(t, err)

	r.doctor.Session = strong
	made, err := r.codes.GenerateRecoveryCodes(r.doctor.Context(), &authv1.GenerateRecoveryCodesRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 1, made.GetChange().GetOtherSessions())
	made, err = r.codes.GenerateRecoveryCodes(r.doctor.Context(), &authv1.GenerateRecoveryCodesRequest{EndOtherSessions: true})
	require.NoError(t, err)
	require.EqualValues(t, 1, made.GetChange().GetEndedSessions())
	require.Zero(t, made.GetChange().GetOtherSessions())

	r.Clock.Advance(5*time.Minute + time.Second)
	_, err = r.codes.GenerateRecoveryCodes(r.doctor.Context(), &authv1.GenerateRecoveryCodesRequest{})
	r.reason(err, "REAUTHENTICATE")
}

func TestDH22_ARaceOfTwentyWithOneRecoveryCodeLetsOneThrough(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.generate()
	// Sessions of their own, so that nothing but the code decides; a user has four.
	contexts := make([]context.Context, 4)
	for i := range contexts {
		r.password()
		contexts[i] = r.doctor.Context()
	}
	var race sync.WaitGroup
	var passed atomic.Int32
	for i := range 20 {
		race.Go(func() {
			if _, err := r.codes.VerifyRecoveryCode(contexts[i%len(contexts)], &authv1.VerifyRecoveryCodeRequest{Code: made[0]}); err == nil {
				passed.Add(1)
			}
		})
	}
	race.Wait()
	require.EqualValues(t, 1, passed.Load())
}

// The database holds keyed hashes that name their owner: a row copied to another user opens nothing.
func TestDMD03_RecoveryCodesAreHashedForTheirOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.generate()
	r.Admin(func(ctx context.Context, conn *pgx.Conn) {
		rows, err := conn.Query(ctx, "SELECT r::text || encode(r.code_hash, 'escape') FROM recovery_codes r")
		require.NoError(t, err)
		stored, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Len(t, stored, 10)
		for _, row := range stored {
			for _, code := range made {
				require.NotContains(t, row, code)
				require.NotContains(t, row, strings.ReplaceAll(code, "-", ""))
			}
		}
	})
	thief := &rig{World: r.World, codes: r.codes, doctor: r.NewUser(r.admin, "mallory", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")}
	thief.generate()
	r.Admin(func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, `INSERT INTO recovery_codes (user_id, code_hash, practice_id, created)
			SELECT $1, code_hash, practice_id, created FROM recovery_codes WHERE user_id = $2`, thief.doctor.ID, r.doctor.ID)
		require.NoError(t, err)
	})
	thief.password()
	_, err := thief.verify(made[0])
	thief.reason(err, "CODE_WRONG")
	r.password()
	_, err = r.verify(made[0])
	require.NoError(t, err)
}
