// Package respond sees to what rules ask for when they fire: it has auth mail people, end sessions, freeze, block
// and cut off, and it tells webhooks. It decides nothing itself: rules name the actions, settings
// the receivers, and auth refuses what must not be done. Everything is tried until it is done, for a day.
package respond

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// pollEvery is how often detections are looked for. With the log's own way it is far below the 5 s
	// within which an alert has to leave.
	pollEvery = 500 * time.Millisecond
	// batch is how many are planned, or taken for one target, at a time.
	batch = 20
	// retryAfter is the pause after a failure of the queue itself.
	retryAfter = 2 * time.Second
	// horizon is how old a detection may be that is still answered: it spans a long outage.
	horizon = 7 * 24 * time.Hour
	// lifetime is how long a response is tried: after 10, 20, 40 s and so on, up to every hour.
	lifetime     = 24 * time.Hour
	firstPause   = 10 * time.Second
	longestPause = time.Hour
	// tryTimeout bounds one try; it is shorter than firstPause, so that nobody else takes what is under way.
	tryTimeout = 8 * time.Second
	// alertAfter is after how many tries an action that was not carried out is an alert: about a minute.
	alertAfter = 4
)

// Queue keeps what is to be done.
type Queue interface {
	Unanswered(ctx context.Context, since time.Time, most int) ([]store.Answerable, error)
	Plan(ctx context.Context, due time.Time, list []store.Response) error
	Take(ctx context.Context, target string, now time.Time, first, longest time.Duration, most int) ([]store.Response, map[uuid.UUID]store.Answerable, error)
	Done(ctx context.Context, x store.Response, now time.Time, outcome string) error
}

// Target does what is asked for. An error that wraps ErrRefused is final, every other one is tried again. It may
// be asked for the same twice, and sees to it that the second time changes nothing or can be told from the first.
type Target interface {
	Name() string
	// Actions are what it has to do about a detection.
	Actions(a store.Answerable) []string
	Do(ctx context.Context, a store.Answerable, action string) error
	// Urgent: a failure is an alert after a minute, not only when it is given up.
	Urgent() bool
}

// ErrRefused says that trying again is of no use.
var ErrRefused = errors.New("refused")

// Options are what a Responder works with; all are required, Targets may be empty.
type Options struct {
	Queue   Queue
	Sink    evidence.Sink // the log's own
	Targets []Target
	Log     *slog.Logger
	Now     func() time.Time
}

// Responder responds. One replica does it, the one that detects.
type Responder struct{ Options }

// New returns a responder; Run makes it work.
func New(o Options) *Responder { return &Responder{Options: o} }

// Run works until ctx ends. Each target has a loop of its own: a webhook that hangs holds up nothing else.
func (r *Responder) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	pokes := make([]chan struct{}, len(r.Targets))
	for i, t := range r.Targets {
		pokes[i] = make(chan struct{}, 1)
		work.Go(func() {
			r.repeat(ctx, pokes[i], "responses of "+t.Name(), func() (int, error) { return r.Serve(ctx, t) })
		})
	}
	r.repeat(ctx, nil, "detections", func() (int, error) {
		n, err := r.Plan(ctx)
		for _, poke := range pokes {
			if n == 0 {
				break
			}
			select {
			case poke <- struct{}{}:
			default:
			}
		}
		return n, err
	})
}

// repeat makes rounds: at once while there is a whole batch, otherwise when the time comes or somebody pokes.
func (r *Responder) repeat(ctx context.Context, poke <-chan struct{}, what string, round func() (int, error)) {
	every := time.NewTicker(pollEvery)
	defer every.Stop()
	for {
		n, err := round()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.Log.WarnContext(ctx, what+" wait; they are looked at again", telemetry.KeyError, err.Error())
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryAfter):
			}
			continue
		}
		if n >= batch {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-poke:
		}
	}
}

// Plan notes for new detections what is to be done, and says how many there were.
func (r *Responder) Plan(ctx context.Context) (int, error) {
	now := r.Now()
	list, err := r.Queue.Unanswered(ctx, now.Add(-horizon), batch)
	if err != nil {
		return 0, err
	}
	for _, a := range list {
		var todo []store.Response
		for _, t := range r.Targets {
			for _, action := range t.Actions(a) {
				todo = append(todo, store.Response{Detection: a.ID, Target: t.Name(), Action: action, Ends: now.Add(lifetime)})
			}
		}
		if len(todo) == 0 {
			todo = []store.Response{{Detection: a.ID, Ends: now}}
		}
		if err := r.Queue.Plan(ctx, now, todo); err != nil {
			return 0, err
		}
	}
	return len(list), nil
}

// Serve tries what is due at a target once, and says how much there was.
func (r *Responder) Serve(ctx context.Context, t Target) (int, error) {
	list, about, err := r.Queue.Take(ctx, t.Name(), r.Now(), firstPause, longestPause, batch)
	if err != nil {
		return 0, err
	}
	slices.SortStableFunc(list, func(x, y store.Response) int { return about[x.Detection].Time.Compare(about[y.Detection].Time) })
	for _, x := range list {
		if err := r.try(ctx, t, x, about[x.Detection]); err != nil {
			return 0, err
		}
	}
	return len(list), nil
}

func (r *Responder) try(ctx context.Context, t Target, x store.Response, a store.Answerable) error {
	trying, cancel := context.WithTimeout(ctx, tryTimeout)
	failed := t.Do(trying, a, x.Action)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err() // the next writer does it
	}
	refused, over := errors.Is(failed, ErrRefused), !r.Now().Before(x.Ends)
	if failed != nil {
		r.Log.WarnContext(ctx, "a response to a detection was not carried out", "detection", a.ID.String(), "rule", a.Rule, "target", x.Target,
			"action", x.Action, "tries", x.Tries, telemetry.KeyError, failed.Error())
	}
	switch {
	case failed == nil:
		return r.Queue.Done(ctx, x, r.Now(), "DONE")
	case refused:
		return r.Queue.Done(ctx, x, r.Now(), "REFUSED")
	case over:
		// The alert comes first: should this process die in between, the log takes it once.
		if err := r.Sink.Record(ctx, r.alert(x, a, ReasonGivenUp)); err != nil {
			return err
		}
		return r.Queue.Done(ctx, x, r.Now(), "GIVEN_UP")
	case t.Urgent() && x.Tries == alertAfter:
		return r.Sink.Record(ctx, r.alert(x, a, ReasonLate))
	}
	return nil
}

// riskOf reads a level as settings name it.
func riskOf(name string) (auditv1.Risk, bool) {
	level, ok := auditv1.Risk_value["RISK_"+name]
	return auditv1.Risk(level), ok && level > 0
}
