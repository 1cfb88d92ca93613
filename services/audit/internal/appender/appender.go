// Package appender is the one writer of the log. It takes events from whoever has
// them, and commits them in groups: entries, tiles, a signed checkpoint and alerts in
// one transaction. It does not know where events come from or who reads them.
package appender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/event"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Submission is something to append, all of it in one group. Done is called once, from the
// appender's own goroutine, and must not block: nil means that the events are committed,
// now or earlier; an error that they are not, or that nobody knows.
type Submission struct {
	Events []event.Event
	Parked []Parked
	// Rows are the sender's outbox rows that these events came in.
	Rows    []event.Row
	Service accessv1.Service // of the rows
	// Prompt says that somebody waits for it: an RPC of this service, which answers
	// once its event is in the log.
	Prompt bool
	Done   func(error)
}

// Parked is a message that holds something that cannot be in the log. It is kept beside
// the log, and an entry of critical risk reports it.
type Parked struct {
	Subject string
	Payload []byte
	Problem error
}

// Keys signs checkpoints and verifies them.
type Keys interface {
	// Signer returns a signer that works for as long as ctx.
	Signer(ctx context.Context) (note.Signer, error)
	// Verifiers returns the keys of all versions.
	Verifiers(ctx context.Context) (note.Verifiers, error)
}

// Copies keeps checkpoints outside the database.
type Copies interface {
	// Keep takes a signed checkpoint that was committed; it must not block.
	Keep(signed string)
	// Newest returns the largest one of each place that keeps any.
	Newest(ctx context.Context) ([]string, error)
}

// Options are what an appender works with. All but Lead are required.
type Options struct {
	Pool   *pgxpool.Pool
	Log    *slog.Logger
	Now    func() time.Time
	Name   string // of the log
	Keys   Keys
	Copies Copies
	// Lead runs while this replica is the writer and feeds it; it ends with ctx.
	Lead func(ctx context.Context, submit func(context.Context, Submission) error)
}

// Appender appends while it holds the writer's lock, of which there is one a
// database. All others stand by.
type Appender struct {
	opts  Options
	queue chan Submission

	mu      sync.RWMutex
	writing chan struct{} // closed when this replica stops writing; nil while it does not write
	fault   error         // why the log cannot be written
}

const (
	// linger is how long a group waits for company: it bounds checkpoints, each of which
	// costs a signature and a commit, to 10 a second under light load, and adds nothing under
	// heavy load. For what comes from the broker nobody waits.
	linger = 100 * time.Millisecond
	// promptly is the same where somebody waits.
	promptly = 20 * time.Millisecond
	// A group ends at any of these. A submission is never split.
	groupEvents      = 4096
	groupSubmissions = 2048
	groupBytes       = 16 << 20
	retryAfter       = time.Second
	// groupTimeout is shorter than the time after which the broker sends a message again.
	groupTimeout = 20 * time.Second
	// pingEvery is how soon an idle writer notices that its connection, and with it the lock, is gone.
	pingEvery = 2 * time.Second
)

var (
	// ErrStandby says that another replica is the writer.
	ErrStandby = errors.New("this replica is not the writer of the log")
	// ErrTampered says that the database is not the log that was signed. Nothing is appended to it.
	ErrTampered = errors.New("the log in the database is not the one that was signed")
)

// New returns an appender; Run makes it work.
func New(opts Options) *Appender {
	return &Appender{opts: opts, queue: make(chan Submission, groupSubmissions)}
}

