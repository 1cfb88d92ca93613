package app_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
)

// A request id counts for a week, and is then forgotten, however many there are; who made a record stays its owner.
func TestRequestIdsAreForgottenAfterAWeek(t *testing.T) {
	t.Parallel()
	l := newLife(t, func(s *settings) { s.Upkeep.PollSeconds = 1 })
	doctor := l.doctor()
	desk := l.receptionist(doctor)
	id := uuid.NewString()
	create := func() string {
		p, err := l.house.client.CreatePatient(l.as(desk), &recordsv1.CreatePatientRequest{Patient: somebody(), RequestId: id})
		require.NoError(t, err)
		return p.GetName()
	}
	first := create()
	// More than one batch, of the same age.
	l.admin("INSERT INTO requests SELECT practice_id, user_id, gen_random_uuid(), type, gen_random_uuid(), digest, created_at FROM requests, generate_series(1, 2500)")
	l.pass(7*day - time.Hour)
	other := l.doctor()
	_, err := l.house.client.CreatePatient(l.as(other), &recordsv1.CreatePatientRequest{Patient: somebody(), RequestId: uuid.NewString()})
	require.NoError(t, err)
	require.Equal(t, first, create(), "within the week")
	l.pass(3 * time.Hour)
	require.Eventually(t, func() bool { return len(l.sql("SELECT FROM requests")) == 1 }, patience, tick)
	require.Equal(t, other.User[:], l.sql("SELECT uuid_send(user_id) FROM requests")[0][0])
	require.NotEqual(t, first, create(), "after it a repeated call is a new one")

	auth, err := postgres.ForTest(t).CA().Source("auth")
	require.NoError(t, err)
	conn, err := auth.Dial(l.address, accessv1.Service_SERVICE_RECORDS)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	l.sql("DELETE FROM requests RETURNING 1")
	owners, err := recordsv1.NewRecordsServiceClient(conn).ListOwners(t.Context(), &recordsv1.ListOwnersRequest{
		Practice: "practices/" + l.practice.String(), Users: []string{desk.name()},
	})
	require.NoError(t, err)
	require.Equal(t, []string{desk.name()}, owners.GetUsers())
}
