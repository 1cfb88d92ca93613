package access

import (
	"testing"

	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func TestEveryGateSaysWhatOpensIt(t *testing.T) {
	t.Parallel()
	var all []accessv1.Gate
	for number := range accessv1.Gate_name {
		if gate := accessv1.Gate(number); gate != 0 {
			all = append(all, gate)
			require.NotEmpty(t, mend[gate], gate)
			err := NewGates(gate).Err()
			require.Equal(t, gate.String(), errs.ReasonOf(err))
			require.Equal(t, errs.KindPrecondition, errs.KindOf(err))
		}
	}
	set := NewGates(all...)
	require.ElementsMatch(t, all, set.List())
	require.True(t, set.Known())
	require.False(t, (set + 1<<len(all)).Known())
	require.NoError(t, Gates(0).Err())
	require.False(t, set.Has(0))
}

func TestPatientPermissionsAreThoseOfPatientModules(t *testing.T) {
	t.Parallel()
	for _, p := range []accessv1.Permission{
		accessv1.Permission_PERMISSION_PATIENTS_READ, accessv1.Permission_PERMISSION_NOTES_CREATE,
		accessv1.Permission_PERMISSION_PRESCRIPTIONS_LIST, accessv1.Permission_PERMISSION_APPOINTMENTS_READ, accessv1.Permission_PERMISSION_FHIR_READ,
	} {
		require.True(t, Patient().Has(p), p)
	}
	for _, p := range []accessv1.Permission{
		accessv1.Permission_PERMISSION_SELF_READ, accessv1.Permission_PERMISSION_USERS_LIST, accessv1.Permission_PERMISSION_AUDIT_EXPORT,
	} {
		require.False(t, Patient().Has(p), p)
	}
	for number := range accessv1.Permission_name {
		if number != 0 {
			require.NotZero(t, ModuleOf(accessv1.Permission(number)), "%s has no module", accessv1.Permission(number))
		}
	}
}
