// Package standing records what opens the gates before patient data: trainings
// (claim DH-08), attested devices (claim DTD-26), business associate agreements
// (45 CFR 164.504(e)) and the policy of a practice. Admission reads it at each request.
package standing

import (
	"context"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// Standing records what gates ask for.
type Standing struct{ Store *store.Store }

const (
	// trainingDays is how long a training counts.
	trainingDays = 365
	// AttestedFor is how long an attestation counts; admit has the same figure in SQL.
	AttestedFor = 30 * 24 * time.Hour
	// grace is how long an agreement to an older text counts.
	grace = 30 * 24 * time.Hour
)

var (
	errTraining = errs.New(errs.KindInvalid, "TRAINING_NOT_COUNTED",
		"a training counts if it was completed by now and since the user has the present role").
		WithField("complete_time", "lies in the future, or before the user's role")
	errPosture = errs.New(errs.KindInvalid, "ATTESTATION_INCOMPLETE",
		"attest screen lock, disk encryption and antivirus, each of them").
		WithField("screen_lock", "all three must be true")
	errDevice = errs.New(errs.KindPrecondition, "DEVICE_UNKNOWN",
		"the session has no device; sign in from a client that keeps the device token")
	errPractice = errs.New(errs.KindNotFound, "PRACTICE_NOT_FOUND", "there is no such practice")
	errPeriod   = errs.New(errs.KindInvalid, "BAA_PERIOD", "the agreement must end after it begins").
			WithField("end_time", "must be after start_time")
	errText = errs.New(errs.KindPrecondition, "BAA_VERSION_SUPERSEDED",
		"there is no such practice, or a later text of the agreement was published; have that one signed")
	errPublished = errs.New(errs.KindExists, "BAA_VERSION_PUBLISHED", "this text was published before; name the new one").
			WithField("version", "is taken")
)

// Train records that somebody completed a training.
func (s *Standing) Train(ctx context.Context, c *caller.Caller, target uuid.UUID, course string, completed time.Time) (time.Time, error) {
	tx := s.Store.In(c.Practice)
	found, until := tx.User(target), tx.RecordTraining(target, course, completed, trainingDays, c.User)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		switch {
		case !found.Found():
			return nil, user.ErrNotFound
		case !until.Found():
			return nil, errTraining
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(user.Name(target)+"/training", 0))}, nil
	})
	end, _ := until.One()
	return end, err
}

// Posture is what a user says of their device.
type Posture struct{ ScreenLock, DiskEncryption, Antivirus bool }

// Attest notes that the caller attests the device of the session.
func (s *Standing) Attest(ctx context.Context, c *caller.Caller, p Posture) (store.Attested, error) {
	if p != (Posture{true, true, true}) {
		return store.Attested{}, errPosture
	}
	tx := s.Store.In(c.Practice)
	attested := tx.Attest(c.User, c.Session)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		row, ok := attested.One()
		if !ok {
			return nil, errDevice
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("devices/"+row.Device.String(), 0), evidence.Reason("DEVICE_ATTESTED"))}, nil
	})
	row, _ := attested.One()
	return row, err
}

func baaName(practice uuid.UUID) string { return "practices/" + practice.String() + "/baa" }

// RecordBaa puts a signed agreement in force.
func (s *Standing) RecordBaa(ctx context.Context, c *caller.Caller, practice uuid.UUID, a store.Agreement) (store.Agreement, error) {
	if !a.Begins.Before(a.Ends) {
		return store.Agreement{}, errPeriod
	}
	tx := s.Store.In(c.Practice)
	recorded := tx.RecordAgreement(practice, a, c.User)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !recorded.Found() {
			return nil, errText
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(baaName(practice), 0))}, nil
	})
	return a, err
}

// Baa reads the agreement that was recorded last. A practice reads its own.
func (s *Standing) Baa(ctx context.Context, c *caller.Caller, practice uuid.UUID) (store.Agreement, error) {
	if c.Role != accessv1.RoleKind_ROLE_KIND_SUPERADMIN && c.Practice != practice {
		return store.Agreement{}, errPractice
	}
	tx := s.Store.In(c.Practice)
	known, found := tx.Practice(practice), tx.Agreement(practice)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !known.Found() {
			return nil, errPractice
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(baaName(practice), 0))}, nil
	})
	row, _ := found.One()
	return row, err
}

// Revise publishes a new text of the agreement.
func (s *Standing) Revise(ctx context.Context, c *caller.Caller, version string) error {
	tx := s.Store.In(c.Practice)
	published := tx.ReviseAgreement(version, grace)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !published.Found() {
			return nil, errPublished
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("baa", 0), evidence.Reason("BAA_REVISED"))}, nil
	})
}

// Policy reads what the practice accepts.
func (s *Standing) Policy(ctx context.Context, c *caller.Caller) (store.Policy, error) {
	tx := s.Store.In(c.Practice)
	return policy(ctx, tx, tx.Policy(), errPractice)
}

// SetPolicy changes it, if it is still the version that the caller read.
func (s *Standing) SetPolicy(ctx context.Context, c *caller.Caller, p store.Policy) (store.Policy, error) {
	tx := s.Store.In(c.Practice)
	return policy(ctx, tx, tx.UpdatePolicy(p), user.ErrStale)
}

func policy(ctx context.Context, tx *store.Tx, rows *store.Rows[store.Policy], missing error) (store.Policy, error) {
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		row, ok := rows.One()
		if !ok {
			return nil, missing
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("policy", row.Version))}, nil
	})
	row, _ := rows.One()
	return row, err
}
