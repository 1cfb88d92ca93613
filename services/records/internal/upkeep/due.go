package upkeep

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// rotateAfter is how long erasures gather before the practice's key is rotated for them.
	rotateAfter = day
	// spare is how much before its day a trim that an erasure asks for begins, so that one that fails can be repeated.
	spare = day
	// retryAfter is how long a job that ended as broken stays so. Somebody may have put right what it met.
	retryAfter = day
)

var errTrimOverdue = errs.New(errs.KindPrecondition, "ERASURE_TRIM_OVERDUE",
	"Backups from before an erasure can still be opened, as keys did not let themselves be rewrapped or trimmed in time.")

// cover notes which version of the practice's key the erasures so far wait for: the one after the newest. A patient's
// key is deleted with the erasure, so nobody wraps it anew, and what copies there are have the newest version or an
// older one. In this order: the erasures that the first statement sees were over before Vault is asked.
func (u *Upkeep) cover(ctx context.Context, practice uuid.UUID) error {
	if err := u.access.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { store.TakeErasures(b, practice) }}); err != nil {
		return err
	}
	key, err := u.vault.Key(ctx, envelope.KeyName(practice))
	if err != nil {
		return refused(err)
	}
	return u.access.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { store.CoverErasures(b, practice, key.Latest+1) }})
}

// trimmable is the newest version whose predecessors may be destroyed at a time: nothing is
// wrapped under them, for the configured delay or until an erasure asks for it. Nil: none, or done.
func (u *Upkeep) trimmable(versions []store.KeyVersion, debt store.Debt, now time.Time) *store.KeyVersion {
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		if !v.Trimmed.IsZero() {
			return nil
		}
		if !v.Rewrapped.IsZero() && !now.Before(u.trimDue(v, debt)) {
			return &versions[i]
		}
	}
	return nil
}

// trimDue is the configured delay after the rewrap, or early enough that the delay after an erasure is kept.
func (u *Upkeep) trimDue(v store.KeyVersion, debt store.Debt) time.Time {
	delay := time.Duration(u.limits.TrimDays) * day
	due := v.Rewrapped.Add(delay)
	for _, owed := range debt.Untrimmed {
		if at := owed.Since.Add(delay - spare); owed.Version <= v.Version && at.Before(due) {
			due = at
		}
	}
	return due
}

// due starts what the practice is due for.
func (u *Upkeep) due(ctx context.Context, practice uuid.UUID) error {
	return errors.Join( // what fails holds nothing else up
		u.forgetRequests(ctx, practice), u.keysDue(ctx, practice), u.purge(ctx, practice, time.Duration(u.limits.PurgeDays)*day),
	)
}

// keysDue starts what the practice's keys are due for.
func (u *Upkeep) keysDue(ctx context.Context, practice uuid.UUID) error {
	ctx = jobContext(ctx, practice, "KeepKeys", accessv1.Action_ACTION_KEY_ROTATE)
	s, err := u.status(ctx, practice)
	if err != nil {
		return err
	}
	return errors.Join(
		u.rotateDue(ctx, practice, s), u.rewrapDue(ctx, practice, s), u.trimIfDue(ctx, practice, s),
		u.replaceDue(ctx, practice, s), u.resealDue(ctx, practice), u.scrubDue(ctx, practice, s),
	)
}

func (u *Upkeep) rotateDue(ctx context.Context, practice uuid.UUID, s Status) error {
	var err error
	switch known := s.Versions; {
	case s.Key.Latest > 1 && (len(known) == 0 || known[len(known)-1].Version < s.Key.Latest):
		// A rotation that was killed before it was noted.
		_, err = u.noted(ctx, practice, s.Key)
	case !u.now().Before(s.RotationDue):
		_, err = u.RotatePractice(ctx, practice)
	}
	return err
}

// rewrapDue starts a rewrap where one is called for and none runs: the last one ended before the
// newest version came, or found keys that it could not rewrap.
func (u *Upkeep) rewrapDue(ctx context.Context, practice uuid.UUID, s Status) error {
	if n := len(s.Versions); n == 0 || !s.Versions[n-1].Rewrapped.IsZero() {
		return nil
	}
	var last store.Job
	var found bool
	err := u.access.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { store.LastJob(b, practice, store.JobRewrap, &last, &found) }})
	if err != nil || last.State == store.JobRunning || last.State == store.JobBroken && u.now().Sub(last.Updated) < retryAfter {
		return err
	}
	_, err = u.StartRewrap(ctx, practice)
	return err
}

// trimIfDue destroys old versions. What erasures promise and what cannot be done in time is an alert.
func (u *Upkeep) trimIfDue(ctx context.Context, practice uuid.UUID, s Status) error {
	now := u.now()
	if u.trimmable(s.Versions, s.Debt, now) != nil {
		err := u.Trim(ctx, practice)
		if err == nil || errs.ReasonOf(err) != errs.ReasonOf(errUnwrapped) {
			return err
		}
	}
	for _, owed := range s.Debt.Untrimmed {
		if now.After(owed.Since.Add(time.Duration(u.limits.TrimDays) * day)) {
			return u.alarm(ctx, errTrimOverdue, evidence.Practice(practice), evidence.Resource("practiceKey", int64(owed.Version)))
		}
	}
	return nil
}

// replaceDue replaces a page of the data keys that are due; the next sweep goes on.
func (u *Upkeep) replaceDue(ctx context.Context, practice uuid.UUID, s Status) error {
	if s.Figures.Due == 0 {
		return nil
	}
	var list []store.DataKey
	err := u.access.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.DueDataKeys(b, practice, u.cutoff(), u.limits.DataKeySeals, page, &list)
	}})
	if err != nil {
		return err
	}
	for _, k := range list {
		if _, err := u.replace(ctx, practice, k); err != nil {
			return err
		}
	}
	return nil
}

// resealDue starts the re-encryption anew of keys that were replaced and are there, as it ended broken.
func (u *Upkeep) resealDue(ctx context.Context, practice uuid.UUID) error {
	var list []uuid.UUID
	err := u.access.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.RetiredKeys(b, practice, u.now().Add(-retryAfter), page, &list)
	}})
	if err != nil {
		return err
	}
	for _, key := range list {
		if _, err := u.startReseal(ctx, practice, key); err != nil {
			return err
		}
	}
	return nil
}

func (u *Upkeep) scrubDue(ctx context.Context, practice uuid.UUID, s Status) error {
	if u.now().Sub(s.LastScrub) < time.Duration(u.limits.ScrubDays)*day {
		return nil
	}
	_, err := u.StartScrub(ctx, practice)
	return err
}