// Run appends until ctx ends. It takes the writer's lock when that is free, and starts
// over from the database whenever anything fails.
func (a *Appender) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := a.attempt(ctx)
		a.setFault(err)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrTampered) {
			a.opts.Log.ErrorContext(ctx, "the audit log was tampered with; nothing is appended until an operator has looked at it",
				telemetry.KeyError, err.Error())
		} else if err != nil {
			a.opts.Log.WarnContext(ctx, "the audit log cannot be written; starting over", telemetry.KeyError, err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// attempt waits until the lock is free and then writes for as long as it can.
func (a *Appender) attempt(ctx context.Context) error {
	conn, err := a.opts.Pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// The lock belongs to the connection, so the connection must not go back to the pool.
	raw := conn.Hijack()
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryAfter)
		defer cancel()
		_ = raw.Close(end)
	}()
	for {
		taken, err := store.LockWriter(ctx, raw)
		if err != nil {
			return err
		}
		if taken {
			break
		}
		a.setFault(nil) // another replica writes
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryAfter):
		}
	}
	w := &writer{Options: a.opts, conn: raw}
	if err := w.load(ctx); err != nil {
		return err
	}
	a.opts.Log.InfoContext(ctx, "this replica writes the audit log", telemetry.KeySize, w.tree.Size())
	return a.lead(ctx, w)
}

// lead runs the feeder and the loop until either ends.
func (a *Appender) lead(ctx context.Context, w *writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	a.mu.Lock()
	a.writing, a.fault = stopped, nil
	a.mu.Unlock()
	var feeding sync.WaitGroup
	if a.opts.Lead != nil {
		feeding.Go(func() { a.opts.Lead(ctx, a.Submit) })
	}
	err := a.loop(ctx, w)
	cancel()
	close(stopped) // lets go whoever waits in Submit, which the lock then waits for
	a.mu.Lock()
	a.writing = nil
	a.mu.Unlock()
	a.refuseQueued(err)
	feeding.Wait()
	return err
}

func (a *Appender) refuseQueued(err error) {
	if err == nil {
		err = ErrStandby
	}
	for {
		select {
		case s := <-a.queue:
			s.Done(err)
		default:
			return
		}
	}
}

// Submit hands something over. Its error says that it was not taken, and Done is not called.
func (a *Appender) Submit(ctx context.Context, s Submission) error {
	// Held until s is queued, so that a term does not end between the look and the queue.
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.writing == nil {
		return ErrStandby
	}
	select {
	case a.queue <- s:
		return nil
	case <-a.writing:
		return ErrStandby
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Writing reports whether this replica is the writer.
func (a *Appender) Writing() bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.writing != nil
}

// Ready says whether the log can be written, by this replica or another.
func (a *Appender) Ready(context.Context) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.fault
}

func (a *Appender) setFault(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = err
}

func (a *Appender) loop(ctx context.Context, w *writer) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ping.C:
			if err := w.ping(ctx); err != nil {
				return err
			}
		case first := <-a.queue:
			group := a.collect(first)
			err := a.append(ctx, w, group)
			for _, s := range group {
				s.Done(err)
			}
			if err != nil {
				return err
			}
		}
	}
}

// append commits a group also while the service stops, but does not wait forever for
// a database that hangs.
func (a *Appender) append(ctx context.Context, w *writer, group []Submission) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTimeout)
	defer cancel()
	return w.append(ctx, group)
}

// collect takes what waits, and for a moment what comes.
func (a *Appender) collect(first Submission) []Submission {
	group := []Submission{first}
	events, bytes := first.size()
	patience := time.NewTimer(first.patience())
	defer patience.Stop()
	hurry := first.Prompt
	for events < groupEvents && bytes < groupBytes && len(group) < groupSubmissions {
		select {
		case s := <-a.queue:
			group = append(group, s)
			if s.Prompt && !hurry {
				hurry = true
				patience.Reset(promptly)
			}
			n, size := s.size()
			events, bytes = events+n, bytes+size
		case <-patience.C:
			return group
		}
	}
	return group
}

func (s Submission) patience() time.Duration {
	if s.Prompt {
		return promptly
	}
	return linger
}

func (s Submission) size() (events, bytes int) {
	for i := range s.Events {
		bytes += len(s.Events[i].Raw)
	}
	for _, p := range s.Parked {
		bytes += len(p.Payload)
	}
	return len(s.Events), bytes
}
