// Package retention deletes what the log has kept long enough (claims DH-47, DH-48, DMD-32). It
// announces each batch in the log and then asks the database, which decides: what may
// go follows from the rules, the clock and the holds there, whatever this package believes. It refuses only what
// is due by columns that are not what was signed.
package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// batchEntries bounds one announcement, and with it one transaction.
	batchEntries = 4000
	// MostOfACall is how many entries one RPC deletes at most.
	MostOfACall = 10 * batchEntries
	// freshFor is how long a proof by two factors counts for a deletion (ASVS 7.5.1).
	freshFor = 5 * time.Minute
	every    = 24 * time.Hour
	lookAt   = time.Minute
	job      = "jobs/RunRetention"
)

var classes = []ledger.Class{ledger.ClassEntries, ledger.ClassEvents}

var (
	errCaller  = errs.New(errs.KindUnauthenticated, "CALLER_MISSING", "no caller")
	errStale   = errs.New(errs.KindDenied, "REAUTHENTICATE", "prove who you are again, with two factors; that counts for five minutes")
	errRunning = errs.New(errs.KindConflict, "RETENTION_RUNNING", "Retention runs already: wait until it has ended.")
)

// Store is the database, as far as retention needs it.
type Store interface {
	CountDue(context.Context, ledger.Class, store.Retention) (store.Due, error)
	Cutoff(context.Context, ledger.Class, store.Retention) (time.Time, error)
	NextBatch(ctx context.Context, class ledger.Class, cutoff time.Time, first int64, most int) (store.Batch, error)
	Stored(ctx context.Context, seqs []int64) ([]ledger.Entry, error)
	Checkpoint(ctx context.Context, atLeast int64) (string, error)
	Tiles(context.Context) tlog.TileReader
	LetGo(ctx context.Context, announcement uuid.UUID) (int64, error)
	EmptyMonths(context.Context) ([]time.Time, error)
	DropMonth(ctx context.Context, month time.Time) (bool, error)
	Retaining(ctx context.Context, run func() error) (bool, error)
	PlaceLogHold(context.Context, store.LogHold, store.Record) error
	ReleaseLogHold(context.Context, store.LogHold, store.Record) error
	LogHold(context.Context, uuid.UUID) (store.LogHold, error)
	LogHolds(ctx context.Context, most int) ([]store.LogHold, error)
}

// Options are what retention works with. All but Purge are required.
type Options struct {
	Store   Store
	Keys    Keys
	Sink    evidence.Sink
	Keep    store.Retention
	Purge   bool        // the daily job deletes; else it only says what is due
	Writing func() bool // whether this replica is the writer, whose daily job it is
	Log     *slog.Logger
	Now     func() time.Time
}

// Retention plans and runs deletions, and keeps the holds against them.
type Retention struct{ Options }

// New returns it; Daily makes it work by itself.
func New(o Options) *Retention { return &Retention{Options: o} }

