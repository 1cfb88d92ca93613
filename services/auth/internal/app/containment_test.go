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
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func containmentsOf(w *testkit.World, identity string) authv1.ContainmentServiceClient {
	return authv1.NewContainmentServiceClient(w.Auth.Dial(identity))
}

// admits reports whether the person's session opens a service, and why not.
func admits(w *testkit.World, p *testkit.Person, service accessv1.Service) (codes.Code, string) {
	_, err := p.Admit(w.Auth, service, false)
	return status.Code(err), errs.ReasonOf(err)
}

func TestDH53_APracticeIsCutOffAtOnceAndReleased(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, manySignIns)
	root := w.Superadmin()
	admin, other := w.NewPractice(root, "alice"), w.NewPractice(root, "olga")
	smith := w.NewUser(admin, "dr.smith", doctor, "")
	api := containmentsOf(w, "gateway")
	cut := &authv1.CreateContainmentRequest{Practice: admin.Practice, Reason: "sessions from abroad"}

	w.Clock.Advance(6 * time.Minute)
	_, err := api.CreateContainment(root.Context(), cut)
	requireReason(t, err, codes.PermissionDenied, "REAUTHENTICATE")
	root.SignIn()
	admin.SignIn()
	smith.SignIn()
	_, err = api.CreateContainment(admin.Context(), cut)
	requireReason(t, err, codes.PermissionDenied, "PERMISSION_MISSING")
	_, err = api.CreateContainment(root.Context(), &authv1.CreateContainmentRequest{Practice: admin.Practice})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "a reason is needed")
	_, err = api.CreateContainment(root.Context(), &authv1.CreateContainmentRequest{Practice: "practices/" + uuid.NewString(), Reason: "x"})
	requireReason(t, err, codes.NotFound, "PRACTICE_NOT_FOUND")
	before := len(w.Events())
	made, err := api.CreateContainment(root.Context(), cut)
	require.NoError(t, err)
	require.NotNil(t, made.GetEffectiveTime())
	events := w.Events()[before:]
	last := events[len(events)-1]
	require.Equal(t, []any{made.GetName(), "CONTAINED", auditv1.Risk_RISK_CRITICAL, accessv1.Action_ACTION_CONTAIN, admin.Practice},
		[]any{last.GetResource(), last.GetReason(), last.GetRisk(), last.GetAction(), "practices/" + last.GetPracticeId()})
	require.GreaterOrEqual(t, last.GetCount(), int32(2), "sessions that were ended")

	for _, p := range []*testkit.Person{admin, smith} {
		code, _ := admits(w, p, accessv1.Service_SERVICE_RECORDS)
		require.Equal(t, codes.Unauthenticated, code)
		w.Clock.Advance(time.Minute)
		_, err := p.TrySignIn(w.Auth, testkit.Password, p.Code())
		requireReason(t, err, codes.Unauthenticated, "SIGN_IN_FAILED")
	}
	code, _ := admits(w, other, accessv1.Service_SERVICE_RECORDS)
	require.Equal(t, codes.OK, code, "nobody else notices")
	_, err = w.Auth.GetPractice(root.Context(), &authv1.GetPracticeRequest{Name: admin.Practice})
	require.NoError(t, err, "a superadmin still reaches it")
	_, err = api.CreateContainment(root.Context(), cut)
	requireReason(t, err, codes.Aborted, "CONTAINED_ALREADY")

	listed, err := api.ListContainments(root.Context(), &authv1.ListContainmentsRequest{OpenOnly: true})
	require.NoError(t, err)
	require.Len(t, listed.GetContainments(), 1)
	require.Equal(t, []string{cut.GetReason(), root.User}, []string{listed.GetContainments()[0].GetReason(), listed.GetContainments()[0].GetCreator()})
	released, err := api.ReleaseContainment(root.Context(), &authv1.ReleaseContainmentRequest{Name: made.GetName(), Reason: "it was a holiday"})
	require.NoError(t, err)
	require.NotNil(t, released.GetReleaseTime())
	code, _ = admits(w, smith, accessv1.Service_SERVICE_RECORDS)
	require.Equal(t, codes.Unauthenticated, code, "sessions from before stay ended")
	w.Clock.Advance(time.Minute)
	smith.SignIn()
	code, _ = admits(w, smith, accessv1.Service_SERVICE_RECORDS)
	require.Equal(t, codes.OK, code)
	_, err = api.ReleaseContainment(root.Context(), &authv1.ReleaseContainmentRequest{Name: made.GetName(), Reason: "again"})
	requireReason(t, err, codes.NotFound, "CONTAINMENT_NOT_FOUND")
}

