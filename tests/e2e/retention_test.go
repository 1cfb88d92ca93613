package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// Who runs the installation plans and runs the end of the log's entries; a young log loses nothing, an
// administrator of a practice has no say, and nobody ends a hold that they placed.
func TestDH47_DH48_AYoungLogLosesNothing(t *testing.T) {
	refused(t, as(t, seed.Admin), http.MethodGet, "/v1/audit/retention", nil, http.StatusForbidden, "PERMISSION_MISSING")
	refused(t, as(t, seed.Admin), http.MethodPost, "/v1/audit/retention:run", nil, http.StatusForbidden, "PERMISSION_MISSING")

	root := as(t, seed.Superadmin)
	var plan auditv1.PlanRetentionResponse
	require.NoError(t, root.Call(t.Context(), http.MethodGet, "/v1/audit/retention", nil, &plan))
	require.Len(t, plan.GetClasses(), 2)
	for _, class := range plan.GetClasses() {
		require.Zero(t, class.GetDue()+class.GetSpared(), class.GetName())
	}
	require.False(t, plan.GetPurges())

	var hold auditv1.LogHold
	require.NoError(t, root.Call(t.Context(), http.MethodPost, "/v1/logHolds", &auditv1.PlaceLogHoldRequest{Reference: "24-1180"}, &hold))
	refused(t, root, http.MethodPost, "/v1/"+hold.GetName()+":release", nil, http.StatusBadRequest, "HOLD_SAME_PERSON")
	var list auditv1.ListLogHoldsResponse
	require.NoError(t, root.Call(t.Context(), http.MethodGet, "/v1/logHolds", nil, &list))
	require.Equal(t, "24-1180", list.GetLogHolds()[0].GetReference())
}
