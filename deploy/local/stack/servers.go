package stack

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/devkit/transit"
)

// buildTime allows for the first build of the transit engine.
const buildTime = 15 * time.Minute

// database runs PostgreSQL through devkit.
type database struct {
	opts   postgres.Options
	server atomic.Pointer[postgres.Server]
}

func (d *database) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	if server := d.server.Load(); server != nil {
		return server.Restart(ctx)
	}
	server, err := postgres.Start(ctx, d.opts)
	if err == nil {
		d.server.Store(server)
	}
	return err
}

func (d *database) stop() {
	if server := d.server.Load(); server != nil {
		server.Shutdown()
	}
}

func (d *database) kill() {
	if server := d.server.Load(); server != nil {
		server.Kill()
	}
}

func (d *database) pid() int {
	if server := d.server.Load(); server != nil {
		return server.Pid()
	}
	return 0
}

func (d *database) last() string {
	server := d.server.Load()
	if server == nil {
		return ""
	}
	raw, err := os.ReadFile(server.LogFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

func (d *database) ready(ctx context.Context) error {
	server := d.server.Load()
	if server == nil {
		return errors.New("it does not run")
	}
	conn, err := server.AdminConn(ctx, "postgres")
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// engine runs the transit engine through devkit.
type engine struct {
	opts   transit.Options
	log    *logFile
	server atomic.Pointer[transit.Server]
}

func (e *engine) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	if server := e.server.Load(); server != nil {
		return server.Restart(ctx)
	}
	server, err := transit.Start(ctx, e.opts)
	if err == nil {
		e.server.Store(server)
	}
	return err
}

func (e *engine) stop() {
	if server := e.server.Load(); server != nil {
		server.Stop()
	}
}

func (e *engine) kill() {
	if server := e.server.Load(); server != nil {
		server.Kill()
	}
}

// pid asks the kernel as well: devkit does not watch for a crash.
func (e *engine) pid() int {
	server := e.server.Load()
	if server == nil {
		return 0
	}
	pid := server.Pid()
	if pid != 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return 0
	}
	return pid
}

func (e *engine) last() string { return e.log.tail() }
