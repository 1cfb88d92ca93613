package roles

import (
	"testing"

	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
)

func TestDH27_FiftyPermissionsAndFourRoleKinds(t *testing.T) {
	t.Parallel()
	permissions := 0
	for number, name := range accessv1.Permission_name {
		if number == 0 {
			continue
		}
		permissions++
		held := false
		for _, role := range All() {
			held = held || Of(role).Has(accessv1.Permission(number))
		}
		require.True(t, held, "no role holds %s", name)
	}
	require.GreaterOrEqual(t, permissions, 50)
	require.Len(t, accessv1.RoleKind_name, 5, "four kinds and UNSPECIFIED")
}

func TestDC03_FourKindsAndTheTemplatesOfStaff(t *testing.T) {
	t.Parallel()
	kinds := map[accessv1.RoleKind][]string{}
	for _, role := range All() {
		kinds[role.Kind] = append(kinds[role.Kind], role.Template)
	}
	require.Equal(t, map[accessv1.RoleKind][]string{
		accessv1.RoleKind_ROLE_KIND_SUPERADMIN: {""},
		accessv1.RoleKind_ROLE_KIND_ADMIN:      {""},
		accessv1.RoleKind_ROLE_KIND_DOCTOR:     {""},
		accessv1.RoleKind_ROLE_KIND_STAFF:      {Nurse, Receptionist},
	}, kinds)
	require.False(t, Known(Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF}))
	require.False(t, Known(Role{Kind: accessv1.RoleKind_ROLE_KIND_DOCTOR, Template: Nurse}))
	require.Zero(t, Of(Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF, Template: "janitor"}).Len())
}

// Audit knows no care teams: whoever may read access reports reads those of every patient of the practice.
func TestDH34_OnlyWhoReadsTheLogReadsAccessReports(t *testing.T) {
	t.Parallel()
	for _, role := range All() {
		of := Of(role)
		require.Equal(t, of.Has(accessv1.Permission_PERMISSION_AUDIT_ENTRIES_READ), of.Has(accessv1.Permission_PERMISSION_AUDIT_ACCESS_REPORTS_READ), role)
	}
	require.False(t, Of(Role{Kind: accessv1.RoleKind_ROLE_KIND_DOCTOR}).Has(accessv1.Permission_PERMISSION_AUDIT_ACCESS_REPORTS_READ))
	require.True(t, Of(Role{Kind: accessv1.RoleKind_ROLE_KIND_ADMIN}).Has(accessv1.Permission_PERMISSION_AUDIT_ACCESS_REPORTS_READ))
}

