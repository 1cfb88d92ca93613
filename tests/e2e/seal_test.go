package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// One flipped byte of ciphertext: the reader gets DATA_LOSS and no data, and the
// practice's administrator finds an alert that names the patient.
func TestDH17_AFlippedByteIsDataLossAndRaisesAnAlert(t *testing.T) {
	charts(t, 5)
	patient := generator.Patient(population, 4)
	flip := func() {
		ctx := context.Background() // it also runs after the test's own context has ended
		conn, err := suite.AdminDB(ctx, "records")
		require.NoError(t, err)
		defer conn.Close(ctx)
		// As somebody who owns the machine: past the trigger that keeps former versions.
		_, err = conn.Exec(ctx, `SET session_replication_role = replica`)
		require.NoError(t, err)
		changed, err := conn.Exec(ctx, `UPDATE documents SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE type = 'Patient' AND id = $1`, patient.ID)
		require.NoError(t, err)
		require.EqualValues(t, 1, changed.RowsAffected())
	}
	flip()
	t.Cleanup(flip)
	answer, err := as(t, seed.Smith).Send(t.Context(), http.MethodGet, "/v1/patients/"+patient.ID.String(), nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusInternalServerError, answer.Status)
	assert.Contains(t, string(answer.Body), "SEAL_BROKEN")
	assert.NotContains(t, string(answer.Body), patient.FamilyName)
	var refusal *api.Refusal
	require.ErrorAs(t, as(t, seed.Smith).Call(t.Context(), http.MethodGet, "/v1/patients/"+patient.ID.String(), nil, nil), &refusal)
	assert.Equal(t, codes.DataLoss, refusal.Code)

	require.Eventually(t, func() bool {
		var alerts auditv1.ListAlertsResponse
		require.NoError(t, as(t, seed.Admin).Call(t.Context(), http.MethodGet, "/v1/audit/alerts", nil, &alerts))
		for _, alert := range alerts.GetAlerts() {
			if alert.GetReason() == "SEAL_BROKEN" && alert.GetRisk() == auditv1.Risk_RISK_CRITICAL {
				assert.Contains(t, alert.GetLine(), patient.ID.String())
				return true
			}
		}
		return false
	}, 30*time.Second, 100*time.Millisecond, "no alert")
}
