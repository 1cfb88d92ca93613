package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/tests/internal/mesh"
)

// Each step does without what stopped the step before, as if that layer had
// failed, and the next layer denies the same chart, for a reason of its own.
func TestDH21_EachLayerDeniesWhenTheOnesBeforeItAreGone(t *testing.T) {
	charts(t, 1)
	patient := generator.Patient(population, 0)
	practice := uuid.MustParse(strings.TrimPrefix(users.Practices[seed.Riverside], "practices/"))
	begun := time.Now()

	// The gateway wants a session.
	plain, err := suite.Client()
	require.NoError(t, err)
	refused(t, api.New(suite.URL(), plain), http.MethodGet, "/v1/patients/"+patient.ID.String(), nil, http.StatusUnauthorized, "SESSION_MISSING")

	// Past the gateway, from inside the mesh: not every service may ask, and nobody for nobody.
	read := func(identity, token string) (codes.Code, string) {
		ctx := t.Context()
		if token != "" {
			ctx = caller.Attach(ctx, token)
		}
		_, err := recordsv1.NewRecordsServiceClient(dial(t, identity, accessv1.Service_SERVICE_RECORDS)).
			GetPatient(ctx, &recordsv1.GetPatientRequest{Name: "patients/" + patient.ID.String()})
		require.Error(t, err)
		return status.Code(err), errs.ReasonOf(err)
	}
	outcomes := map[string]bool{}
	denies := func(identity, token string, code codes.Code, reason string) {
		t.Helper()
		gotCode, gotReason := read(identity, token)
		assert.Equal(t, code, gotCode)
		assert.Equal(t, reason, gotReason)
		outcomes[reason] = true
	}
	denies("audit", "", codes.PermissionDenied, "CALLER_SERVICE_NOT_ALLOWED")
	denies("gateway", "", codes.Unauthenticated, "CALLER_TOKEN_MISSING")

	// With tokens that nobody but auth can sign, but not of anything: for this service, now.
	whole := mesh.Doctor(practice, accessv1.Service_SERVICE_RECORDS)
	elsewhere := whole
	elsewhere.Audience = accessv1.Service_SERVICE_BACKUP
	denies("gateway", sign(t, elsewhere, time.Now()), codes.Unauthenticated, "CALLER_TOKEN_AUDIENCE")
	denies("gateway", sign(t, whole, time.Now().Add(-2*time.Minute)), codes.Unauthenticated, "CALLER_TOKEN_EXPIRED")

	// Admitted: the rule of the RPC asks for a permission and two factors.
	lacking := whole
	lacking.Permissions.Remove(accessv1.Permission_PERMISSION_PATIENTS_READ)
	denies("gateway", sign(t, lacking, time.Now()), codes.PermissionDenied, "PERMISSION_MISSING")
	weak := whole
	weak.Assurance = accessv1.Assurance_ASSURANCE_AAL1
	denies("gateway", sign(t, weak, time.Now()), codes.PermissionDenied, "ASSURANCE_TOO_LOW")

	// With everything that rules ask for: the chart is its care team's, in its practice.
	stranger := whole
	stranger.Permissions.Remove(accessv1.Permission_PERMISSION_PATIENTS_SCOPE_PRACTICE)
	denies("gateway", sign(t, stranger, time.Now()), codes.NotFound, "NOT_FOUND")
	foreign := mesh.Doctor(uuid.Must(uuid.NewV7()), accessv1.Service_SERVICE_RECORDS)
	denies("gateway", sign(t, foreign, time.Now()), codes.NotFound, "NOT_FOUND")
	require.Len(t, outcomes, 7)

	// Past every service, with the database password of one: rows of the practice that was named, and no others.
	conn, err := pgx.ConnectConfig(t.Context(), database(t, clientTLS(t, "records")))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows := func(home uuid.UUID) (n int) {
		require.NoError(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), "SELECT set_config('carekeep.practice', $1, true)", home.String()); err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), "SELECT count(*) FROM documents WHERE id = $1", patient.ID).Scan(&n)
		}))
		return n
	}
	assert.Equal(t, 1, rows(practice))
	assert.Zero(t, rows(foreign.Practice))
	var n int
	require.Error(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM documents").Scan(&n), "and none without a practice")

	// Past the database too, as its owner: what lies there is sealed, and Vault unwraps its key for records alone.
	admin, err := suite.AdminDB(t.Context(), "records")
	require.NoError(t, err)
	defer admin.Close(t.Context())
	var sealed []byte
	var wrapped string
	require.NoError(t, admin.QueryRow(t.Context(), `SELECT d.sealed, k.wrapped FROM documents d JOIN data_keys k USING (practice_id, key_id)
		WHERE d.type = 'Patient' AND d.id = $1`, patient.ID).Scan(&sealed, &wrapped))
	assert.NotContains(t, string(sealed), patient.FamilyName)
	for _, identity := range []string{"auth", "audit", "backup"} {
		source, err := suite.Source(identity)
		require.NoError(t, err)
		vault, err := transit.New(transit.Config{Address: "https://" + suite.Address("transit"), Role: identity}, source)
		require.NoError(t, err)
		_, err = vault.Decrypt(t.Context(), envelope.KeyName(practice), []string{wrapped})
		assert.Equal(t, "TRANSIT_DENIED", errs.ReasonOf(err), identity)
		vault.Close()
	}

	// The audit log names each layer of the services; what the client was not told apart, it tells apart.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Subset(c, deniedReads(t, seed.Admin, begun), []string{"PERMISSION_MISSING", "ASSURANCE_TOO_LOW", "NOT_ON_CARE_TEAM"})
		assert.Subset(c, deniedReads(t, seed.Superadmin, begun), []string{
			"CALLER_SERVICE_NOT_ALLOWED", "CALLER_TOKEN_MISSING", "CALLER_TOKEN_AUDIENCE", "CALLER_TOKEN_EXPIRED",
		})
	}, 30*time.Second, 200*time.Millisecond)
}

// deniedReads are the reasons of the refused reads of patients that a user's audit log holds.
func deniedReads(t *testing.T, username string, from time.Time) []string {
	t.Helper()
	var page auditv1.ListEntriesResponse
	request := &auditv1.ListEntriesRequest{
		PageSize: 500, FromTime: timestamppb.New(from), Action: accessv1.Action_ACTION_READ, Outcome: auditv1.Outcome_OUTCOME_DENIED,
	}
	require.NoError(t, as(t, username).Call(t.Context(), http.MethodPost, "/v1/audit/entries:list", request, &page))
	var reasons []string
	for _, entry := range page.GetEntries() {
		reasons = append(reasons, entry.GetEvent().GetReason())
	}
	return reasons
}