func TestDC04_RolesLackWhatTheyMustNotHave(t *testing.T) {
	t.Parallel()
	kind := func(k accessv1.RoleKind, template string) access.Permissions {
		return Of(Role{Kind: k, Template: template})
	}
	receptionist := kind(accessv1.RoleKind_ROLE_KIND_STAFF, Receptionist)
	for p := accessv1.Permission(60); p < 80; p++ {
		require.False(t, receptionist.Has(p), "a receptionist must not hold %s", p)
	}
	for p := accessv1.Permission(85); p < 150; p++ {
		require.False(t, receptionist.Has(p), "a receptionist must not hold %s", p)
	}
	require.False(t, receptionist.Has(accessv1.Permission_PERMISSION_PATIENTS_NATIONAL_ID_READ))

	doctor := kind(accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	require.False(t, doctor.Has(accessv1.Permission_PERMISSION_BILLING_SETTINGS_READ))
	require.False(t, doctor.Has(accessv1.Permission_PERMISSION_BILLING_SETTINGS_UPDATE))
	require.False(t, doctor.Has(accessv1.Permission_PERMISSION_USERS_CONTACT_READ))

	for _, k := range []accessv1.RoleKind{accessv1.RoleKind_ROLE_KIND_SUPERADMIN, accessv1.RoleKind_ROLE_KIND_ADMIN} {
		held := kind(k, "")
		for p := accessv1.Permission(60); p < 120; p++ {
			require.False(t, held.Has(p), "%s must not hold %s", k, p)
		}
		for _, p := range []accessv1.Permission{
			accessv1.Permission_PERMISSION_PATIENTS_READ, accessv1.Permission_PERMISSION_PATIENTS_LIST, accessv1.Permission_PERMISSION_PATIENTS_SEARCH,
		} {
			require.False(t, held.Has(p), "%s must not hold %s", k, p)
		}
	}
}

func TestDH22_SingleFactorHoldsOnlyItsOwnAccount(t *testing.T) {
	t.Parallel()
	for _, role := range All() {
		held := AtAssurance(Of(role), accessv1.Assurance_ASSURANCE_AAL1)
		require.Equal(t, singleFactor, held, "%v", role)
		require.Equal(t, AtAssurance(Of(role), accessv1.Assurance_ASSURANCE_UNSPECIFIED), held)
		require.Equal(t, Of(role), AtAssurance(Of(role), accessv1.Assurance_ASSURANCE_AAL2))
	}
}

func TestModulesNarrowTheTemplate(t *testing.T) {
	t.Parallel()
	member := Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF, Template: Nurse}
	require.Equal(t, Of(member), Narrow(Of(member), AllModules))
	narrowed := Narrow(Of(member), ModuleAppointments)
	require.True(t, narrowed.Has(accessv1.Permission_PERMISSION_APPOINTMENTS_READ))
	require.True(t, narrowed.Has(accessv1.Permission_PERMISSION_SELF_READ))
	require.False(t, narrowed.Has(accessv1.Permission_PERMISSION_NOTES_READ))
	require.False(t, narrowed.Has(accessv1.Permission_PERMISSION_PRESCRIPTIONS_LIST))
	require.False(t, narrowed.Has(accessv1.Permission_PERMISSION_OBSERVATIONS_READ))
	require.False(t, narrowed.Has(accessv1.Permission_PERMISSION_PATIENTS_READ))
}

func TestDH15_ADoctorGrantsNothingThatTheyOrTheTemplateLack(t *testing.T) {
	t.Parallel()
	all := Of(Role{Kind: accessv1.RoleKind_ROLE_KIND_DOCTOR})
	front := Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF, Template: Receptionist}
	module, refusal := Grantable(all, front, ModulePrescriptions)
	require.Equal(t, TemplateLacks, refusal)
	require.Equal(t, "prescriptions", module)

	lesser := all
	lesser.Remove(accessv1.Permission_PERMISSION_NOTES_CREATE)
	module, refusal = Grantable(lesser, Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF, Template: Nurse}, AllModules)
	require.Equal(t, DoctorLacks, refusal)
	require.Equal(t, "notes", module)

	_, refusal = Grantable(all, front, ModulePatients|ModuleAppointments)
	require.Equal(t, Granted, refusal)
	_, err := ParseModules([]string{"billing"})
	require.Error(t, err)
	parsed, err := ParseModules([]string{"notes", "clinical"})
	require.NoError(t, err)
	require.Equal(t, ModuleNotes|ModuleClinical, parsed)
}

func TestPurposes(t *testing.T) {
	t.Parallel()
	const treatment = accessv1.Purpose_PURPOSE_TREATMENT
	require.True(t, MayState(accessv1.RoleKind_ROLE_KIND_DOCTOR, doctor, treatment))
	require.False(t, MayState(accessv1.RoleKind_ROLE_KIND_ADMIN, doctor, treatment), "whatever an administrator was given")
	require.True(t, MayState(accessv1.RoleKind_ROLE_KIND_STAFF, nurse, treatment))
	require.False(t, MayState(accessv1.RoleKind_ROLE_KIND_STAFF, receptionist, treatment), "who holds nothing clinical treats nobody")
	require.False(t, MayState(accessv1.RoleKind_ROLE_KIND_DOCTOR, doctor, accessv1.Purpose_PURPOSE_UNSPECIFIED))
	for _, role := range All() {
		require.True(t, MayState(role.Kind, Of(role), accessv1.Purpose_PURPOSE_OPERATIONS), "the command line states it for everybody")
	}
}
