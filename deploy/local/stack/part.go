package stack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	watchEvery = 100 * time.Millisecond
	// readyTime is how long a part may take from its start until it serves.
	readyTime  = 90 * time.Second
	minBackoff = 200 * time.Millisecond
	maxBackoff = 10 * time.Second
	// calm is how long a part must run before its crashes are forgotten.
	calm = 30 * time.Second
)

// runner is how one process is run: a program of ours, or a server of devkit.
type runner interface {
	start() error // returns when the process runs; ready says when it serves
	stop()        // in good order; returns when the process is gone
	kill()        // by SIGKILL; returns when the process is gone
	pid() int     // 0 when it does not run
	last() string // its last lines of output
}

// part is a process that the stack keeps running.
type part struct {
	name  string
	run   runner
	ready func(context.Context) error
	say   func(format string, args ...any)

	mu      sync.Mutex
	wanted  bool // it is started again when it ends
	started time.Time
	backoff time.Duration
}

// begin starts the part for the first time and waits until it serves.
func (p *part) begin(ctx context.Context) error {
	if err := p.resume(); err != nil {
		return err
	}
	return p.await(ctx, true)
}

func (p *part) resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted, p.started = true, time.Now()
	if p.run.pid() != 0 {
		return nil
	}
	if err := p.run.start(); err != nil {
		p.wanted = false
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

func (p *part) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = false
	p.run.stop()
}

// await waits until the part serves. With failFast, a process that ends is a
// failure at once; without, the supervisor is trusted to start it again.
func (p *part) await(ctx context.Context, failFast bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for {
		if failFast && p.run.pid() == 0 {
			return fmt.Errorf("%s ended while it started; its last lines:\n%s", p.name, indent(p.run.last()))
		}
		err := errors.New("it does not run")
		if p.run.pid() != 0 {
			if err = p.ready(ctx); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; its last lines:\n%s", p.name, err, indent(p.run.last()))
		case <-time.After(watchEvery):
		}
	}
}

// supervise starts the part again whenever it ended though it is wanted.
func (p *part) supervise(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if pause, crashed := p.crashed(); crashed {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
				p.restart()
			}
		}
	}
}

func (p *part) crashed() (pause time.Duration, crashed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wanted || p.run.pid() != 0 {
		return 0, false
	}
	p.backoff = min(2*p.backoff, maxBackoff)
	if time.Since(p.started) > calm || p.backoff < minBackoff {
		p.backoff = minBackoff
	}
	p.say("%s ended by itself; it is started again in %s. Its last lines:\n%s", p.name, p.backoff, indent(p.run.last()))
	return p.backoff, true
}

func (p *part) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wanted || p.run.pid() != 0 {
		return // stopped or resumed by hand meanwhile
	}
	p.started = time.Now()
	if err := p.run.start(); err != nil {
		p.say("%s did not start again: %v", p.name, err)
		return
	}
	p.say("%s runs again", p.name)
}
