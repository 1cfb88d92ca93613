// Package stack runs the whole suite on one machine with real parts: PostgreSQL,
// NATS JetStream, HashiCorp's transit engine, an inbox, and the five services
// with mTLS between them. `carekeep-local up` and the tests use it; it is not
// how production runs anything.
package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/carekeep/carekeep/deploy/local/inbox"
	"github.com/carekeep/carekeep/libs/devkit"
	"github.com/carekeep/carekeep/libs/devkit/ca"
)

// Options say where and how a stack runs. The zero value is a throwaway one.
type Options struct {
	// Dir keeps all data; empty makes a throwaway folder, which Close removes.
	Dir string
	// Ports that are 0 are chosen free.
	Ports Ports
	// Binaries is the folder of the programs, built where missing or stale; by default .bin of the source tree.
	Binaries string
	// Settings change the configuration of services.
	Settings Settings
	// Durable keeps fsync on in a throwaway stack, for benchmarks; in a stack with a Dir it is always on.
	Durable bool
	// Stdout gets one line for each thing done, and what goes wrong later; nil is silent.
	Stdout io.Writer
}

// Stack is a running suite.
type Stack struct {
	*Place

	opts    Options
	lock    *os.File
	release func()
	logs    []*logFile
	inbox   *inbox.Inbox
	parts   map[string]*part

	settled atomic.Bool // everything has served once
	cancel  context.CancelFunc
	watch   sync.WaitGroup
	closing sync.Once
	sayMu   sync.Mutex
}

// outliveTime is how long the processes of a killed stack are waited for.
const outliveTime = 15 * time.Second

// Start starts everything and returns when everything serves.
func Start(ctx context.Context, opts Options) (*Stack, error) {
	begun := time.Now()
	s := &Stack{opts: opts, parts: map[string]*part{}}
	if err := s.prepare(); err != nil {
		s.Close()
		return nil, err
	}
	if err := perform(ctx, s.steps(), s.say); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.save(); err != nil {
		s.Close()
		return nil, err
	}
	s.supervise()
	s.say("%-16s ready in %s, data in %s", "everything", round(time.Since(begun)), s.Dir)
	return s, nil
}

// prepare does what needs no other process: folders, lock, ports, keys.
func (s *Stack) prepare() error {
	dir := s.opts.Dir
	if dir == "" {
		made, err := throwaway()
		if err != nil {
			return err
		}
		dir = made
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	s.Place = &Place{Dir: dir, Ports: s.opts.Ports, Started: time.Now().UTC(), Binaries: s.opts.Binaries}
	if s.Binaries == "" {
		s.Binaries = filepath.Join(devkit.Root(), ".bin")
	}
	if err := s.folders(); err != nil {
		return err
	}
	if s.lock, err = takeLock(dir); err != nil {
		return err
	}
	s.outlive()
	if s.release, err = s.Ports.claim(); err != nil {
		return err
	}
	if s.authority, err = ca.New(s.path("ca"), TrustDomain); err != nil {
		return err
	}
	return errors.Join(s.issue(), s.callers(), s.configure(s.opts.Settings), s.assemble())
}

// folders makes the data folder. Others may pass through it, since PostgreSQL
// runs as another user when we are root; everything else in it is ours alone.
func (s *Stack) folders() error {
	if err := os.MkdirAll(s.Dir, 0o711); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := os.Chmod(s.Dir, 0o711); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	for _, own := range []string{s.path("ca"), s.path("keys"), s.path("config"), s.Logs(), s.BrokerData(), s.TransitData(), s.Checkpoints(), s.Backups(), s.Restores()} {
		if err := os.MkdirAll(own, 0o700); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
	}
	return nil
}

// outlive waits for the processes of a stack that was killed on this folder and
// could not tidy up: they end by themselves, but PostgreSQL takes a moment.
func (s *Stack) outlive() {
	raw, err := os.ReadFile(s.path("stack.json"))
	if err != nil {
		return // it ended in order
	}
	var before Place
	if json.Unmarshal(raw, &before) != nil {
		return
	}
	deadline := time.Now().Add(outliveTime)
	for _, part := range before.Ports.each() {
		for free(*part.port) != nil && time.Now().Before(deadline) {
			<-time.After(watchEvery)
		}
	}
}

func (s *Stack) supervise() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	for _, p := range s.parts {
		s.watch.Go(func() { p.supervise(ctx) })
	}
	s.settled.Store(true)
}

