// Package detect follows the log and holds each entry against the rules: what fires becomes a
// detection, an alert and an entry of its own. One replica does it, the one that writes the log. It
// tells nobody outside and acts on nothing; that is for whoever reads the detections.
package detect

import (
	"context"
	"log/slog"
	"time"

	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/detect/engine"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// batch is how many entries are read at a time.
	batch = 2000
	// pollEvery is how often the log is looked at when nothing is left.
	pollEvery = 200 * time.Millisecond
	// saveEvery is how often the cursor is stored while nothing fires. What lies after it is held
	// against the rules again after a restart, and does not fire then either.
	saveEvery  = time.Second
	retryAfter = time.Second
)

// Log is the log and what detection keeps beside it.
type Log interface {
	Cursor(ctx context.Context) (seq int64, rules string, err error)
	UseRules(ctx context.Context, digest string) error
	Entries(ctx context.Context, from, to int64) ([]store.Logged, error)
	SeqAt(ctx context.Context, at time.Time) (int64, error)
	Since(ctx context.Context, since time.Time) ([]store.Fired, error)
	Advance(ctx context.Context, from, to int64, found []store.Detection) error
}

// Options are what a Detector works with; all are required.
type Options struct {
	Log    Log
	Sink   evidence.Sink // the log's own
	Source *Source
	Zones  engine.Zones
	Keys   int // that each counter keeps
	Logger *slog.Logger
	Now    func() time.Time
}

// Detector detects.
type Detector struct {
	Options
	meters *meters
}

// New returns a detector; Run makes it work.
func New(o Options) (*Detector, error) {
	m, err := newMeters()
	if err != nil {
		return nil, err
	}
	return &Detector{Options: o, meters: m}, nil
}

// Run follows the log until ctx ends, and starts over from the database whenever anything fails.
func (d *Detector) Run(ctx context.Context) {
	for ctx.Err() == nil {
		t := &term{Detector: d}
		err := t.run(ctx)
		if ctx.Err() != nil {
			return
		}
		d.Logger.WarnContext(ctx, "detection is interrupted; it starts over where it was", telemetry.KeyError, err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// term is the time from one start to the next failure.
type term struct {
	*Detector
	engine  *engine.Engine
	rules   string // digest of those that the engine holds
	problem string // of the rules file, as it was told
	cursor  int64  // the entry to come
	saved   int64  // the cursor in the database
	savedAt time.Time
	last    time.Time // of the newest detection
}

func (t *term) run(ctx context.Context) error {
	var err error
	if t.cursor, t.rules, err = t.Log.Cursor(ctx); err != nil {
		return err
	}
	t.saved = t.cursor
	for ctx.Err() == nil {
		if err := t.follow(ctx); err != nil {
			return err
		}
		n, err := t.step(ctx)
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
	return ctx.Err()
}

// step takes the next entries and returns how many there were.
func (t *term) step(ctx context.Context) (int, error) {
	entries, err := t.Log.Entries(ctx, t.cursor, t.cursor+batch)
	if err != nil {
		return 0, err
	}
	var found []engine.Finding
	for _, e := range entries {
		found = append(found, t.engine.Take(engine.Entry(e))...)
	}
	if n := len(entries); n > 0 {
		t.cursor = entries[n-1].Seq + 1
		t.meters.took(ctx, n, t.Now().Sub(entries[n-1].AppendTime))
	}
	t.meters.keep(t.engine.Stats())
	if err := t.save(ctx, found); err != nil {
		return 0, err
	}
	return len(entries), nil
}

// save stores what was found, and from time to time the cursor alone.
func (t *term) save(ctx context.Context, found []engine.Finding) error {
	now := t.Now()
	if len(found) == 0 && (t.cursor == t.saved || now.Sub(t.savedAt).Abs() < saveEvery) {
		return nil
	}
	detections, err := t.record(ctx, found)
	if err != nil {
		return err
	}
	if err := t.Log.Advance(ctx, t.saved, t.cursor, detections); err != nil {
		return err
	}
	t.saved, t.savedAt = t.cursor, now
	for _, f := range found {
		t.meters.fired(ctx, f.Rule.ID)
		t.Logger.WarnContext(ctx, "a rule of detection fired", "rule", f.Rule.ID, telemetry.KeySeq, f.Seq)
	}
	return nil
}

// follow takes the rules that are in force now, and tells of a file that is not.
func (t *term) follow(ctx context.Context) error {
	if problem := t.Source.Problem(); problem != t.problem {
		if problem != "" {
			if err := t.refused(ctx); err != nil {
				return err
			}
		}
		t.problem = problem
	}
	pack := t.Source.Pack()
	if t.engine != nil && t.rules == pack.Digest {
		return nil
	}
	if t.rules != pack.Digest {
		if err := t.changed(ctx, t.rules, pack); err != nil {
			return err
		}
		if err := t.Log.UseRules(ctx, pack.Digest); err != nil {
			return err
		}
	}
	made, err := engine.New(engine.Options{Pack: pack, Zones: t.Zones, Keys: t.Keys})
	if err != nil {
		return err
	}
	t.engine, t.rules = made, pack.Digest
	if err := t.warm(ctx, pack); err != nil {
		return err
	}
	return nil
}
