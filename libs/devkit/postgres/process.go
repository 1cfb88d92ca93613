package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a running server and the goroutine that waits for its end.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// spawn starts the server. It dies with us: the kernel sends it SIGINT, a fast
// shutdown, when the thread that started it ends, and that thread is kept for
// as long as the server runs.
func (s *Server) spawn() (*process, error) {
	log, err := os.OpenFile(s.paths.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := s.command(filepath.Join(s.bin, "postgres"), "-D", s.paths.data)
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd.SysProcAttr)

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// command prepares a program to run as the server's user, in a group of its
// own, so that Ctrl-C reaches us and we decide the order in which things stop.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...) //nolint:gosec,noctx // PostgreSQL's own programs; the server outlives the call that starts it
	cmd.Dir = s.paths.data
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, libraries(s.bin)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.user != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(s.user.uid), Gid: uint32(s.user.gid)}
	}
	return cmd
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// end sends the signal and waits; a server that does not go in time is killed.
func (p *process) end(sig syscall.Signal, timeout time.Duration) {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
		return
	case <-time.After(timeout):
		_ = p.cmd.Process.Kill()
	}
	<-p.done
}

// clearStalePid removes the lock file of a server that was killed when its
// process id now belongs to some other program, as happens in containers.
func (s *Server) clearStalePid() error {
	file := filepath.Join(s.paths.data, "postmaster.pid")
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return os.Remove(file)
	}
	// Where the process is gone there is nothing to read, and PostgreSQL sees that itself.
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if len(line) == 0 {
		return nil
	}
	args := strings.Split(string(line), "\x00")
	if filepath.Base(args[0]) != "postgres" {
		return os.Remove(file)
	}
	if strings.Contains(string(line), s.paths.data) {
		return fmt.Errorf("a server is still running on %s as process %d: stop it first", s.paths.data, pid)
	}
	return nil
}

// lastingLock says whether the last start failed only because parts of the
// server before it were still there.
func (s *Server) lastingLock() bool {
	tail := s.logTail()
	return strings.Contains(tail, "pre-existing shared memory block") || strings.Contains(tail, "lock file \"postmaster.pid\" already exists")
}

func (s *Server) logTail() string {
	raw, err := os.ReadFile(s.paths.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
