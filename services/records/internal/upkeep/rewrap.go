package upkeep

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// rewrapBatch is how many keys one call of the key service and one transaction take.
const rewrapBatch = 500

// rewrap moves all keys of the practice to the newest version. What is done is no longer old,
// so after a kill it goes on with what is left.
func (u *Upkeep) rewrap(ctx context.Context, j store.Job) error {
	ctx = jobContext(ctx, j.Practice, "RewrapKeys", accessv1.Action_ACTION_KEY_REWRAP)
	name := envelope.KeyName(j.Practice)
	key, err := u.vault.Key(ctx, name)
	if err != nil {
		return err
	}
	if j.Total == 0 {
		if j.Total, err = u.countOld(ctx, j.Practice, key.Latest); err != nil {
			return err
		}
	}
	r := rewrapping{Upkeep: u, job: &j, name: name, latest: key.Latest, broken: map[uuid.UUID]bool{}}
	// Once more from the start until nothing is left: keys come meanwhile, and another
	// replica may have been at it.
	for range rewrapPasses {
		seen, err := r.pass(ctx)
		if err != nil {
			return err
		}
		if seen == len(r.broken) {
			return u.rewrapped(ctx, j, key.Latest)
		}
	}
	return nil // the next tick goes on
}

// rewrapPasses bounds how often one turn goes through the keys.
const rewrapPasses = 4

// rewrapping is one turn of a rewrap.
type rewrapping struct {
	*Upkeep
	job    *store.Job
	name   string
	latest int
	broken map[uuid.UUID]bool // keys that do not open, which stay as they are
}

// pass goes through the old keys once and returns how many it saw.
func (r *rewrapping) pass(ctx context.Context) (seen int, err error) {
	for behind := uuid.Nil; ; {
		var list []store.NewKey
		err := r.access.Do(ctx, pg.Unit{Practice: r.job.Practice, Alone: true, Queue: func(b *pgx.Batch) {
			store.OldWraps(b, r.job.Practice, r.latest, behind, rewrapBatch, &list)
		}})
		if err != nil || len(list) == 0 {
			return seen, err
		}
		seen += len(list)
		behind = list[len(list)-1].ID
		if err := r.batch(ctx, list); err != nil {
			return seen, err
		}
	}
}

// batch rewraps some keys and stores them with the progress and an event.
func (r *rewrapping) batch(ctx context.Context, list []store.NewKey) error {
	list, fresh, err := r.wrap(ctx, list)
	if err != nil || len(list) == 0 {
		return err
	}
	next := *r.job
	next.Done += int64(len(list))
	next.Total = max(next.Total, next.Done)
	var stored int64
	err = r.access.Do(ctx, pg.Unit{
		Practice: r.job.Practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			store.Rewrap(b, r.job.Practice, list, fresh, &stored)
			store.SaveJob(b, next, r.now())
		},
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(about(next), evidence.Count(int(stored)))}, nil
		},
	})
	if err == nil {
		*r.job = next
	}
	return err
}

// wrap asks the key service; where one of many does not open it asks for each alone, and leaves
// the broken ones out.
func (r *rewrapping) wrap(ctx context.Context, list []store.NewKey) (good []store.NewKey, fresh []string, err error) {
	old := make([]string, len(list))
	for i, k := range list {
		old[i] = k.Wrapped
	}
	fresh, err = r.vault.Rewrap(ctx, r.name, old)
	if err == nil || errs.KindOf(err) != errs.KindDataLoss {
		return list, fresh, err
	}
	if len(list) > 1 {
		half := len(list) / 2
		good, fresh, err = r.wrap(ctx, list[:half])
		if err != nil {
			return nil, nil, err
		}
		more, moreFresh, err := r.wrap(ctx, list[half:])
		return append(good, more...), append(fresh, moreFresh...), err
	}
	if r.broken[list[0].ID] {
		return nil, nil, nil
	}
	r.broken[list[0].ID] = true
	r.job.Broken = int64(len(r.broken))
	return nil, nil, r.alarm(ctx, err, evidence.Resource("keys/"+list[0].ID.String(), 0))
}

func (u *Upkeep) rewrapped(ctx context.Context, j store.Job, version int) error {
	j.State = store.JobDone
	if j.Broken > 0 {
		j.State = store.JobBroken
	}
	var newest int
	err := u.access.Do(ctx, pg.Unit{
		Practice: j.Practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			store.LockVersions(b, j.Practice)
			store.NewestVersion(b, j.Practice, &newest)
			if j.Broken == 0 { // what does not open now may yet be put right from a backup: its version stays
				store.MarkRewrapped(b, j.Practice, version, u.now())
			}
			store.SaveJob(b, j, u.now())
		},
		Decide: func() ([]*auditv1.Event, error) {
			if newest > version {
				return nil, errNewer
			}
			return []*auditv1.Event{evidence.From(ctx).Event(aboutPractice(j.Practice, version), evidence.Reason("FINISHED"))}, nil
		},
	})
	if errors.Is(err, errNewer) {
		return nil // the job runs on, to the version that came meanwhile
	}
	return err
}

var errNewer = errors.New("the practice's key has a newer version")

func (u *Upkeep) countOld(ctx context.Context, practice uuid.UUID, latest int) (n int64, err error) {
	var wraps []store.WrapCount
	err = u.access.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) { store.CountWraps(b, practice, &wraps) }})
	for _, w := range wraps {
		if w.Version < latest {
			n += w.Keys
		}
	}
	return n, err
}

// alarm records that something is not what was stored, as a critical event; the audit
// service raises an alert for it.
func (u *Upkeep) alarm(ctx context.Context, broken error, mods ...func(*auditv1.Event)) error {
	mods = append(mods, evidence.Failure(broken), evidence.Risk(auditv1.Risk_RISK_CRITICAL))
	return u.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(mods...)}, nil
	}})
}
