package server

import (
	"time"

	"github.com/carekeep/carekeep/libs/mtls"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const (
	// handshakeTimeout bounds TLS with a client that says nothing.
	handshakeTimeout = 10 * time.Second
	// connectionAge makes clients connect again, so that they find new replicas and
	// show a new certificate. Open RPCs are not cut.
	connectionAge = 30 * time.Minute
	idleAge       = 15 * time.Minute
	pingAfter     = 30 * time.Second
	pingTimeout   = 10 * time.Second
	// pingLeast is how often a client may ping before it is cut off.
	pingLeast = 10 * time.Second
)

func (s *Server) serverOptions(identity *mtls.Source) []grpc.ServerOption {
	return []grpc.ServerOption{
		// Any service of the mesh may connect; each rule says which may call.
		grpc.Creds(credentials.NewTLS(identity.ServerTLS())),
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithFilter(filters.Not(filters.HealthCheck())))),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
		grpc.UnknownServiceHandler(unknownMethod),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxRecvMsgSize(s.limits.ReceiveBytes),
		grpc.MaxHeaderListSize(uint32(s.limits.HeaderBytes)),
		grpc.MaxConcurrentStreams(uint32(s.limits.Streams)),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleAge, MaxConnectionAge: connectionAge, Time: pingAfter, Timeout: pingTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingLeast, PermitWithoutStream: true}),
		// Serve must not return, and its caller not close the database, while a handler runs.
		grpc.WaitForHandlers(true),
	}
}
