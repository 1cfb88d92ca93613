// Package upkeep keeps the keys of practices young and their store whole: it rotates
// and rewraps practices' keys, destroys their old versions, replaces data keys and
// puts the documents under the new ones, and walks through the store to find what was
// changed from outside. One replica does it at a time. It reads no chart for anybody.
package upkeep

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/time/rate"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Vault is what this package needs of the key service beside internal/keys.
type Vault interface {
	Key(ctx context.Context, name string) (transit.Key, error)
	RotateKey(ctx context.Context, name string) error
	Rewrap(ctx context.Context, name string, wrapped []string) ([]string, error)
	TrimKey(ctx context.Context, name string, oldest int) error
}

// Options are what an Upkeep works with.
type Options struct {
	Limits Limits
	// PurgeDue ends what the practice has kept for as long as it says; it is told how much time is to lie between two turns.
	PurgeDue func(ctx context.Context, practice uuid.UUID, every time.Duration) error
	Now      func() time.Time
	Log      *slog.Logger
}

// Upkeep does the work. Safe for concurrent use.
type Upkeep struct {
	pool    *pgxpool.Pool
	access  *pg.Access
	keys    *keys.Keys
	vault   Vault
	index   *index.Generations
	limits  Limits
	now     func() time.Time
	log     *slog.Logger
	reseals *rate.Limiter
	scrubs  *rate.Limiter
	wake    chan struct{}
	swept   time.Time
	purge   func(context.Context, uuid.UUID, time.Duration) error
}

// New makes an Upkeep; Run starts it.
func New(pool *pgxpool.Pool, access *pg.Access, k *keys.Keys, vault Vault, x *index.Generations, o Options) *Upkeep {
	limits := o.Limits.withDefaults()
	return &Upkeep{
		pool: pool, access: access, keys: k, vault: vault, index: x, limits: limits, log: o.Log, purge: o.PurgeDue,
		now:     func() time.Time { return o.Now().UTC().Truncate(time.Microsecond) },
		reseals: rate.NewLimiter(rate.Limit(limits.ResealPerSecond), resealBatch),
		scrubs:  rate.NewLimiter(rate.Limit(limits.ScrubPerSecond), scrubBatch),
		wake:    make(chan struct{}, 1),
	}
}

var errNoPractice = errs.New(errs.KindPrecondition, "NO_PRACTICE", "This needs a user who belongs to a practice.")

// jobContext is the context of work for a practice that no RPC waits for.
func jobContext(ctx context.Context, practice uuid.UUID, name string, action accessv1.Action) context.Context {
	return evidence.With(ctx, evidence.NewJob(accessv1.Service_SERVICE_RECORDS, "jobs/"+name, action).For(practice))
}

// start stores a job with its event, or finds the one that runs, and wakes whoever does the work.
func (u *Upkeep) start(ctx context.Context, j store.Job, more func(*pgx.Batch), events func(*evidence.Recorder) []*auditv1.Event) (store.Job, error) {
	if j.Practice == uuid.Nil {
		return store.Job{}, errNoPractice
	}
	j.ID, j.Created = uuid.Must(uuid.NewV7()), u.now()
	var out store.Job
	err := u.access.Do(ctx, pg.Unit{
		Practice: j.Practice,
		Queue: func(b *pgx.Batch) {
			if more != nil {
				more(b)
			}
			store.StartJob(b, j, &out)
		},
		Decide: func() ([]*auditv1.Event, error) { return events(evidence.From(ctx)), nil },
	})
	if err != nil {
		return store.Job{}, err
	}
	u.poke()
	return out, nil
}

// about names a job in an event.
func about(j store.Job) func(*auditv1.Event) { return evidence.Resource("keyJobs/"+j.ID.String(), 0) }

// poke lets the scheduler look for work at once.
func (u *Upkeep) poke() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

var errNoJob = errs.New(errs.KindNotFound, "NOT_FOUND", "There is no such job.")

// Job reads one of the practice's jobs.
func (u *Upkeep) Job(ctx context.Context, practice, id uuid.UUID) (store.Job, error) {
	var j store.Job
	var found bool
	err := u.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue:    func(b *pgx.Batch) { store.ReadJob(b, practice, id, &j, &found) },
		Decide: func() ([]*auditv1.Event, error) {
			if !found {
				return nil, errNoJob
			}
			return []*auditv1.Event{evidence.From(ctx).Event(about(j))}, nil
		},
	})
	return j, err
}

// Jobs reads the practice's jobs from before one on, newest first.
func (u *Upkeep) Jobs(ctx context.Context, practice, before uuid.UUID, limit int) ([]store.Job, error) {
	var list []store.Job
	err := u.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue:    func(b *pgx.Batch) { store.ListJobs(b, practice, before, false, limit, &list) },
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("keyJobs", 0), evidence.Count(len(list)))}, nil
		},
	})
	return list, err
}
