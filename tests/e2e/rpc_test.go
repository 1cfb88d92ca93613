package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
)

// rpc is one RPC of the suite, found by reflection, so that a new one is tested
// without anybody adding it to a list.
type rpc struct {
	service accessv1.Service
	method  protoreflect.MethodDescriptor
	full    string
	rule    *accessv1.Rule
}

func allRPCs(t *testing.T) []rpc {
	t.Helper()
	var all []rpc
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			pkg := file.Package()
			if pkg.Parent().Parent() != "carekeep" {
				continue
			}
			id, ok := access.ServiceFromName(string(pkg.Parent().Name()))
			require.True(t, ok, "no service for package %s", pkg)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				full := "/" + string(service.FullName()) + "/" + string(method.Name())
				rule, ok := access.RuleOf(full)
				require.True(t, ok, "%s has no rule", full)
				all = append(all, rpc{service: id, method: method, full: full, rule: rule})
			}
		}
		return true
	})
	require.Greater(t, len(all), 50)
	return all
}

// invoke sends one empty request and returns the error.
func (r rpc) invoke(ctx context.Context, conn *grpc.ClientConn, token string) error {
	return r.send(ctx, conn, token, dynamicpb.NewMessage(r.method.Input()))
}

// send sends one request and returns the error.
func (r rpc) send(ctx context.Context, conn *grpc.ClientConn, token string, request *dynamicpb.Message) error {
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, caller.MetadataKey, token)
	}
	answer := dynamicpb.NewMessage(r.method.Output())
	if !r.method.IsStreamingClient() && !r.method.IsStreamingServer() {
		return conn.Invoke(ctx, r.full, request, answer)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: r.method.IsStreamingClient()}, r.full)
	if err != nil {
		return err
	}
	// A server that refuses early makes the send fail with EOF; the reason comes with the answer.
	_ = stream.SendMsg(request)
	_ = stream.CloseSend()
	return stream.RecvMsg(answer)
}
