package pg

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
)

// Unit is one access: what it reads and changes, and the events that tell of it.
type Unit struct {
	// Practice is what row-level security lets the statements see; uuid.Nil sees none.
	Practice uuid.UUID
	// Queue adds the statements, with callbacks that take their results. It may
	// be called again after a rollback, so it first resets what it fills. Nil: no
	// statements, only events. No statement may begin or end a transaction, or set
	// carekeep.practice, which the next unit of the same practice goes by.
	Queue func(b *pgx.Batch)
	// Decide runs when all results are in, before the commit, and returns the
	// events to commit with the data, or an error that undoes the unit. Nil: no events.
	Decide func() ([]*auditv1.Event, error)
	// Ended lets the unit run although Options.Guard refuses its practice.
	Ended bool
	// Alone gives the unit a transaction of its own: for statements that are slow
	// or wait for locks, which would hold up a whole group.
	Alone bool
}

// Options of an Access. Append and Committed may be nil where no unit has events.
type Options struct {
	// Append queues the statement that stores the events of a group. What it returns is told
	// once whether they were kept; it is not called where nobody knows.
	Append func(b *pgx.Batch, events []*auditv1.Event) (ended func(kept bool))
	// Inspect looks at the events of a unit before they are stored, and may change them and
	// queue statements that commit with them. It has the context of Do and must not block. Its
	// statements set the practice that row-level security is to show them.
	Inspect func(ctx context.Context, events []*auditv1.Event, b *pgx.Batch)
	// Committed is called after every commit that stored events; it must not block.
	Committed func()
	// Guard may refuse all units of a practice, say of one that has left. It must not block.
	Guard func(practice uuid.UUID) error
	// Explain may say what an error that the database raised means to clients, around that error. Nil leaves it as it is.
	Explain  func(raised *pgconn.PgError) error
	Workers  int           // groups in flight at once; default one for each processor, at least 2
	MaxGroup int           // units in a group; default 64
	Timeout  time.Duration // for a group's statements, and for any commit; default 5 s
}

const (
	// With more groups in flight than processors each group is smaller, and the sum
	// of commits and round trips larger: 4 instead of 2 cost a fifth of the reads on 2 cores.
	minWorkers      = 2
	defaultMaxGroup = 64
	defaultTimeout  = 5 * time.Second
	// rounds bounds how often a group is tried again without a unit that failed.
	rounds = 3
)

// Access commits concurrent units together. A commit waits for the disk; with
// one for many accesses, evidence costs a fraction of a disk write for each.
//
// The units of a group share one transaction, and each sees its own practice
// only. If one fails the group is rolled back and the unit runs alone, so that
// its error stays its own. There are no timers: an idle worker takes whatever waits.
type Access struct {
	pool   *pgxpool.Pool
	opts   Options
	queue  chan *request
	closed chan struct{}
	end    sync.Once
	work   sync.WaitGroup
	spare  sync.Pool // of *transaction
}

