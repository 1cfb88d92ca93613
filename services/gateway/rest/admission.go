package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

const (
	defaultTimeout = 10 * time.Second
	// grace lets the service's own deadline pass first: its error says more.
	grace = 2 * time.Second
)

// admitter is the part of auth that admits requests.
type admitter interface {
	Admit(ctx context.Context, in *authv1.AdmitRequest, opts ...grpc.CallOption) (*authv1.AdmitResponse, error)
}

// admitted is a connection to a service on which every call is first admitted by
// auth, once, and carries the caller token that auth gave. Its outgoing metadata
// is made here and holds nothing else.
type admitted struct {
	grpc.ClientConnInterface
	service accessv1.Service
	auth    admitter
}

// Invoke makes a unary call.
func (a *admitted) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, cancel, err := a.admit(ctx, method)
	if err != nil {
		return err
	}
	defer cancel()
	complete(ctx, args)
	return a.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// NewStream opens a stream. Its context ends with that of the request.
func (a *admitted) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, cancel, err := a.admit(ctx, method)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, cancel)
	stream, err := a.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		cancel()
		return nil, err
	}
	if desc.ServerStreams && !desc.ClientStreams {
		return earlyFailure{stream}, nil
	}
	return stream, nil
}

func (a *admitted) admit(ctx context.Context, method string) (context.Context, context.CancelFunc, error) {
	rule, ok := access.RuleOf(method)
	if !ok {
		return nil, nil, fmt.Errorf("RPC %s has no access rule", method)
	}
	timeout := defaultTimeout
	if s := rule.GetTimeoutSeconds(); s > 0 {
		timeout = time.Duration(s) * time.Second
	}
	outgoing := metadata.MD{}
	if !rule.GetAnonymous() {
		token, err := a.token(ctx, method)
		if err != nil {
			return nil, nil, err
		}
		outgoing.Set(caller.MetadataKey, token)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+grace)
	return metadata.NewOutgoingContext(ctx, outgoing), cancel, nil
}

func (a *admitted) token(ctx context.Context, method string) (string, error) {
	s := sessionOf(ctx)
	if s.err != nil {
		return "", s.err
	}
	if s.token == "" {
		return "", errNoSession
	}
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, metadata.MD{}), defaultTimeout+grace)
	defer cancel()
	response, err := a.auth.Admit(ctx, &authv1.AdmitRequest{
		SessionToken: s.token,
		Audience:     a.service,
		Method:       method,
		Client:       clientOf(ctx),
		Purpose:      s.purpose,
		Background:   s.background,
	})
	if err != nil {
		return "", fmt.Errorf("admit: %w", err)
	}
	return response.GetCallerToken(), nil
}

// complete sets what only the gateway knows, over whatever the client wrote
// there, and takes out of update masks what no client can change: without a mask
// grpc-gateway makes one of all the fields in the body, the name and the etag included.
func complete(ctx context.Context, message any) {
	if m, ok := message.(proto.Message); ok {
		setClient(m.ProtoReflect(), clientOf(ctx))
	}
	if m, ok := message.(interface{ GetUpdateMask() *fieldmaskpb.FieldMask }); ok && m.GetUpdateMask() != nil {
		mask := m.GetUpdateMask()
		mask.Paths = changeable(mask.GetPaths())
	}
}

// clientOf tells auth where the request comes from.
func clientOf(ctx context.Context) *authv1.Client {
	exchange, s := edge.Of(ctx), sessionOf(ctx)
	return &authv1.Client{
		Address: exchange.Address, UserAgent: exchange.Agent, AcceptLanguage: exchange.Language,
		DeviceToken: s.device, Cookies: s.cookies,
	}
}

var clientMessage = (*authv1.Client)(nil).ProtoReflect().Descriptor().FullName()

// setClient fills the field in that says where a request comes from, in every message that has one.
func setClient(m protoreflect.Message, client *authv1.Client) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); field.Message() != nil && field.Message().FullName() == clientMessage {
			m.Set(field, protoreflect.ValueOfMessage(client.ProtoReflect()))
		}
	}
}

func changeable(paths []string) []string {
	kept := paths[:0]
	for _, p := range paths {
		switch p = protoName(p); p {
		case "name", "etag", "create_time", "update_time":
		default:
			kept = append(kept, p)
		}
	}
	return kept
}

// protoName spells a path of a mask as in the proto file. A mask in a body comes
// so, one in a query as the client wrote it: birthDate or birth_date.
func protoName(path string) string {
	var out strings.Builder
	for _, c := range path {
		if 'A' <= c && c <= 'Z' {
			out.WriteByte('_')
			c += 'a' - 'A'
		}
		out.WriteRune(c)
	}
	return out.String()
}

// earlyFailure makes an error that comes before the first message visible in
// Header, where grpc-gateway can still answer with an HTTP status.
type earlyFailure struct{ grpc.ClientStream }

func (s earlyFailure) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	if err == nil && header == nil {
		// No header means that the stream is over: what comes next is its status.
		if err := s.RecvMsg(&emptypb.Empty{}); !errors.Is(err, io.EOF) {
			return nil, err
		}
		return metadata.MD{}, nil
	}
	return header, err
}
