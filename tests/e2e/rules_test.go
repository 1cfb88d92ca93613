package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/policy"
	"github.com/carekeep/carekeep/tests/internal/mesh"
)

// refusal calls an RPC and expects a refusal.
func refusal(t *testing.T, r rpc, conn *grpc.ClientConn, token string) (codes.Code, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := r.invoke(ctx, conn, token)
	require.Error(t, err, r.full)
	return status.Code(err), errs.ReasonOf(err)
}

func dial(t *testing.T, identity string, service accessv1.Service) *grpc.ClientConn {
	t.Helper()
	conn, err := mesh.Dial(suite.Place, identity, service)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func sign(t *testing.T, c caller.Caller, at time.Time) string {
	t.Helper()
	signer, err := mesh.Signer(suite.Place)
	require.NoError(t, err)
	token, err := signer.Sign(c, at)
	require.NoError(t, err)
	return token
}

// An RPC answers nobody who lacks any one thing that its rule asks for, even
// with everything else in hand. The running services are asked, not the proto.
func TestDH15_EveryRPCIsDeniedByDefault(t *testing.T) {
	for _, r := range allRPCs(t) {
		t.Run(string(r.method.FullName()), func(t *testing.T) {
			conn := dial(t, "gateway", r.service)
			stranger := dial(t, strangerTo(r.service, r.rule), r.service)
			code, reason := refusal(t, r, stranger, "")
			assert.Equal(t, codes.PermissionDenied, code, "a certificate that the rule does not name")
			assert.Equal(t, "CALLER_SERVICE_NOT_ALLOWED", reason)
			if r.rule.GetAnonymous() {
				return
			}
			whole := mesh.Doctor(uuid.Must(uuid.NewV7()), r.service)
			now := time.Now()

			code, reason = refusal(t, r, conn, "")
			assert.Equal(t, codes.Unauthenticated, code)
			assert.Equal(t, "CALLER_TOKEN_MISSING", reason)

			code, reason = refusal(t, r, conn, sign(t, whole, now.Add(-2*time.Minute)))
			assert.Equal(t, codes.Unauthenticated, code)
			assert.Equal(t, "CALLER_TOKEN_EXPIRED", reason)

			foreign := whole
			foreign.Audience = accessv1.Service_SERVICE_CTL
			code, reason = refusal(t, r, conn, sign(t, foreign, now))
			assert.Equal(t, codes.Unauthenticated, code)
			assert.Equal(t, "CALLER_TOKEN_AUDIENCE", reason)

			lacking := whole
			lacking.Permissions.Remove(r.rule.GetPermission())
			code, reason = refusal(t, r, conn, sign(t, lacking, now))
			assert.Equal(t, codes.PermissionDenied, code)
			assert.Equal(t, "PERMISSION_MISSING", reason)

			if r.rule.GetAssurance() == accessv1.Assurance_ASSURANCE_AAL2 {
				weak := whole
				weak.Assurance = accessv1.Assurance_ASSURANCE_AAL1
				code, reason = refusal(t, r, conn, sign(t, weak, now))
				assert.Equal(t, codes.PermissionDenied, code)
				assert.Equal(t, "ASSURANCE_TOO_LOW", reason)
			}
		})
	}
}

// strangerTo is a service of the mesh that the rule does not name.
func strangerTo(service accessv1.Service, rule *accessv1.Rule) string {
	if service == accessv1.Service_SERVICE_RECORDS || slices.Contains(rule.GetCallers(), accessv1.Service_SERVICE_RECORDS) {
		return "audit"
	}
	return "records"
}

// Every permission of the enum opens something: an RPC, a field, or a type of
// raw FHIR. That an RPC is closed without its permission, TestDH15 shows.
func TestDH27_EveryPermissionIsEnforced(t *testing.T) {
	enforced := map[accessv1.Permission]string{}
	for _, r := range allRPCs(t) {
		enforced[r.rule.GetPermission()] = r.full
	}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		rangeFields(file.Messages(), func(field protoreflect.FieldDescriptor) {
			rule, ok := proto.GetExtension(field.Options(), accessv1.E_Field).(*accessv1.FieldRule)
			if ok && rule.GetPermission() != accessv1.Permission_PERMISSION_UNSPECIFIED {
				enforced[rule.GetPermission()] = string(field.FullName())
			}
		})
		return true
	})
	for _, permission := range policy.Enforced().List() {
		enforced[permission] = "raw FHIR"
	}

	all := mesh.AllPermissions()
	assert.GreaterOrEqual(t, len(all), 50)
	for _, permission := range all {
		assert.Contains(t, enforced, permission, "nothing enforces %s", permission)
	}
	kinds := accessv1.RoleKind(0).Descriptor().Values()
	assert.Equal(t, 4, kinds.Len()-1, "four role kinds")
}

func rangeFields(messages protoreflect.MessageDescriptors, visit func(protoreflect.FieldDescriptor)) {
	for i := range messages.Len() {
		message := messages.Get(i)
		for j := range message.Fields().Len() {
			visit(message.Fields().Get(j))
		}
		rangeFields(message.Messages(), visit)
	}
}

// The names that rules use are the names that certificates carry.
func TestDH15_EveryServiceOfTheRulesHasAName(t *testing.T) {
	values := accessv1.Service(0).Descriptor().Values()
	for i := 1; i < values.Len(); i++ {
		assert.NotEmpty(t, access.ServiceName(accessv1.Service(values.Get(i).Number())))
	}
}
