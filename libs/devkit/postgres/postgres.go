// Package postgres runs a real PostgreSQL server for local stacks and tests,
// set up as deploy/postgres tells a platform team to: TLS 1.3 with client
// certificates, one database and two roles per service. It never runs as root.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/pg"
)

// Admin is the superuser of a development server; there is none in pg_ident.conf of a production one.
const Admin = "carekeep_admin"

const (
	startTimeout = time.Minute
	stopTimeout  = 30 * time.Second
	poll         = 20 * time.Millisecond
)

// Options say where a server lives. All may be left out.
type Options struct {
	Dir  string // "" = throwaway, removed by Stop
	Port int    // 0 = any free one
	CA   *ca.CA // nil = a new one in Dir
	Log  *slog.Logger
	// NoSync turns fsync off: fast, and nothing survives a crash of the machine. For tests.
	NoSync bool
}

// Server is one running cluster.
type Server struct {
	opts  Options
	paths paths
	bin   string
	user  *account // nil = run as ourselves
	port  int

	mu      sync.Mutex
	proc    *process
	sources map[string]*mtls.Source
}

// Start makes the cluster in Dir if there is none, starts it, and brings roles
// and databases up to date.
func Start(ctx context.Context, opts Options) (*Server, error) {
	s := &Server{opts: opts, port: opts.Port, sources: map[string]*mtls.Source{}}
	if s.opts.Log == nil {
		s.opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := s.prepare(ctx); err != nil {
		s.discard()
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if err := s.Restart(ctx); err != nil {
		s.discard()
		return nil, err
	}
	if err := s.applyRoles(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return s, nil
}

// prepare does all that needs no running server.
func (s *Server) prepare(ctx context.Context) (err error) {
	if s.bin, err = findBinaries(); err != nil {
		return err
	}
	if s.user, err = unprivileged(); err != nil {
		return err
	}
	if s.paths, err = layout(s.opts.Dir, s.user, s.opts.Log); err != nil {
		return err
	}
	if s.opts.CA == nil {
		if s.opts.CA, err = ca.New(filepath.Join(s.paths.dir, "ca"), "carekeep.test"); err != nil {
			return err
		}
	}
	if s.port == 0 {
		if s.port, err = freePort(ctx); err != nil {
			return err
		}
	}
	if err := s.initialise(ctx); err != nil {
		return err
	}
	return s.configure()
}

// Restart starts the server again, on the same port, after Stop or Kill.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.startOnce(ctx)
		if err == nil || ctx.Err() != nil || !s.lastingLock() {
			return err
		}
		// Back ends of a killed server take a moment to notice; the new one
		// refuses to share its memory with them until they are gone.
		wait(ctx, 10*poll)
	}
}

func (s *Server) startOnce(ctx context.Context) error {
	if s.proc != nil && s.proc.alive() {
		return errors.New("postgres: it runs already")
	}
	if err := s.clearStalePid(); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	proc, err := s.spawn()
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	s.proc = proc
	for {
		conn, err := s.AdminConn(ctx, "postgres")
		if err == nil {
			_ = conn.Close(ctx)
			return nil
		}
		if !proc.alive() {
			return fmt.Errorf("postgres ended while it started; its log %s ends with:\n%s", s.paths.log, s.logTail())
		}
		if ctx.Err() != nil {
			proc.end(syscall.SIGQUIT, stopTimeout)
			return fmt.Errorf("postgres did not answer within %s: %w; its log is %s", startTimeout, err, s.paths.log)
		}
		wait(ctx, poll)
	}
}

// Stop shuts the server down and removes a throwaway folder. It may be called twice.
func (s *Server) Stop() {
	s.Shutdown()
	s.discard()
}

// Shutdown stops the server in good order and keeps its data, for Restart.
func (s *Server) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.end(syscall.SIGINT, stopTimeout)
	}
}

// Kill ends the server with SIGKILL, as a crash does; Restart recovers.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.end(syscall.SIGKILL, stopTimeout)
	}
}

// Pid is the process id of the server, 0 when it does not run.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || !s.proc.alive() {
		return 0
	}
	return s.proc.pid()
}

func (s *Server) discard() {
	if s.opts.Dir == "" && s.paths.dir != "" {
		_ = os.RemoveAll(s.paths.dir)
	}
}

// Host is the address that the server listens on.
func (s *Server) Host() string { return "127.0.0.1" }

// Port is the port that the server listens on.
func (s *Server) Port() int { return s.port }

// CA is the authority behind the server and its clients.
func (s *Server) CA() *ca.CA { return s.opts.CA }

// Binaries is the folder with pg_basebackup, pg_ctl and the like.
func (s *Server) Binaries() string { return s.bin }

// LogFile is where the server writes its log.
func (s *Server) LogFile() string { return s.paths.log }

// Config is how role connects to database.
func (s *Server) Config(database, role string) pg.Config {
	return pg.Config{Host: s.Host(), Port: uint16(s.port), Database: database, User: role}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
