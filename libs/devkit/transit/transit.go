// Package transit builds and runs the local transit engine (deploy/local/transit)
// for local stacks and tests: HashiCorp's engine in a process of its own.
package transit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/carekeep/carekeep/libs/devkit"
	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/transit"
)

const (
	identity  = "transit" // the certificate that the server shows
	startTime = 20 * time.Second
	stopTime  = 10 * time.Second
)

// Options say where the server keeps its state and whom it trusts.
type Options struct {
	Dir         string // state, unseal key and audit log; "" is a temporary folder that Stop removes
	Port        int    // 0 takes a free one and keeps it across Restart
	CA          *ca.CA // required
	PoliciesDir string // "" is deploy/vault
	Log         *slog.Logger
}

// Server is a running engine.
type Server struct {
	opts      Options
	temporary bool
	address   string

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{}
	sources map[string]*mtls.Source
}

// Start builds the engine where needed and runs it. It returns once it listens.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.CA == nil {
		return nil, errors.New("devkit/transit: Options.CA is required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.PoliciesDir == "" {
		o.PoliciesDir = filepath.Join(devkit.Root(), "deploy", "vault")
	}
	s := &Server{opts: o, sources: map[string]*mtls.Source{}, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port))}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "carekeep-transit-")
		if err != nil {
			return nil, err
		}
		s.opts.Dir, s.temporary = dir, true
	}
	if err := s.start(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start transit: %w", err)
	}
	return s, nil
}

// ForTest runs a throwaway engine until the test ends. Its authority is the
// given one, or one of its own.
func ForTest(tb testing.TB, authority ...*ca.CA) *Server {
	tb.Helper()
	o := Options{}
	if len(authority) > 0 {
		o.CA = authority[0]
	} else {
		o.CA = ca.ForTest(tb)
	}
	s, err := Start(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// Address is the base address of the HTTP API.
func (s *Server) Address() string { return "https://" + s.address }

// AuditLog is the file with every request.
func (s *Server) AuditLog() string { return filepath.Join(s.opts.Dir, "audit.jsonl") }

// Data is the folder of the sealed storage.
func (s *Server) Data() string { return filepath.Join(s.opts.Dir, "data") }

// Pid is the process id, 0 when stopped.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.Pid
}

// Client is a client that logs in as the named identity.
func (s *Server) Client(name string) (*transit.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source := s.sources[name]
	if source == nil {
		var err error
		if source, err = s.opts.CA.Source(name); err != nil {
			return nil, err
		}
		s.sources[name] = source
	}
	return transit.New(transit.Config{Address: s.Address(), Role: name}, source)
}

// Kill ends the process at once, as a crash does.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Restart starts the process again at the same address.
func (s *Server) Restart(ctx context.Context) error {
	s.end(syscall.SIGTERM)
	return s.start(ctx)
}

// Stop ends the process and removes a temporary folder.
func (s *Server) Stop() {
	s.end(syscall.SIGTERM)
	if s.temporary {
		_ = os.RemoveAll(s.opts.Dir) // what is left is in the system's temporary folder
	}
}

func (s *Server) end(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Signal(signal) // it may have ended by itself
	select {
	case <-s.ended:
	case <-time.After(stopTime):
		_ = s.process.Kill()
		<-s.ended
	}
	s.process = nil
}

func (s *Server) start(ctx context.Context) error {
	binary, err := devkit.Build(ctx, filepath.Join("deploy", "local", "transit"), ".", "carekeep-transit")
	if err != nil {
		return err
	}
	files, err := s.opts.CA.Issue(identity)
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, "--listen", s.address, "--data", s.Data(), "--unseal-key-file", filepath.Join(s.opts.Dir, "unseal.key"),
		"--policies", s.opts.PoliciesDir, "--certificate", files.Certificate, "--key", files.Key, "--authorities", files.Authorities,
		"--trust-domain", s.opts.CA.TrustDomain(), "--audit-log", s.AuditLog())
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	dieWithParent(cmd.SysProcAttr)
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = in, in
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The death signal follows the thread that started the child, so this one stays.
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		_ = in.Close() // the child has its own
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended shows in its log
		}
	}()
	if err := <-started; err != nil {
		_ = out.Close() // nothing was read
		return err
	}
	s.mu.Lock()
	s.process, s.ended = cmd.Process, ended
	s.mu.Unlock()
	return s.await(ctx, out)
}

// await reads the output up to the address, then hands the rest to the log.
func (s *Server) await(ctx context.Context, out io.ReadCloser) error {
	address, said := make(chan string, 1), make(chan string, 1)
	go func() {
		defer out.Close() //nolint:errcheck // only read from
		var lines []string
		for scan := bufio.NewScanner(out); scan.Scan(); {
			if _, found, ok := strings.Cut(scan.Text(), "transit listens address="); ok {
				address <- found
			}
			s.opts.Log.Debug("transit", "line", scan.Text())
			if len(lines) < 20 {
				lines = append(lines, scan.Text())
			}
		}
		said <- strings.Join(lines, "\n")
	}()
	select {
	case s.address = <-address:
		return nil
	case text := <-said:
		return fmt.Errorf("it ended: %s", text)
	case <-time.After(startTime):
		return errors.New("it does not listen")
	case <-ctx.Done():
		return ctx.Err()
	}
}
