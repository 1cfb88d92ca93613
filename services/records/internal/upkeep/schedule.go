package upkeep

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// leader is the advisory lock of the one replica that works. The database gives it up
	// with the connection; should two work for a moment, each step is safe beside the other.
	leader = 0x63_6b_75_70
	// sweepEvery is how often all practices are looked through for what is due.
	sweepEvery = time.Hour
	manyJobs   = 100
	page       = 500
)

// Run works until ctx ends. Failures are logged and tried again.
func (u *Upkeep) Run(ctx context.Context) {
	ticker := time.NewTicker(time.Duration(u.limits.PollSeconds) * time.Second)
	defer ticker.Stop()
	for {
		if err := u.Tick(ctx); err != nil && ctx.Err() == nil {
			u.log.WarnContext(ctx, "upkeep", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-u.wake:
		}
	}
}

// Tick does what there is to do, if no other replica is at it.
func (u *Upkeep) Tick(ctx context.Context) error {
	conn, err := u.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var mine bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", leader).Scan(&mine); err != nil || !mine {
		return err
	}
	defer u.unlock(ctx, conn)
	if now := u.now(); now.Sub(u.swept) >= sweepEvery {
		if err := u.sweep(ctx); err != nil {
			return err
		}
		u.swept = now
	}
	if err := u.work(ctx); err != nil {
		return err
	}
	return u.buildAll(ctx)
}

// unlock gives the lock back; a connection on which that fails is closed, which does it too.
func (u *Upkeep) unlock(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", leader); err != nil {
		_ = conn.Conn().Close(ctx)
	}
}

// work gives the jobs of all practices a turn, one after the other.
func (u *Upkeep) work(ctx context.Context) error {
	var jobs []store.Job
	if err := u.access.Do(ctx, pg.Unit{Queue: func(b *pgx.Batch) { store.RunningJobs(b, u.now(), manyJobs, &jobs) }}); err != nil {
		return err
	}
	var failed error
	for _, j := range jobs {
		run := map[string]func(context.Context, store.Job) error{store.JobRewrap: u.rewrap, store.JobReseal: u.reseal, store.JobScrub: u.scrub}[j.Kind]
		if err := run(ctx, j); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// The others go on: one practice's trouble is not theirs.
			u.log.WarnContext(ctx, "job", "job", j.ID, "kind", j.Kind, "error", err)
			if err := u.access.Do(ctx, pg.Unit{Practice: j.Practice, Queue: func(b *pgx.Batch) { store.WaitJob(b, j, u.now()) }}); err != nil {
				failed = errors.Join(failed, err) // also where its practice has left
			}
			continue
		}
		u.poke() // it is done, or has had its turn and goes on after the others
	}
	return failed
}

// buildAll gives the index of each practice where one is built or dropped a turn.
func (u *Upkeep) buildAll(ctx context.Context) error {
	var practices []uuid.UUID
	if err := u.access.Do(ctx, pg.Unit{Queue: func(b *pgx.Batch) { store.UnfinishedIndexes(b, manyJobs, &practices) }}); err != nil {
		return err
	}
	for _, practice := range practices {
		if err := u.build(ctx, practice); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			u.log.WarnContext(ctx, "index build", "practice", practice, "error", err)
			continue
		}
		u.poke()
	}
	return nil
}

// sweep starts what is due in any practice.
func (u *Upkeep) sweep(ctx context.Context) error {
	for after := uuid.Nil; ; {
		var list []uuid.UUID
		if err := u.access.Do(ctx, pg.Unit{Queue: func(b *pgx.Batch) { store.Practices(b, after, page, &list) }}); err != nil {
			return err
		}
		for _, practice := range list {
			if err := u.due(ctx, practice); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				u.log.WarnContext(ctx, "due work", "practice", practice, "error", err)
			}
		}
		if len(list) < page {
			return nil
		}
		after = list[len(list)-1]
	}
}
