package upkeep

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

var (
	errNotDue = errs.New(errs.KindPrecondition, "KEY_TRIM_NOT_DUE",
		"There is no old version that may be destroyed yet: keyStatus tells when there is.")
	errUnwrapped = errs.New(errs.KindPrecondition, "KEY_TRIM_REWRAP_FIRST",
		"Keys are still wrapped under an old version: a rewrap was started; trim once it is done.")
)

// RotatePractice gives the practice's key a new version and starts the rewrap.
// It is also what makes backups from before an erasure unreadable, once the version
// before it is trimmed.
func (u *Upkeep) RotatePractice(ctx context.Context, practice uuid.UUID) (store.Job, error) {
	if _, err := u.keys.Practice(ctx, practice); err != nil { // the first use of a practice makes its key
		return store.Job{}, err
	}
	name := envelope.KeyName(practice)
	if err := u.cover(ctx, practice); err != nil {
		return store.Job{}, err
	}
	if err := u.vault.RotateKey(ctx, name); err != nil {
		return store.Job{}, refused(err)
	}
	key, err := u.vault.Key(ctx, name)
	if err != nil {
		return store.Job{}, refused(err)
	}
	return u.noted(ctx, practice, key)
}

// noted stores that there is a newer version, and starts the rewrap.
func (u *Upkeep) noted(ctx context.Context, practice uuid.UUID, key transit.Key) (store.Job, error) {
	var fresh bool
	return u.start(ctx, store.Job{Practice: practice, Kind: store.JobRewrap}, func(b *pgx.Batch) {
		store.LockVersions(b, practice)
		store.AddKeyVersion(b, practice, key.Latest, u.now(), &fresh)
	}, func(rec *evidence.Recorder) []*auditv1.Event {
		return []*auditv1.Event{rec.Event(evidence.Action(accessv1.Action_ACTION_KEY_ROTATE), aboutPractice(practice, key.Latest))}
	})
}

// StartRewrap starts the rewrap of all keys of the practice.
func (u *Upkeep) StartRewrap(ctx context.Context, practice uuid.UUID) (store.Job, error) {
	return u.start(ctx, store.Job{Practice: practice, Kind: store.JobRewrap}, nil, func(rec *evidence.Recorder) []*auditv1.Event {
		return []*auditv1.Event{rec.Event(evidence.Action(accessv1.Action_ACTION_KEY_REWRAP), evidence.Practice(practice))}
	})
}

// aboutPractice names a version of a practice's key.
func aboutPractice(practice uuid.UUID, version int) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		evidence.Practice(practice)(e)
		evidence.Resource("practiceKey", int64(version))(e)
	}
}

// Trim destroys the old versions of the practice's key that are due.
func (u *Upkeep) Trim(ctx context.Context, practice uuid.UUID) error {
	var versions []store.KeyVersion
	var debt store.Debt
	err := u.access.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) {
		store.ReadKeyVersions(b, practice, &versions)
		store.ReadDebt(b, practice, &debt)
	}})
	if err != nil {
		return err
	}
	last := u.trimmable(versions, debt, u.now())
	if last == nil {
		return errNotDue
	}
	var left []store.NewKey
	err = u.access.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.OldWraps(b, practice, last.Version, uuid.Nil, 1, &left)
	}})
	if err != nil {
		return err
	}
	if len(left) > 0 { // a restored backup brought them back, or somebody wrote them
		if _, err := u.StartRewrap(ctx, practice); err != nil {
			return err
		}
		return errUnwrapped
	}
	// Should the record fail, the trim is repeated with it: it can be.
	if err := u.vault.TrimKey(ctx, envelope.KeyName(practice), last.Version); err != nil {
		return refused(err)
	}
	return u.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue:    func(b *pgx.Batch) { store.MarkTrimmed(b, practice, last.Version, u.now()) },
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Action(accessv1.Action_ACTION_KEY_DESTROY), aboutPractice(practice, last.Version))}, nil
		},
	})
}

// cutoff is when a data key that is due by its age was made.
func (u *Upkeep) cutoff() time.Time { return u.now().Add(-time.Duration(u.limits.DataKeyDays) * day) }

// Status is what is known of a practice's keys.
type Status struct {
	Key       transit.Key
	Versions  []store.KeyVersion
	Wraps     []store.WrapCount
	Figures   store.DataKeyFigures
	Running   []store.Job
	LastScrub time.Time
	// Debt is what erasures ask of the practice's key.
	Debt store.Debt
	// RotationDue is when the practice's key gets its next version; TrimDue when old ones
	// may be destroyed, zero where there are none or some are in use.
	RotationDue, TrimDue time.Time
}

// Status reads the state of a practice's keys and records that it was read.
func (u *Upkeep) Status(ctx context.Context, practice uuid.UUID) (Status, error) {
	if _, err := u.keys.Practice(ctx, practice); err != nil {
		return Status{}, err
	}
	s, err := u.status(ctx, practice)
	if err != nil {
		return Status{}, err
	}
	return s, u.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("practiceKey", 0))}, nil
	}})
}

func (u *Upkeep) status(ctx context.Context, practice uuid.UUID) (Status, error) {
	var s Status
	var err error
	if s.Key, err = u.vault.Key(ctx, envelope.KeyName(practice)); err != nil {
		return Status{}, refused(err)
	}
	err = u.access.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.ReadKeyVersions(b, practice, &s.Versions)
		store.ReadDebt(b, practice, &s.Debt)
		store.CountWraps(b, practice, &s.Wraps)
		store.ReadDataKeyFigures(b, practice, u.cutoff(), u.limits.DataKeySeals, &s.Figures)
		store.ListJobs(b, practice, uuid.Max, true, manyJobs, &s.Running)
		store.LastScrub(b, practice, &s.LastScrub)
	}})
	if err != nil {
		return Status{}, err
	}
	s.RotationDue = s.Key.Created[s.Key.Latest].Add(time.Duration(u.limits.PracticeKeyDays) * day)
	if first := s.Debt.Unrotated; !first.IsZero() && s.RotationDue.After(first.Add(rotateAfter)) {
		s.RotationDue = first.Add(rotateAfter)
	}
	for _, v := range s.Versions {
		if v.Trimmed.IsZero() && !v.Rewrapped.IsZero() {
			s.TrimDue = u.trimDue(v, s.Debt)
			break
		}
	}
	return s, nil
}

// refused keeps Vault's refusal of this service from reading as a refusal of the user.
func refused(err error) error {
	if errs.KindOf(err) == errs.KindDenied {
		return errs.Wrap(err, errs.KindInternal, "KEY_SERVICE_REFUSED", "internal error")
	}
	return err
}
