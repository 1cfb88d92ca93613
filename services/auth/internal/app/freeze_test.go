package app_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// A report freezes an account once: repeated after a thaw it freezes nobody and ends no session, while another does.
func TestAReportFreezesOnce(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	admin := w.NewPractice(w.Superadmin(), "alice")
	smith := w.NewUser(admin, "dr.smith", doctor, "")
	records := authv1.NewGuardServiceClient(w.Auth.Dial("records"))
	first, second := uuid.NewString(), uuid.NewString()
	freeze := func(reports ...string) *authv1.FreezeUserResponse {
		got, err := records.FreezeUser(w.Context(), &authv1.FreezeUserRequest{User: smith.User, Practice: admin.Practice, Reports: reports})
		require.NoError(t, err)
		return got
	}
	thaw := func() error {
		_, err := authv1.NewDeviceServiceClient(w.Auth.Dial("gateway")).ThawUser(admin.Context(), &authv1.ThawUserRequest{Name: smith.User})
		return err
	}
	require.EqualValues(t, 1, freeze(first).GetEnded())
	require.NoError(t, thaw())
	before := len(w.Events())
	require.EqualValues(t, 0, freeze(first).GetEnded())
	last := w.Events()[before:]
	require.Equal(t, []string{"MISUSE_REPORTED_BEFORE"}, reasonsOf(last))
	require.Equal(t, auditv1.Risk_RISK_LOW, last[0].GetRisk())
	requireReason(t, thaw(), codes.NotFound, "ACCOUNT_NOT_FROZEN")
	freeze(first, second)
	require.NoError(t, thaw())
	freeze(second)
	requireReason(t, thaw(), codes.NotFound, "ACCOUNT_NOT_FROZEN")
	freeze()
	require.NoError(t, thaw(), "a report without an id freezes in any case")
}

// Only records freezes. Who is frozen is out at once, in this practice and nobody else, and it says why.
func TestOnlyRecordsFreezesAnAccount(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	admin, other := w.NewPractice(root, "alice"), w.NewPractice(root, "olga")
	smith, jones := w.NewUser(admin, "dr.smith", doctor, ""), w.NewUser(admin, "dr.jones", doctor, "")
	first := smith.Session
	w.Clock.Advance(time.Minute) // a code counts once
	smith.SignIn()
	request := &authv1.FreezeUserRequest{User: smith.User, Practice: admin.Practice, Reports: []string{uuid.NewString()}}
	works := func(p *testkit.Person) error {
		_, err := p.Admit(w.Auth, accessv1.Service_SERVICE_RECORDS, false)
		return err
	}
	for _, identity := range []string{"gateway", "audit", "backup", "ctl", "auth"} {
		_, err := authv1.NewGuardServiceClient(w.Auth.Dial(identity)).FreezeUser(smith.Context(), request)
		requireReason(t, err, codes.PermissionDenied, "CALLER_SERVICE_NOT_ALLOWED")
	}
	records := authv1.NewGuardServiceClient(w.Auth.Dial("records"))
	for user, practice := range map[string]string{smith.User: other.Practice, "users/" + uuid.NewString(): admin.Practice} {
		_, err := records.FreezeUser(w.Context(), &authv1.FreezeUserRequest{User: user, Practice: practice})
		require.Equal(t, codes.NotFound, status.Code(err), "a user of that practice, and of no other")
	}
	require.NoError(t, works(smith), "nothing of all that froze the account")

	before := len(w.Events())
	got, err := records.FreezeUser(w.Context(), request)
	require.NoError(t, err)
	require.EqualValues(t, 2, got.GetEnded())
	left := w.Events()[before:]
	require.Equal(t, []string{"MISUSE_REPORTED"}, reasonsOf(left))
	e := left[0]
	require.Equal(t, []any{authv1.GuardService_FreezeUser_FullMethodName, accessv1.Action_ACTION_ACCOUNT_CHANGE, auditv1.Outcome_OUTCOME_OK, auditv1.Risk_RISK_CRITICAL, accessv1.Service_SERVICE_RECORDS},
		[]any{e.GetMethod(), e.GetAction(), e.GetOutcome(), e.GetRisk(), e.GetCaller()})
	require.Equal(t, []any{smith.User, "practices/" + e.GetPracticeId(), int32(2)}, []any{e.GetResource(), admin.Practice, e.GetCount()})

	require.Equal(t, codes.Unauthenticated, status.Code(works(smith)))
	smith.Session = first
	require.Equal(t, codes.Unauthenticated, status.Code(works(smith)), "every session, and not the newest alone")
	w.Clock.Advance(time.Minute)
	_, err = smith.TrySignIn(w.Auth, testkit.Password, smith.Code())
	require.Equal(t, codes.Unauthenticated, status.Code(err), "no way of signing in opens one")
	require.NoError(t, works(jones))
	require.NoError(t, works(admin))

	again, err := records.FreezeUser(w.Context(), request)
	require.NoError(t, err)
	require.Zero(t, again.GetEnded(), "repeated, it changes nothing")
}