// A session that opened while the practice was being cut off, after its sessions were ended, is not admitted either.
func TestDH53_ASessionThatSlippedThroughIsNotAdmitted(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	_, err := containmentsOf(w, "gateway").CreateContainment(root.Context(), &authv1.CreateContainmentRequest{Practice: admin.Practice, Reason: "x"})
	require.NoError(t, err)
	w.Exec("UPDATE sessions SET ended = NULL WHERE user_id = $1", admin.ID)
	code, reason := admits(w, admin, accessv1.Service_SERVICE_AUTH)
	require.Equal(t, []any{codes.Unauthenticated, "SESSION_INVALID"}, []any{code, reason}, "one answer to all dead sessions")
	events := w.Events()
	require.Equal(t, "PRACTICE_CONTAINED", events[len(events)-1].GetReason(), "and the log knows why")
}

func TestDH53_AServiceTakesTwoPersonsAndIsRefusedToEverybody(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, manySignIns)
	root := w.Superadmin()
	second := w.NewUser(root, "root2", superadmin, "")
	admin := w.NewPractice(root, "alice")
	api := containmentsOf(w, "gateway")
	records := accessv1.Service_SERVICE_RECORDS
	for _, service := range []accessv1.Service{accessv1.Service_SERVICE_AUTH, accessv1.Service_SERVICE_GATEWAY} {
		_, err := api.CreateContainment(root.Context(), &authv1.CreateContainmentRequest{Service: service, Reason: "x"})
		requireReason(t, err, codes.FailedPrecondition, "SERVICE_NEEDED")
	}
	asked, err := api.CreateContainment(root.Context(), &authv1.CreateContainmentRequest{Service: records, Reason: "it leaks"})
	require.NoError(t, err)
	require.Nil(t, asked.GetEffectiveTime())
	code, _ := admits(w, admin, records)
	require.Equal(t, codes.OK, code, "one person cuts off nothing")
	_, err = api.ApproveContainment(root.Context(), &authv1.ApproveContainmentRequest{Name: asked.GetName()})
	requireReason(t, err, codes.PermissionDenied, "SELF_APPROVAL")
	approved, err := api.ApproveContainment(second.Context(), &authv1.ApproveContainmentRequest{Name: asked.GetName()})
	require.NoError(t, err)
	require.Equal(t, second.User, approved.GetApprover())

	for _, p := range []*testkit.Person{admin, root} {
		code, reason := admits(w, p, records)
		require.Equal(t, []any{codes.PermissionDenied, "CONTAINED"}, []any{code, reason})
		code, _ = admits(w, p, accessv1.Service_SERVICE_AUDIT)
		require.Equal(t, codes.OK, code, "other services answer")
	}
	_, err = api.ReleaseContainment(root.Context(), &authv1.ReleaseContainmentRequest{Name: asked.GetName(), Reason: "mended"})
	require.NoError(t, err)
	code, _ = admits(w, admin, records)
	require.Equal(t, codes.OK, code)
}

func TestDH51_AUserAndAnAddressAreContainedAndLetInAgain(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, manySignIns)
	root := w.Superadmin()
	admin, other := w.NewPractice(root, "alice"), w.NewPractice(root, "olga")
	smith := w.NewUser(admin, "dr.smith", doctor, "")
	api := containmentsOf(w, "gateway")
	user := &authv1.ContainUserRequest{Name: smith.User, Reason: "phone was stolen"}
	_, err := api.ContainUser(other.Context(), user)
	requireReason(t, err, codes.NotFound, "USER_NOT_FOUND")
	_, err = api.ContainUser(admin.Context(), &authv1.ContainUserRequest{Name: admin.User, Reason: "x"})
	requireReason(t, err, codes.PermissionDenied, "SELF_APPROVAL")
	got, err := api.ContainUser(admin.Context(), user)
	require.NoError(t, err)
	require.EqualValues(t, 1, got.GetEnded())
	code, _ := admits(w, smith, accessv1.Service_SERVICE_RECORDS)
	require.Equal(t, codes.Unauthenticated, code)
	w.Inbox.Told(smith.Email, "Your account was reported as compromised")

	const outside = "203.0.113.9"
	blocked, err := api.ContainAddress(root.Context(), &authv1.ContainAddressRequest{Address: outside, Hours: 2, Reason: "scans"})
	require.NoError(t, err)
	require.Equal(t, outside, blocked.GetNetwork())
	require.Equal(t, w.Clock.Now().Add(2*time.Hour), blocked.GetExpireTime().AsTime())
	stranger := *other
	stranger.Address = outside
	_, err = stranger.TrySignIn(w.Auth, testkit.Password, "")
	requireReason(t, err, codes.ResourceExhausted, "ADDRESS_BLOCKED")

	open := func() (n int) {
		listed, err := api.ListContainments(root.Context(), &authv1.ListContainmentsRequest{OpenOnly: true})
		require.NoError(t, err)
		return len(listed.GetContainments())
	}
	require.Equal(t, 2, open())
	_, err = authv1.NewDeviceServiceClient(w.Auth.Dial("gateway")).ThawUser(admin.Context(), &authv1.ThawUserRequest{Name: smith.User})
	require.NoError(t, err)
	_, err = guardOf(w.Auth).LiftBlock(root.Context(), &authv1.LiftBlockRequest{Network: outside})
	require.NoError(t, err)
	require.Zero(t, open(), "thawed and lifted is released")
	_, err = stranger.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
}
