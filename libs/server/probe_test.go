package server_test

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// The probe is a service with an RPC for each kind of rule. Requests and responses
// are those of AuditService.GetEntry: a field that is validated, fields that take a permission.
const (
	probeName = "carekeep.servertest.Probe"

	getRPC         = "/" + probeName + "/Get"
	getPHIRPC      = "/" + probeName + "/GetPHI"
	openRPC        = "/" + probeName + "/Open"
	quickRPC       = "/" + probeName + "/Quick"
	streamRPC      = "/" + probeName + "/Stream"
	streamPHIRPC   = "/" + probeName + "/StreamPHI"
	quickStreamRPC = "/" + probeName + "/QuickStream"

	readEntries   = accessv1.Permission_PERMISSION_AUDIT_ENTRIES_READ
	readAddresses = accessv1.Permission_PERMISSION_AUDIT_ADDRESSES_READ
)

func init() {
	rule := func(phi bool, seconds int32) *accessv1.Rule {
		return &accessv1.Rule{
			Permission: readEntries, Assurance: accessv1.Assurance_ASSURANCE_AAL2, Action: accessv1.Action_ACTION_READ,
			Callers: []accessv1.Service{accessv1.Service_SERVICE_GATEWAY}, Phi: phi, TimeoutSeconds: seconds,
		}
	}
	open := &accessv1.Rule{
		Anonymous: true, Action: accessv1.Action_ACTION_SIGN_IN, Callers: []accessv1.Service{accessv1.Service_SERVICE_GATEWAY},
	}
	method := func(name string, stream bool, r *accessv1.Rule) *descriptorpb.MethodDescriptorProto {
		options := &descriptorpb.MethodOptions{}
		proto.SetExtension(options, accessv1.E_Rule, r)
		return &descriptorpb.MethodDescriptorProto{
			Name: proto.String(name), InputType: proto.String(".carekeep.audit.v1.GetEntryRequest"),
			OutputType: proto.String(".carekeep.audit.v1.Entry"), Options: options,
			ClientStreaming: proto.Bool(stream), ServerStreaming: proto.Bool(stream),
		}
	}
	fd, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("carekeep/servertest/probe.proto"), Package: proto.String("carekeep.servertest"), Syntax: proto.String("proto3"),
		Dependency: []string{"carekeep/access/v1/access.proto", "carekeep/audit/v1/audit.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Probe"),
			Method: []*descriptorpb.MethodDescriptorProto{
				method("Get", false, rule(false, 0)), method("GetPHI", false, rule(true, 0)),
				method("Open", false, open), method("Quick", false, rule(false, 1)),
				method("Stream", true, rule(false, 0)), method("StreamPHI", true, rule(true, 0)),
				method("QuickStream", true, rule(false, 1)),
			},
		}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	if err := protoregistry.GlobalFiles.RegisterFile(fd); err != nil {
		panic(err)
	}
}

// probe answers every unary RPC with unary and every stream with stream.
type probe struct {
	unary  func(ctx context.Context, req *auditv1.GetEntryRequest) (*auditv1.Entry, error)
	stream func(ss grpc.ServerStream) error
}

func (p *probe) register(s grpc.ServiceRegistrar) {
	desc := &grpc.ServiceDesc{ServiceName: probeName, HandlerType: (*any)(nil)}
	for _, name := range []string{"Get", "GetPHI", "Open", "Quick"} {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: name, Handler: p.handle(name)})
	}
	for _, name := range []string{"Stream", "StreamPHI", "QuickStream"} {
		desc.Streams = append(desc.Streams, grpc.StreamDesc{
			StreamName: name, ClientStreams: true, ServerStreams: true,
			Handler: func(_ any, ss grpc.ServerStream) error { return p.stream(ss) },
		})
	}
	s.RegisterService(desc, p)
}

func (p *probe) handle(name string) grpc.MethodHandler {
	return func(srv any, ctx context.Context, dec func(any) error, icpt grpc.UnaryServerInterceptor) (any, error) {
		req := &auditv1.GetEntryRequest{}
		if err := dec(req); err != nil {
			return nil, err
		}
		return icpt(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + probeName + "/" + name},
			func(ctx context.Context, req any) (any, error) { return p.unary(ctx, req.(*auditv1.GetEntryRequest)) })
	}
}

var probeStream = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
