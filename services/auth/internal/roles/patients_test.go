package roles

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/access"
)

// Patients have no accounts: no kind of role is theirs, and nothing that may be
// called without a session knows of a patient.
func TestDX12_PatientsHaveNoAccounts(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, name := range accessv1.RoleKind_name {
		kinds = append(kinds, strings.TrimPrefix(name, "ROLE_KIND_"))
	}
	require.ElementsMatch(t, []string{"UNSPECIFIED", "SUPERADMIN", "ADMIN", "DOCTOR", "STAFF"}, kinds)

	ways := 0
	protoregistry.GlobalFiles.RangeFilesByPackage(authv1.File_carekeep_auth_v1_auth_proto.Package(), func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			service := f.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				rule, ok := access.RuleOf("/" + string(service.FullName()) + "/" + string(method.Name()))
				require.True(t, ok, method.FullName())
				if !rule.GetAnonymous() {
					continue
				}
				ways++
				for _, message := range []protoreflect.MessageDescriptor{method.Input(), method.Output()} {
					for k := range message.Fields().Len() {
						require.NotContains(t, string(message.Fields().Get(k).Name()), "patient", method.FullName())
					}
				}
			}
		}
		return true
	})
	require.GreaterOrEqual(t, ways, 3)
}