// NewAccess starts the workers; Close ends them.
func NewAccess(pool *pgxpool.Pool, opts Options) *Access {
	if opts.Workers == 0 {
		opts.Workers = max(minWorkers, runtime.GOMAXPROCS(0))
	}
	if opts.MaxGroup == 0 {
		opts.MaxGroup = defaultMaxGroup
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	// The queue has no buffer: whoever waits can still leave, and what a worker
	// finds waiting is exactly the senders that are blocked.
	a := &Access{pool: pool, opts: opts, queue: make(chan *request), closed: make(chan struct{})}
	a.spare.New = func() any { return newTransaction(pool, opts) }
	for range opts.Workers {
		a.work.Go(a.worker)
	}
	return a
}

// Close refuses new units and waits for those in work. Close the pool after it.
func (a *Access) Close() {
	a.end.Do(func() { close(a.closed) })
	a.work.Wait()
}

// Do runs the unit and returns nil once it is committed, data and events
// together, and known to the RPC's evidence recorder. An error of kind
// UNAVAILABLE with reason OUTCOME_UNKNOWN means that the connection broke during
// the commit; with any other error nothing of the unit was kept. SQL errors come
// out so that errors.As finds the *pgconn.PgError.
//
// A context that ends while the unit waits withdraws it. Once its group has
// started, Do waits for the outcome, at most for twice the Timeout.
func (a *Access) Do(ctx context.Context, u Unit) error {
	if a.opts.Guard != nil && !u.Ended && u.Practice != uuid.Nil {
		if err := a.opts.Guard(u.Practice); err != nil {
			return err
		}
	}
	r := request{ctx: ctx, unit: &u}
	end := r.startSpan()
	err := a.explained(a.do(&r))
	end(err)
	if err != nil {
		return err
	}
	if len(r.events) > 0 {
		evidence.From(ctx).Committed(r.events)
	}
	return nil
}

func (a *Access) explained(err error) error {
	var sql *pgconn.PgError
	if a.opts.Explain == nil || !errors.As(err, &sql) {
		return err
	}
	if means := a.opts.Explain(sql); means != nil {
		return means
	}
	return err
}

func (a *Access) do(r *request) error {
	if r.unit.Alone {
		select {
		case <-a.closed:
			return errClosed()
		default:
			return a.alone(r)
		}
	}
	r.done = doneChannels.Get().(chan error)
	defer doneChannels.Put(r.done)
	select {
	case a.queue <- r:
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-a.closed:
		return errClosed()
	}
	if err := <-r.done; !errors.Is(err, errRunAlone) {
		return err
	}
	return a.alone(r)
}

// alone runs in the caller's own goroutine: it ends with the caller's context,
// and a panic in the caller's functions is the caller's.
func (a *Access) alone(r *request) error {
	t := a.spare.Get().(*transaction)
	defer a.spare.Put(t)
	group := []*request{r}
	for try := 0; ; try++ {
		out, err := t.attempt(r.ctx, group)
		switch {
		case out == committed:
			return nil
		case out == unknown:
			return errUnknown(err)
		case r.ctx.Err() != nil:
			return r.ctx.Err()
		case try == 0 && (out == lost || transient(err)):
		case out == lost:
			return errUnavailable(err)
		default:
			return err
		}
	}
}

func (a *Access) worker() {
	t := newTransaction(a.pool, a.opts)
	group := make([]*request, 0, a.opts.MaxGroup)
	for {
		select {
		case <-a.closed:
			return
		case r := <-a.queue:
			group = a.gather(append(group[:0], r))
		}
		all := group
		for round := 0; len(group) > 0; round++ {
			group = a.settle(t, group, round)
		}
		clear(all) // an idle worker keeps no request alive
	}
}

// gather adds what waits right now. Yielding once lets callers that were just
// woken reach the queue: larger groups for microseconds of delay.
func (a *Access) gather(group []*request) []*request {
	runtime.Gosched()
	for len(group) < a.opts.MaxGroup {
		select {
		case r := <-a.queue:
			group = append(group, r)
		default:
			return group
		}
	}
	return group
}

// settle tries the group once, answers the units whose fate is known, and
// returns those to try again.
func (a *Access) settle(t *transaction, group []*request, round int) []*request {
	ctx, cancel := a.groupContext(group)
	defer cancel()
	out, err := t.guarded(ctx, group)
	switch {
	case out == committed:
		return answer(group, nil)
	case out == unknown:
		return answer(group, errUnknown(err))
	case len(group) == 1 && out == refused && !transient(err):
		return answer(group, err)
	case out == lost || round == rounds:
		return answer(group, errRunAlone)
	}
	innocent := group[:0]
	for _, r := range group {
		if r.culprit {
			r.done <- errRunAlone
		} else {
			innocent = append(innocent, r)
		}
	}
	if len(innocent) == len(group) { // nobody knows whose fault it was
		return answer(group, errRunAlone)
	}
	return innocent
}

// groupContext belongs to no single unit, except for tracing: the statements of
// a group show in the trace of the first unit that is traced.
func (a *Access) groupContext(group []*request) (context.Context, context.CancelFunc) {
	if len(group) == 1 {
		group[0].size = 1
		return group[0].ctx, func() {}
	}
	leader := group[0]
	for _, r := range group {
		if r.span != nil {
			leader = r
			break
		}
	}
	for _, r := range group {
		r.size, r.leader = len(group), leader.span
	}
	return context.WithTimeout(context.WithoutCancel(leader.ctx), a.opts.Timeout)
}

func answer(group []*request, err error) []*request {
	for _, r := range group {
		r.done <- err
	}
	return nil
}

// errRunAlone tells a waiting Do to run its unit itself.
var errRunAlone = errors.New("run alone")

func errClosed() error {
	return errs.New(errs.KindUnavailable, "SHUTTING_DOWN", "the service is shutting down; try again")
}

func errUnavailable(cause error) error {
	return errs.Wrap(cause, errs.KindUnavailable, "DATABASE_UNAVAILABLE", "the database cannot be reached; try again").WithRetry(time.Second)
}

func errUnknown(cause error) error {
	return errs.Wrap(cause, errs.KindUnavailable, "OUTCOME_UNKNOWN",
		"the database connection broke during the commit: the change may or may not have been kept; look before you try again")
}
