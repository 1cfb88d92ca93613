package app_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

const records = accessv1.Service_SERVICE_RECORDS

func assign(w *testkit.World, by, doctor, member *testkit.Person) (*authv1.StaffMember, error) {
	return w.Auth.AssignStaff(by.Context(), &authv1.AssignStaffRequest{Parent: doctor.User, User: member.User})
}

func setModules(w *testkit.World, by, doctor, member *testkit.Person, modules ...string) (*authv1.StaffMember, error) {
	return w.Auth.UpdateStaffModules(by.Context(), &authv1.UpdateStaffModulesRequest{
		Name: doctor.User + "/staff/" + member.ID.String(), Modules: modules,
	})
}

func TestDH15_ADoctorWorksOnTheirOwnStaffOnly(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	smith, jones := w.NewUser(alice, "dr.smith", doctor, ""), w.NewUser(alice, "dr.jones", doctor, "")
	nurse := w.NewUser(alice, "nancy", staff, "nurse")

	require.Empty(t, nurse.Caller(records).ActsFor)
	member, err := assign(w, smith, smith, nurse)
	require.NoError(t, err)
	require.Equal(t, smith.User+"/staff/"+nurse.ID.String(), member.GetName())
	require.Contains(t, member.GetPermissions(), accessv1.Permission_PERMISSION_NOTES_READ)
	require.Equal(t, []uuid.UUID{smith.ID}, nurse.Caller(records).ActsFor)

	_, err = assign(w, smith, jones, nurse)
	requireReason(t, err, codes.PermissionDenied, "NOT_OWN_STAFF")
	_, err = setModules(w, jones, smith, nurse, "appointments")
	requireReason(t, err, codes.PermissionDenied, "NOT_OWN_STAFF")
	_, err = setModules(w, jones, jones, nurse, "appointments")
	requireReason(t, err, codes.NotFound, "STAFF_NOT_FOUND")
	_, err = w.Auth.UnassignStaff(jones.Context(), &authv1.UnassignStaffRequest{Name: member.GetName()})
	requireReason(t, err, codes.PermissionDenied, "NOT_OWN_STAFF")
	_, err = w.Auth.ListStaff(jones.Context(), &authv1.ListStaffRequest{Parent: smith.User})
	requireReason(t, err, codes.PermissionDenied, "NOT_OWN_STAFF")
	_, err = assign(w, nurse, smith, nurse)
	requireReason(t, err, codes.PermissionDenied, "PERMISSION_MISSING")

	// An administrator works on everybody's.
	_, err = assign(w, alice, jones, nurse)
	require.NoError(t, err)
	require.ElementsMatch(t, []uuid.UUID{smith.ID, jones.ID}, nurse.Caller(records).ActsFor)
	list, err := w.Auth.ListStaff(alice.Context(), &authv1.ListStaffRequest{Parent: jones.User})
	require.NoError(t, err)
	require.Len(t, list.GetStaff(), 1)
	require.Equal(t, nurse.User, list.GetStaff()[0].GetUser().GetName())
	require.Equal(t, nurse.Email, list.GetStaff()[0].GetUser().GetEmail())
	list, err = w.Auth.ListStaff(smith.Context(), &authv1.ListStaffRequest{Parent: smith.User})
	require.NoError(t, err)
	require.Empty(t, list.GetStaff()[0].GetUser().GetEmail(), "a doctor sees no contact data")

	_, err = assign(w, alice, smith, jones)
	requireReason(t, err, codes.InvalidArgument, "NOT_STAFF")
	_, err = assign(w, alice, nurse, nurse)
	requireReason(t, err, codes.NotFound, "USER_NOT_FOUND")
}

