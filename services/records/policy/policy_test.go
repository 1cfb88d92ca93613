package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/devkit/golden"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/policy"
)

// A permission that nothing asks for is a promise that nobody keeps.
func TestEveryPermissionIsEnforcedSomewhere(t *testing.T) {
	t.Parallel()
	enforced := policy.Enforced()
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				rule, _ := proto.GetExtension(methods.Get(j).Options(), accessv1.E_Rule).(*accessv1.Rule)
				enforced.Add(rule.GetPermission())
			}
		}
		for i := range f.Messages().Len() {
			fields := f.Messages().Get(i).Fields()
			for j := range fields.Len() {
				rule, _ := proto.GetExtension(fields.Get(j).Options(), accessv1.E_Field).(*accessv1.FieldRule)
				enforced.Add(rule.GetPermission())
			}
		}
		return true
	})
	for number, name := range accessv1.Permission_name {
		if number != 0 {
			require.True(t, enforced.Has(accessv1.Permission(number)), name)
		}
	}
}

// Every clinical type takes a permission of its own to read raw, and directory types
// the directory's.
func TestReadPermissions(t *testing.T) {
	t.Parallel()
	require.Equal(t, []accessv1.Permission{accessv1.Permission_PERMISSION_CLINICAL_OTHER_READ}, policy.ReadPermissions("Flag"))
	for _, kind := range []string{"Practitioner", "Organization", "Location", "Medication"} {
		require.True(t, fhir.Directory(kind))
		require.Equal(t, []accessv1.Permission{accessv1.Permission_PERMISSION_DIRECTORY_READ}, policy.ReadPermissions(kind))
	}
	require.Error(t, policy.CheckRead(treating(accessv1.Permission_PERMISSION_PATIENTS_READ), "Patient"))
	require.NoError(t, policy.CheckRead(treating(accessv1.Permission_PERMISSION_PATIENTS_READ,
		accessv1.Permission_PERMISSION_PATIENTS_NATIONAL_ID_READ, accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ), "Patient"))
}

func TestCheckWrite(t *testing.T) {
	t.Parallel()
	held := treating(accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ)
	require.NoError(t, policy.CheckWrite(held, &recordsv1.Patient{}, []string{"family_name", "telecoms", "addresses"}))
	err := policy.CheckWrite(held, &recordsv1.Patient{}, []string{"family_name", "national_identifiers"})
	require.Equal(t, "FIELD_NOT_PERMITTED", errs.ReasonOf(err))
	require.Equal(t, errs.KindDenied, errs.KindOf(err))

	paid := held
	paid.Purpose = accessv1.Purpose_PURPOSE_PAYMENT
	require.NoError(t, policy.CheckWrite(paid, &recordsv1.Note{}, []string{"status"}))
	require.Equal(t, "FIELD_NOT_FOR_PURPOSE", errs.ReasonOf(policy.CheckWrite(paid, &recordsv1.Note{}, []string{"text"})))
}

func treating(held ...accessv1.Permission) access.View {
	return access.View{Held: access.NewPermissions(held...), Purpose: accessv1.Purpose_PURPOSE_TREATMENT}
}

// What each purpose may read raw, and so take along in an export.
func TestDX09_DMD05_RawTypesByPurpose(t *testing.T) {
	t.Parallel()
	everything := access.View{}
	for number := range accessv1.Permission_name {
		everything.Held.Add(accessv1.Permission(number))
	}
	var lines []string
	for number := int32(0); accessv1.Purpose_name[number] != ""; number++ {
		everything.Purpose = accessv1.Purpose(number)
		lines = append(lines, everything.Purpose.String())
		for _, name := range policy.NamedTypes() {
			err := policy.CheckRead(everything, name)
			require.Equal(t, err == nil, policy.MayRead(everything, name))
			if err == nil {
				lines = append(lines, "  "+name)
				continue
			}
			require.Equal(t, "TYPE_NOT_FOR_PURPOSE", errs.ReasonOf(err))
		}
	}
	golden.Lines(t, "purposes", lines)
}

func TestMayUpdate(t *testing.T) {
	t.Parallel()
	held := access.NewPermissions(accessv1.Permission_PERMISSION_NOTES_UPDATE)
	require.True(t, policy.MayUpdate(held, "DocumentReference"))
	for _, kind := range []string{"Patient", "MedicationRequest", "Appointment", "Observation", "Composition", ""} {
		require.False(t, policy.MayUpdate(held, kind), kind)
	}
}
