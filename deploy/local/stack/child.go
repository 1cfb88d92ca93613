package stack

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long a process may take to end by itself. The services drain
// for 15 s at most.
const stopTime = 20 * time.Second

// child is one of our own programs, run as a process in a group of its own: a
// Ctrl-C in the terminal reaches only us, and we decide the order.
type child struct {
	path string
	args []string
	log  *logFile

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
}

func (c *child) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil && alive(c.ended) {
		return errors.New("it runs already")
	}
	cmd, ended := exec.Command(c.path, c.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The death signal comes when the thread that started the child ends, so
		// this one lives as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended stands in its log, and the supervisor shows it
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("run %s: %w", c.path, err)
	}
	c.cmd, c.ended = cmd, ended
	return nil
}

func (c *child) stop() { c.end(syscall.SIGTERM) }
func (c *child) kill() { c.end(syscall.SIGKILL) }

// end signals the whole group and waits until the process is gone.
func (c *child) end(signal syscall.Signal) {
	c.mu.Lock()
	cmd, ended := c.cmd, c.ended
	c.mu.Unlock()
	if cmd == nil {
		return
	}
	if alive(ended) {
		_ = syscall.Kill(-cmd.Process.Pid, signal) // it may end at this very moment
	}
	select {
	case <-ended:
	case <-time.After(stopTime):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
}

func (c *child) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil || !alive(c.ended) {
		return 0
	}
	return c.cmd.Process.Pid
}

func (c *child) last() string { return c.log.tail() }

func alive(ended chan struct{}) bool {
	select {
	case <-ended:
		return false
	default:
		return true
	}
}