// Close stops every process in order and waits for each. A throwaway stack's
// data is removed.
func (s *Stack) Close() {
	s.closing.Do(func() {
		if s.cancel != nil {
			s.cancel()
		}
		s.watch.Wait()
		s.settled.Store(false)
		for _, layer := range layers {
			var group sync.WaitGroup
			for _, name := range layer {
				if p := s.parts[name]; p != nil {
					group.Go(p.stop)
				}
			}
			group.Wait()
		}
		s.tidy()
	})
}

func (s *Stack) tidy() {
	if s.inbox != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.inbox.Close(ctx); err != nil {
			s.say("inbox: %v", err)
		}
	}
	for _, log := range s.logs {
		_ = log.Close() // the process that wrote is gone, and it kept its own account
	}
	if s.release != nil {
		s.release()
	}
	if s.lock == nil {
		return // another stack's folder
	}
	_ = os.Remove(s.path("stack.json")) // missing where the start failed
	if s.opts.Dir == "" {
		if err := os.RemoveAll(s.Dir); err != nil {
			s.say("the throwaway folder stays: %v", err)
		}
	}
	_ = s.lock.Close()
}

// Kill ends a part by SIGKILL, as a crash does. The supervisor starts it again.
func (s *Stack) Kill(name string) { s.part(name).run.kill() }

// Stop ends a part and leaves it down, until Resume.
func (s *Stack) Stop(name string) { s.part(name).stop() }

// Resume starts a part again after Stop, and waits until it serves.
func (s *Stack) Resume(ctx context.Context, name string) error {
	if err := s.part(name).resume(); err != nil {
		return err
	}
	return s.part(name).await(ctx, false)
}

// Pid is the process id of a part, 0 while it is down.
func (s *Stack) Pid(name string) int { return s.part(name).run.pid() }

// WaitReady waits until every part serves, except those that Stop took down.
func (s *Stack) WaitReady(ctx context.Context) error {
	for _, layer := range layers {
		for _, name := range layer {
			p := s.part(name)
			p.mu.Lock()
			wanted := p.wanted
			p.mu.Unlock()
			if !wanted {
				continue
			}
			if err := p.await(ctx, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// Messages are the mail and text messages that the stack sent, newest first.
func (s *Stack) Messages() []inbox.Message { return s.inbox.Messages() }

func (s *Stack) part(name string) *part {
	if p := s.parts[name]; p != nil {
		return p
	}
	panic("stack: no part is called " + name)
}

// say prints a line to whoever started the stack.
func (s *Stack) say(format string, args ...any) {
	if s.opts.Stdout == nil {
		return
	}
	s.sayMu.Lock()
	defer s.sayMu.Unlock()
	// Nothing can be done about a terminal that is gone.
	_, _ = fmt.Fprintf(s.opts.Stdout, "  "+format+"\n", args...)
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

const throwawayPrefix = "carekeep-stack-"

// throwaway makes a folder that carries our process id, and removes those of
// stacks that were killed before they could do it themselves.
func throwaway() (string, error) {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), throwawayPrefix+"*"))
	for _, dir := range old {
		if !Running(dir) && abandoned(dir) {
			_ = os.RemoveAll(dir)
		}
	}
	dir, err := os.MkdirTemp("", throwawayPrefix+strconv.Itoa(os.Getpid())+"-*")
	if err != nil {
		return "", fmt.Errorf("throwaway folder: %w", err)
	}
	return dir, nil
}

func abandoned(dir string) bool {
	owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), throwawayPrefix), "-")
	pid, err := strconv.Atoi(owner)
	return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
