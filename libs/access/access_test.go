package access_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"pgregory.net/rapid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
)

// everyService lists all carekeep services that are linked in, as a server would report them.
func everyService() map[string]grpc.ServiceInfo {
	out := map[string]grpc.ServiceInfo{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "carekeep.") || strings.HasPrefix(string(f.Package()), "carekeep.accesstest") {
			return true
		}
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			var info grpc.ServiceInfo
			for j := range s.Methods().Len() {
				info.Methods = append(info.Methods, grpc.MethodInfo{Name: string(s.Methods().Get(j).Name())})
			}
			out[string(s.FullName())] = info
		}
		return true
	})
	return out
}

func TestDH15_EveryRPCDeclaresPermission(t *testing.T) {
	services := everyService()
	for _, name := range []string{"auth.v1.AuthService", "auth.v1.PasskeyService", "records.v1.RecordsService", "audit.v1.AuditService", "backup.v1.BackupService"} {
		require.Contains(t, services, "carekeep."+name, "linked in")
	}
	require.NoError(t, access.Check(services))
	anonymous := map[string]bool{}
	for name, info := range services {
		for _, m := range info.Methods {
			full := "/" + name + "/" + m.Name
			rule, ok := access.RuleOf(full)
			require.True(t, ok, full)
			if rule.GetAnonymous() {
				anonymous[full] = true
				continue
			}
			require.NotZero(t, rule.GetPermission(), full)
			require.GreaterOrEqual(t, rule.GetAssurance(), accessv1.Assurance_ASSURANCE_AAL1, full)
			if rule.GetPhi() {
				require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, rule.GetAssurance(), "%s touches PHI", full)
			}
		}
	}
	// Who adds an RPC without a caller has to say so here.
	require.Equal(t, map[string]bool{
		authv1.AuthService_SignIn_FullMethodName:                    true,
		authv1.AuthService_AcceptInvitation_FullMethodName:          true,
		authv1.AuthService_Admit_FullMethodName:                     true,
		authv1.PasskeyService_BeginPasskeySignIn_FullMethodName:     true,
		authv1.PasskeyService_FinishPasskeySignIn_FullMethodName:    true,
		authv1.CodeService_BeginQrSignIn_FullMethodName:             true,
		authv1.CodeService_PollQrSignIn_FullMethodName:              true,
		authv1.GuardService_ReportProbe_FullMethodName:              true,
		authv1.GuardService_FreezeUser_FullMethodName:               true,
		authv1.ContainmentService_Respond_FullMethodName:            true,
		authv1.GuardService_RequestPasswordReset_FullMethodName:     true,
		authv1.GuardService_ResetPassword_FullMethodName:            true,
		authv1.MessageService_ReceiveSms_FullMethodName:             true,
		recordsv1.RecordsService_ListOwners_FullMethodName:          true,
		recordsv1.RightsService_ViewRequestByToken_FullMethodName:   true,
		recordsv1.RightsService_ExportByToken_FullMethodName:        true,
		recordsv1.RightsService_FileStatementByToken_FullMethodName: true,
		recordsv1.FhirService_Capabilities_FullMethodName:           true,
		recordsv1.FhirService_SmartConfiguration_FullMethodName:     true,
		auditv1.VulnerabilityService_SubmitReport_FullMethodName:    true,
		auditv1.VulnerabilityService_CheckReport_FullMethodName:     true,
	}, anonymous)
}

func TestDH15_CheckNamesTheRPCAndWhatIsMissing(t *testing.T) {
	err := access.Check(map[string]grpc.ServiceInfo{
		"carekeep.records.v1.RecordsService": {Methods: []grpc.MethodInfo{{Name: "GetPatient"}, {Name: "Sneak"}}},
		"carekeep.accesstest.Gaps": {Methods: []grpc.MethodInfo{
			{Name: "Bare"}, {Name: "Empty"}, {Name: "NoCallers"}, {Name: "OpenPHI"},
		}},
	})
	require.ErrorContains(t, err, "/carekeep.records.v1.RecordsService/Sneak declares no access rule")
	require.ErrorContains(t, err, "/carekeep.accesstest.Gaps/Bare declares no access rule")
	require.ErrorContains(t, err, "/carekeep.accesstest.Gaps/Empty lacks permission, assurance, callers, action")
	require.ErrorContains(t, err, "/carekeep.accesstest.Gaps/NoCallers lacks callers;")
	require.ErrorContains(t, err, "/carekeep.accesstest.Gaps/OpenPHI is anonymous")
	require.NotContains(t, err.Error(), "GetPatient")
}

func TestRuleOfUnknownNames(t *testing.T) {
	for _, name := range []string{"", "/", "x", "/a/b", "//", "/carekeep.records.v1.Patient/name", "/carekeep.records.v1.RecordsService/"} {
		_, ok := access.RuleOf(name)
		require.False(t, ok, name)
	}
	rule, ok := access.RuleOf(recordsv1.RecordsService_GetPatient_FullMethodName)
	require.True(t, ok)
	require.Equal(t, accessv1.Permission_PERMISSION_PATIENTS_READ, rule.GetPermission())
}

func TestDC04_AtLeastFiftyPermissionsThatFitASet(t *testing.T) {
	require.Greater(t, len(accessv1.Permission_name)-1, 50)
	for n := range accessv1.Permission_name {
		require.Less(t, n, int32(512), "Permissions holds numbers below 512")
	}
}

func TestPermissionsAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[accessv1.Permission]bool{}
		var p access.Permissions
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			x := accessv1.Permission(rapid.Int32Range(-3, 600).Draw(t, "x"))
			if rapid.Bool().Draw(t, "add") {
				p.Add(x)
				want[x] = x > 0 && x < 512
			} else {
				p.Remove(x)
				want[x] = false
			}
		}
		n := 0
		for x, in := range want {
			if p.Has(x) != in {
				t.Fatalf("Has(%d) is %t", x, p.Has(x))
			}
			if in {
				n++
			}
		}
		list := p.List()
		if len(list) != n || p.Len() != n || access.NewPermissions(list...) != p {
			t.Fatalf("List %v, Len %d, want %d", list, p.Len(), n)
		}
		again, err := access.Decode(p.Encode())
		if err != nil || again != p {
			t.Fatalf("Decode(Encode) = %v, %v", again.List(), err)
		}
	})
}

func FuzzDecodePermissions(f *testing.F) {
	for _, s := range []string{"", "AA", "Ag", "____", "AgA", "=", "\r", "Ag\n", strings.Repeat("_", 43), strings.Repeat("_", 44)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := access.Decode(s)
		if err == nil && p.Encode() != s {
			t.Fatalf("%q decodes to a set that encodes as %q", s, p.Encode())
		}
	})
}

func TestServiceNames(t *testing.T) {
	require.Equal(t, "records", access.ServiceName(accessv1.Service_SERVICE_RECORDS))
	require.Empty(t, access.ServiceName(accessv1.Service_SERVICE_UNSPECIFIED))
	require.Len(t, access.Services(), 6)
	for _, s := range access.Services() {
		again, ok := access.ServiceFromName(access.ServiceName(s))
		require.True(t, ok)
		require.Equal(t, s, again)
	}
	_, ok := access.ServiceFromName("Records")
	require.False(t, ok)
}
