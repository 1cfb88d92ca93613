package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/carekeep/carekeep/libs/telemetry"
)

// maxStreams is how many requests one HTTP/2 connection may have open.
const maxStreams = 128

// Options say how the edge serves.
type Options struct {
	TLS     TLS
	Limits  Limits
	Proxies Proxies
	// Origins are the web origins whose pages may call.
	Origins []string
	// Failed answers in place of a handler that panicked.
	Failed http.HandlerFunc
	Log    *slog.Logger
	Now    func() time.Time
}

// Server serves one handler over TLS.
type Server struct {
	http     *http.Server
	listener net.Listener
	drain    time.Duration
	log      *slog.Logger
}

// Listen opens the port and readies the server; nothing is served before Serve.
func Listen(ctx context.Context, address string, o Options, handler http.Handler) (*Server, error) {
	certificate, err := LoadCertificate(o.TLS, o.Log, o.Now)
	if err != nil {
		return nil, err
	}
	// The observer is outermost, so that nothing goes unseen; headers come next,
	// so that they stand on every answer, also after a panic.
	observed, err := observe(o, cors(o.Origins, handler))
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &Server{
		http: &http.Server{
			Handler:           secure(observed),
			TLSConfig:         o.TLS.config(certificate),
			ReadHeaderTimeout: seconds(o.Limits.HeaderSeconds),
			IdleTimeout:       seconds(o.Limits.IdleSeconds),
			MaxHeaderBytes:    o.Limits.HeaderBytes,
			// `OPTIONS *` would otherwise be answered before our headers are set.
			DisableGeneralOptionsHandler: true,
			HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
			// No Read- or WriteTimeout: they bound whole requests, and would cut
			// imports and exports. Each body and each write has its own limit.
			ErrorLog: slog.NewLogLogger(quiet{o.Log.Handler()}, slog.LevelInfo),
		},
		listener: listener,
		drain:    seconds(o.Limits.DrainSeconds),
		log:      o.Log,
	}, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve serves until ctx ends, then lets open requests finish within the drain time.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.ServeTLS(s.listener, "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.log.Info("draining")
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	err := s.http.Shutdown(limit)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests were still open after the drain time; they are broken off")
		err = s.http.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// Close releases a server that was never served.
func (s *Server) Close() error { return s.listener.Close() }

// quiet drops net/http's lines about clients that break off the handshake, which
// port scanners cause all day. The lines hold addresses and no data.
type quiet struct{ slog.Handler }

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "TLS handshake error") && strings.HasSuffix(strings.TrimSpace(r.Message), "EOF") {
		return nil
	}
	r.Message = strings.TrimSpace(r.Message)
	r.AddAttrs(slog.String(telemetry.KeyReason, "HTTP_SERVER"))
	return q.Handler.Handle(ctx, r)
}
