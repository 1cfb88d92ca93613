// Package server builds every gRPC server of carekeep. A service brings handlers
// and an audit sink; identity, access rules, evidence, validation, redaction and
// shutdown are the same everywhere and cannot be chosen. It serves no REST; the gateway does. An
// API that is HTTP by its standard, as FHIR's, runs through the same chain (Invoke).
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/telemetry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Options is what a service brings.
type Options struct {
	// Service is who this server is; caller tokens must be made for it. Required.
	Service accessv1.Service
	// Sink keeps the events of RPCs whose handlers committed none. Required.
	Sink evidence.Sink
	// Ready holds a check for each dependency by name. All must pass for the service to be ready.
	Ready map[string]func(context.Context) error
	// Identity is the service's certificate; loaded from the configuration where nil.
	Identity *mtls.Source
	// Enter may add to the context of a call once its caller is known and permitted, or refuse it.
	// Leave ends what it began: it runs before each response and when the call is over, and an
	// error of it takes the answer's place. Nil: nothing.
	Enter func(ctx context.Context, c *caller.Caller) (context.Context, error)
	Leave func(ctx context.Context) error
	// Now is the clock; time.Now where nil.
	Now func() time.Time
	// Log is the logger; JSON to standard error where nil.
	Log *slog.Logger
}

// Server is a gRPC server with carekeep's chain around every RPC.
type Server struct {
	service   accessv1.Service
	limits    Limits
	sink      evidence.Sink
	now       func() time.Time
	log       *slog.Logger
	verifier  *caller.Verifier
	readiness *readiness
	telemetry func(context.Context) error

	identity *mtls.Source
	listener net.Listener
	grpc     *grpc.Server
	web      *web // nil where all is gRPC
	chain    chain
	calls    calls
	enter    func(ctx context.Context, c *caller.Caller) (context.Context, error)
	leave    func(ctx context.Context) error
	// methods and validator are made by Serve before the first RPC, and only read after.
	methods   map[string]*method
	unknown   *method
	validator validator
	// draining ends what would wait for as long as the server lives, as health watches do.
	draining chan struct{}
}

// New listens and builds the server. Handlers are registered on what it returns, then Serve is called.
func New(ctx context.Context, cfg Config, opts Options) (*Server, error) {
	if err := check(&cfg, &opts); err != nil {
		return nil, err
	}
	s := &Server{
		service: opts.Service, limits: cfg.Limits.withDefaults(), sink: opts.Sink,
		now: opts.Now, log: opts.Log, draining: make(chan struct{}), enter: opts.Enter, leave: opts.Leave,
	}
	identity := opts.Identity
	if identity == nil {
		var err error
		if identity, err = mtls.Load(cfg.Files(), s.log); err != nil {
			return nil, fmt.Errorf("server: identity: %w", err)
		}
	}
	s.identity = identity
	var err error
	s.verifier, err = caller.NewVerifier(cfg.Callers.Keys, opts.Service, s.now)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s.telemetry, err = telemetry.Start(ctx, cfg.Telemetry, access.ServiceName(opts.Service), identity)
	if err != nil {
		s.verifier.Close()
		return nil, fmt.Errorf("server: %w", err)
	}
	s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("server: listen: %w", err), s.release(ctx))
	}
	checks := maps.Clone(opts.Ready)
	if checks == nil {
		checks = map[string]func(context.Context) error{}
	}
	checks[callerKeys] = s.verifier.Ready
	s.readiness = newReadiness(checks, s.log)
	s.chain = newChain(s.stages())
	s.grpc = grpc.NewServer(s.serverOptions(identity)...)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.readiness.health)
	return s, nil
}

func check(cfg *Config, opts *Options) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("server: configuration: %w", err)
	}
	name := access.ServiceName(opts.Service)
	switch {
	case name == "":
		return errors.New("server: set Options.Service to the service that this is")
	case opts.Sink == nil:
		return errors.New("server: set Options.Sink: without it no denial could be recorded")
	case (opts.Enter == nil) != (opts.Leave == nil):
		return errors.New("server: set Options.Enter and Options.Leave both, or neither")
	case opts.Ready[callerKeys] != nil:
		return fmt.Errorf("server: the name %q in Options.Ready is taken; choose another", callerKeys)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = telemetry.NewLogger(os.Stderr, name, slog.LevelInfo)
	}
	opts.Log = slog.New(telemetry.Handler(opts.Log.Handler()))
	return nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// RegisterService implements grpc.ServiceRegistrar.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
}

// Serve refuses to start where an RPC has no complete access rule. Otherwise it
// serves until ctx ends, then lets RPCs end by themselves for the drain time.
func (s *Server) Serve(ctx context.Context) error {
	// What is released below is needed until the last RPC ended, so it outlives ctx.
	end := context.WithoutCancel(ctx)
	if err := s.prepare(); err != nil {
		s.grpc.Stop()
		if s.web != nil {
			err = errors.Join(err, s.web.listener.Close())
		}
		return errors.Join(err, s.listener.Close(), s.release(end))
	}
	watch, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.readiness.run(watch)
	}()
	served, parts := make(chan error, 2), 1
	go func() { served <- s.grpc.Serve(s.listener) }()
	if s.web != nil {
		parts++
		go func() { served <- s.web.serve() }()
	}
	s.log.InfoContext(ctx, "serving", telemetry.KeyAddress, s.Addr().String())

	var failed []error
	select {
	case err := <-served:
		failed, parts = append(failed, err), parts-1
	case <-ctx.Done():
	}
	s.drain()
	for range parts {
		failed = append(failed, <-served)
	}
	stop()
	<-watched
	return errors.Join(serveError(failed), s.release(end))
}

func serveError(failed []error) error {
	var out []error
	for _, err := range failed {
		if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			out = append(out, fmt.Errorf("server: %w", err))
		}
	}
	return errors.Join(out...)
}

// drain tells load balancers first, then waits for RPCs, then cuts those that remain.
func (s *Server) drain() {
	s.readiness.health.Shutdown()
	close(s.draining)
	done := make(chan struct{})
	drain := time.Duration(s.limits.DrainSeconds) * time.Second
	go func() {
		defer close(done)
		if s.web != nil {
			s.web.drain(drain)
		}
		s.grpc.GracefulStop()
	}()
	patience := time.NewTimer(drain)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
		s.log.Warn("RPCs were still running at the end of the drain time and are cut")
		s.grpc.Stop()
		<-done
	}
}

// release frees what New took, apart from the listener, which gRPC closes.
func (s *Server) release(ctx context.Context) error {
	s.verifier.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.telemetry(ctx); err != nil {
		// A collector that is down is no reason to report a failed shutdown.
		s.log.WarnContext(ctx, "telemetry was not flushed", telemetry.KeyError, err.Error())
	}
	return nil
}
