package app_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

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
