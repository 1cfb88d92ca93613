package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

const scope = "github.com/carekeep/carekeep/libs/server"

// web is a second way in, for an API that is HTTP by its standard.
type web struct {
	listener net.Listener
	http     *http.Server
}

// ServeHTTP opens a port for an API that gRPC cannot speak, such as FHIR's. It is
// HTTP/2 over the same mutual TLS, served by Serve and drained with the RPCs. The handler has
// to run each interaction through Invoke: nothing else checks who calls. What may be known to everybody
// (the tiles of the audit log) needs no Invoke, and leaves no event.
func (s *Server) ServeHTTP(ctx context.Context, address string, handler http.Handler) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("server: listen for HTTP: %w", err)
	}
	config := s.identity.ServerTLS()
	config.NextProtos = []string{"h2"}
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	s.web = &web{listener: listener, http: &http.Server{
		Handler: handler, Protocols: protocols, TLSConfig: config,
		ReadHeaderTimeout: handshakeTimeout, IdleTimeout: idleAge, MaxHeaderBytes: s.limits.HeaderBytes,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: s.limits.Streams},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}}
	return nil
}

// HTTPAddr is where the HTTP API listens, nil where there is none.
func (s *Server) HTTPAddr() net.Addr {
	if s.web == nil {
		return nil
	}
	return s.web.listener.Addr()
}

// Invoke runs what came over HTTP as the RPC fullMethod, through the very chain that
// gRPC's requests run through: peer, caller, access rule, validation, redaction, deadline
// and evidence are those of the RPC. The error is a gRPC status, as an RPC's.
func (s *Server) Invoke(r *http.Request, fullMethod string, request proto.Message,
	next func(context.Context, proto.Message) (proto.Message, error),
) (proto.Message, error) {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := otel.Tracer(scope).Start(ctx, fullMethod, trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	ctx = peer.NewContext(ctx, peerOf(r))
	ctx = metadata.NewIncomingContext(ctx, metadata.MD{caller.MetadataKey: r.Header.Values(caller.MetadataKey)})
	response, err := s.through(ctx, fullMethod, request, func(ctx context.Context, request any) (any, error) {
		if s.methods[fullMethod] == nil {
			return nil, errMethod // no rule says who may call it
		}
		return next(ctx, request.(proto.Message))
	})
	if err != nil {
		return nil, err
	}
	return response.(proto.Message), nil
}

func peerOf(r *http.Request) *peer.Peer {
	p := &peer.Peer{}
	if r.TLS != nil {
		p.AuthInfo = credentials.TLSInfo{State: *r.TLS}
	}
	if address, err := net.ResolveTCPAddr("tcp", r.RemoteAddr); err == nil {
		p.Addr = address
	}
	return p
}

// through runs one request and its one response through the chain.
func (s *Server) through(ctx context.Context, fullMethod string, request any, next func(context.Context, any) (any, error)) (any, error) {
	var response any
	c := s.newCall(fullMethod)
	c.run = func(ctx context.Context, c *call) error {
		if err := s.chain.receive(ctx, c, request); err != nil {
			return err
		}
		resp, err := next(ctx, request)
		if err != nil {
			return err
		}
		if err := s.chain.send(ctx, c, resp); err != nil {
			return err
		}
		response = resp
		return nil
	}
	if err := s.chain.entry(evidence.With(ctx, c.recorder), c); err != nil {
		return nil, err
	}
	return response, nil
}

func (w *web) serve() error {
	if err := w.http.ServeTLS(w.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("server: HTTP: %w", err)
	}
	return nil
}

// drain lets requests end until patience is over, then cuts them.
func (w *web) drain(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if w.http.Shutdown(ctx) != nil {
		_ = w.http.Close()
	}
}