// Plan counts what Run would delete.
func (r *Retention) Plan(ctx context.Context) ([]store.Due, error) {
	list := make([]store.Due, len(classes))
	for i, class := range classes {
		var err error
		if list[i], err = r.Store.CountDue(ctx, class, r.Keep); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Result is what a run did.
type Result struct {
	Deleted int64
	Months  []time.Time // whose partitions are gone
	More    bool        // more is due
}

// Asked is Run for the caller of an RPC, who proved two factors just now.
func (r *Retention) Asked(ctx context.Context) (Result, error) {
	who, ok := caller.From(ctx)
	if !ok {
		return Result{}, errCaller
	}
	if who.Authenticated.IsZero() || r.Now().Sub(who.Authenticated) > freshFor {
		return Result{}, errStale
	}
	return r.Run(ctx, evidence.From(ctx), MostOfACall)
}

// Run deletes at most so many entries, and whole months of which nothing is left. RETENTION_RUNNING
// says that somebody else does. It may be stopped anywhere: what is announced and not
// deleted stays, and is announced again another time.
func (r *Retention) Run(ctx context.Context, recorder *evidence.Recorder, most int64) (Result, error) {
	var done Result
	ran, err := r.Store.Retaining(ctx, func() error {
		for _, class := range classes {
			if err := r.class(ctx, recorder, class, most, &done); err != nil || done.More {
				return err
			}
		}
		return r.months(ctx, &done)
	})
	if err == nil && !ran {
		err = errRunning
	}
	return done, err
}

func (r *Retention) class(ctx context.Context, recorder *evidence.Recorder, class ledger.Class, most int64, done *Result) error {
	cutoff, err := r.Store.Cutoff(ctx, class, r.Keep)
	if err != nil {
		return err
	}
	for from := int64(0); ; {
		batch, err := r.Store.NextBatch(ctx, class, cutoff, from, batchEntries)
		if err != nil {
			return err
		}
		if len(batch.Seqs) > 0 {
			if done.Deleted >= most {
				done.More = true
				return nil
			}
			n, err := r.letGo(ctx, recorder, class, cutoff, batch)
			if err != nil {
				return err
			}
			done.Deleted += n
		}
		if batch.Next == nil {
			return nil
		}
		from = *batch.Next
	}
}

// letGo has a batch checked, announced in the log, and then deleted.
func (r *Retention) letGo(ctx context.Context, recorder *evidence.Recorder, class ledger.Class, cutoff time.Time, b store.Batch) (int64, error) {
	if err := r.check(ctx, class, b); err != nil {
		return 0, err
	}
	var gone ledger.Gone
	for i, seq := range b.Seqs {
		gone.Add(seq, b.Leaves[i])
	}
	event := recorder.Event(evidence.Count(len(b.Seqs)), evidence.Resource(fmt.Sprintf("auditEntries/%d-%d", gone.First, gone.Last), 0),
		func(e *auditv1.Event) { e.Retention = gone.LetGo(class, cutoff).Text() })
	id, err := uuid.Parse(event.GetEventId())
	if err != nil {
		return 0, err
	}
	if err := r.Sink.Record(ctx, event); err != nil {
		return 0, fmt.Errorf("announce what retention lets go: %w", err)
	}
	recorder.Committed([]*auditv1.Event{event})
	n, err := r.Store.LetGo(ctx, id)
	if errors.Is(err, store.ErrBatchChanged) {
		return 0, errs.Wrap(err, errs.KindConflict, "RETENTION_CHANGED", "A hold or an incident came while entries were announced: nothing of that batch was deleted; run it again.")
	}
	return n, err
}

func (r *Retention) months(ctx context.Context, done *Result) error {
	empty, err := r.Store.EmptyMonths(ctx)
	if err != nil {
		return err
	}
	for _, month := range empty {
		dropped, err := r.Store.DropMonth(ctx, month)
		if err != nil {
			return err
		}
		if dropped {
			done.Months = append(done.Months, month)
		}
	}
	return nil
}

// Daily reports or deletes once a day while this replica is the writer, until ctx ends. A new
// writer begins at once; what was deleted already costs it a look.
func (r *Retention) Daily(ctx context.Context) {
	look := time.NewTicker(lookAt)
	defer look.Stop()
	var last time.Time
	for {
		if now := r.Now(); r.Writing() && (last.IsZero() || now.Sub(last) >= every) {
			last = now
			if err := r.daily(ctx); err != nil && ctx.Err() == nil {
				r.Log.WarnContext(ctx, "retention of the log did not end; it goes on tomorrow", telemetry.KeyError, err.Error())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

func (r *Retention) daily(ctx context.Context) error {
	if r.Purge {
		recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, job, accessv1.Action_ACTION_RETAIN, r.Now)
		done, err := r.Run(ctx, recorder, 1<<62)
		r.Log.InfoContext(ctx, "retention deleted entries of the log", telemetry.KeyCount, done.Deleted)
		return err
	}
	plan, err := r.Plan(ctx)
	for _, d := range plan {
		r.Log.InfoContext(ctx, "entries of the log are due, and stay since retention.mode is report", telemetry.KeyReason, string(d.Class), telemetry.KeyCount, d.Free)
	}
	return err
}