func TestDH30_ModulesNarrowAndNeverExceedTheTemplate(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	smith, jones := w.NewUser(alice, "dr.smith", doctor, ""), w.NewUser(alice, "dr.jones", doctor, "")
	nurse := w.NewUser(alice, "nancy", staff, "nurse")
	front := w.NewUser(alice, "rita", staff, "receptionist")
	for _, member := range []*testkit.Person{nurse, front} {
		_, err := assign(w, smith, smith, member)
		require.NoError(t, err)
	}
	_, err := setModules(w, smith, smith, front, "appointments", "prescriptions")
	requireReason(t, err, codes.InvalidArgument, "MODULE_NOT_IN_TEMPLATE")
	require.False(t, front.Caller(records).Permissions.Has(accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ))

	changed, err := setModules(w, smith, smith, nurse, "appointments", "patients")
	require.NoError(t, err)
	require.NotContains(t, changed.GetPermissions(), accessv1.Permission_PERMISSION_NOTES_READ)
	held := nurse.Caller(records).Permissions
	require.True(t, held.Has(accessv1.Permission_PERMISSION_PATIENTS_READ))
	require.False(t, held.Has(accessv1.Permission_PERMISSION_NOTES_READ))
	require.False(t, held.Has(accessv1.Permission_PERMISSION_PRESCRIPTIONS_LIST))

	// A second doctor who grants everything does not undo what the first one took:
	// the permissions count for the patients of both.
	_, err = assign(w, jones, jones, nurse)
	require.NoError(t, err)
	require.False(t, nurse.Caller(records).Permissions.Has(accessv1.Permission_PERMISSION_NOTES_READ))
	_, err = w.Auth.UnassignStaff(smith.Context(), &authv1.UnassignStaffRequest{Name: changed.GetName()})
	require.NoError(t, err)
	now := nurse.Caller(records)
	require.True(t, now.Permissions.Has(accessv1.Permission_PERMISSION_NOTES_READ))
	require.Equal(t, []uuid.UUID{jones.ID}, now.ActsFor)

	_, err = setModules(w, jones, jones, nurse)
	require.NoError(t, err)
	require.False(t, nurse.Caller(records).Permissions.Has(accessv1.Permission_PERMISSION_PATIENTS_READ), "no module, no patients")
}

func TestAssignmentsEndWithTheDoctor(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	smith := w.NewUser(alice, "dr.smith", doctor, "")
	nurse := w.NewUser(alice, "nancy", staff, "nurse")
	_, err := assign(w, smith, smith, nurse)
	require.NoError(t, err)
	_, err = w.Auth.DisableUser(alice.Context(), &authv1.DisableUserRequest{Name: smith.User})
	require.NoError(t, err)
	require.Empty(t, nurse.Caller(records).ActsFor)
}

func TestDC04_DoctorsHaveNoBillingSettings(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	alice := w.NewPractice(root, "alice")
	smith := w.NewUser(alice, "dr.smith", doctor, "")
	front := w.NewUser(alice, "rita", staff, "receptionist")
	for _, p := range []*testkit.Person{smith, front, root} {
		_, err := w.Auth.GetBillingSettings(p.Context(), &authv1.GetBillingSettingsRequest{})
		requireReason(t, err, codes.PermissionDenied, "PERMISSION_MISSING")
		_, err = w.Auth.UpdateBillingSettings(p.Context(), &authv1.UpdateBillingSettingsRequest{
			BillingSettings: &authv1.BillingSettings{LegalName: "Mine", Etag: "1"},
		})
		requireReason(t, err, codes.PermissionDenied, "PERMISSION_MISSING")
	}
	settings, err := w.Auth.GetBillingSettings(alice.Context(), &authv1.GetBillingSettingsRequest{})
	require.NoError(t, err)
	settings.LegalName, settings.BillingEmail, settings.Currency = "Elm Street Ltd", "bills@example.org", "USD"
	changed, err := w.Auth.UpdateBillingSettings(alice.Context(), &authv1.UpdateBillingSettingsRequest{BillingSettings: settings})
	require.NoError(t, err)
	require.Equal(t, "bills@example.org", changed.GetBillingEmail())
	_, err = w.Auth.UpdateBillingSettings(alice.Context(), &authv1.UpdateBillingSettingsRequest{BillingSettings: settings})
	requireReason(t, err, codes.Aborted, "ETAG_STALE")
	changed.BillingEmail = "not an address"
	_, err = w.Auth.UpdateBillingSettings(alice.Context(), &authv1.UpdateBillingSettingsRequest{BillingSettings: changed})
	requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
}

func TestEverybodyReadsTheRoles(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	front := w.NewUser(alice, "rita", staff, "receptionist")
	list, err := w.Auth.ListRoles(front.Context(), &authv1.ListRolesRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetRoles(), 5, "four kinds, one of them in two templates")
}
