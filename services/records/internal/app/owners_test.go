package app_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
)

func TestDH50_OneRecordMakesAnOwner(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	auth, err := postgres.ForTest(t).CA().Source("auth")
	require.NoError(t, err)
	conn, err := auth.Dial(h.address, accessv1.Service_SERVICE_RECORDS)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	client := recordsv1.NewRecordsServiceClient(conn)

	doctor, idle := h.doctor(), h.doctor()
	h.patient(doctor)
	// Creates for the doctor, and is in no care team.
	desk := h.receptionist(doctor)
	_, err = h.client.CreatePatient(h.as(desk), &recordsv1.CreatePatientRequest{Patient: somebody(), RequestId: uuid.NewString()})
	require.NoError(t, err)
	ask := func(practice uuid.UUID) *recordsv1.ListOwnersRequest {
		return &recordsv1.ListOwnersRequest{Practice: "practices/" + practice.String(), Users: []string{
			"users/" + doctor.User.String(), "users/" + idle.User.String(), "users/" + desk.User.String(),
		}}
	}
	owners, err := client.ListOwners(t.Context(), ask(h.practice))
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"users/" + doctor.User.String(), "users/" + desk.User.String()}, owners.GetUsers())
	owners, err = client.ListOwners(t.Context(), ask(uuid.New()))
	require.NoError(t, err)
	require.Empty(t, owners.GetUsers(), "in another practice they own nothing")
	_, err = h.client.ListOwners(h.as(doctor), ask(h.practice))
	require.Equal(t, codes.PermissionDenied, status.Code(err), "for auth only")
}
