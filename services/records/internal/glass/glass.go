// Package glass is break-glass: a designated user opens one patient's chart for an hour
// at most, with a reason, an alert and a review by somebody else (45 CFR
// 164.312(a)(2)(ii)). Nothing here asks another service but the key service: it works
// while sign-in is down, as long as the caller's token says that two factors are fresh.
package glass

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// FreshFor is how long two factors count for breaking the glass.
	FreshFor = 5 * time.Minute
	// ReviewWithin is how soon somebody else has to look at it.
	ReviewWithin = 24 * time.Hour
	// Longest is how many minutes a chart stays open at most; the table checks it too.
	Longest = 60
)

// Reasons in the audit log.
const (
	reasonEnded       = "GLASS_ENDED"
	reasonOverdue     = "GLASS_REVIEW_OVERDUE"
	reasonUnjustified = "GLASS_UNJUSTIFIED"
)

var (
	errStale = errs.New(errs.KindDenied, "REAUTHENTICATE",
		"Prove who you are again, with two factors; that counts for five minutes.")
	errNotDesignated = errs.New(errs.KindDenied, "NOT_DESIGNATED",
		"You are not designated to open charts in an emergency: ask an administrator of the practice.")
	errNeedless  = errs.New(errs.KindPrecondition, "GLASS_NEEDLESS", "You see this patient already.")
	errMeanwhile = errs.New(errs.KindConflict, "CHANGED_MEANWHILE", "The patient was changed at the same time: try again.")
	errOwn       = errs.New(errs.KindDenied, "OWN_OPENING", "Somebody else than who opened the chart has to review it.")
	errReviewed  = errs.New(errs.KindPrecondition, "ALREADY_REVIEWED", "This opening was reviewed before.")
	errNone      = errs.New(errs.KindNotFound, "NOT_FOUND", "There is no such opening or user.")
	errSelf      = errs.New(errs.KindDenied, "OWN_DESIGNATION", "Nobody designates themselves: ask another administrator.")
)

// Opening is a chart that was opened, with the reason in the clear.
type Opening struct {
	store.Opening
	Reason string
}

// Glass runs the operations. Safe for concurrent use.
type Glass struct {
	access *pg.Access
	keys   *keys.Keys
	now    func() time.Time
	log    *slog.Logger
}

// New makes a Glass; now is the server's clock, by which two factors are fresh.
func New(access *pg.Access, k *keys.Keys, now func() time.Time, log *slog.Logger) *Glass {
	if log == nil {
		log = slog.Default()
	}
	return &Glass{access: access, keys: k, now: now, log: log}
}

// Break opens a patient's chart to the caller.
func (g *Glass) Break(ctx context.Context, patient uuid.UUID, reason string, minutes int) (Opening, error) {
	c, v, err := chart.View(ctx)
	if err != nil {
		return Opening{}, err
	}
	if c.Authenticated.IsZero() || g.now().Sub(c.Authenticated) > FreshFor {
		return Opening{}, g.refuse(ctx, c, patient, errStale)
	}
	owner, err := g.patient(ctx, c, v, patient)
	if err != nil {
		return Opening{}, err
	}
	key, err := g.keys.Get(ctx, c.Practice, keys.Wrapped{ID: owner.KeyID, Patient: patient, Blob: owner.Wrapped})
	if err != nil {
		return Opening{}, err
	}
	defer key.Release()
	o := store.Opening{ID: uuid.Must(uuid.NewV7()), Patient: patient, User: c.User, KeyID: key.ID()}
	if o.Reason, err = key.Seal(binding(c.Practice, o), []byte(reason)); err != nil {
		return Opening{}, err
	}
	if minutes == 0 {
		minutes = Longest
	}
	var opened store.Opening
	var done bool
	err = g.access.Do(ctx, pg.Unit{
		Practice: c.Practice,
		Queue:    func(b *pgx.Batch) { store.BreakGlass(b, v, o, minutes, &opened, &done) },
		Decide: func() ([]*auditv1.Event, error) {
			if !done {
				return nil, errMeanwhile
			}
			return []*auditv1.Event{event(ctx, opened, evidence.Reason(chart.ReasonGlass), evidence.Risk(auditv1.Risk_RISK_CRITICAL))}, nil
		},
	})
	return Opening{Opening: opened, Reason: reason}, err
}

// patient reads whose chart is to be opened, and refuses where it may not be.
func (g *Glass) patient(ctx context.Context, c *caller.Caller, v store.Viewer, patient uuid.UUID) (store.Patient, error) {
	var owner store.Patient
	var found, designated bool
	var refusal error
	err := g.access.Do(ctx, pg.Unit{
		Practice: c.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, v, patient, &owner, &found)
			store.ReadDesignated(b, c.Practice, c.User, &designated)
		},
		Decide: func() ([]*auditv1.Event, error) {
			switch {
			case !designated: // first: who is not learns nothing about patients
				refusal = errNotDesignated
			case !found || patient == uuid.Nil:
				refusal = chart.NotFound
			case owner.Visible:
				refusal = errNeedless
			case owner.Exhausted():
				refusal = errs.New(errs.KindPrecondition, "KEY_EXHAUSTED", "The patient's data key has sealed as many documents as is safe (2^31): rotate it.")
			default:
				refusal = nil
				return nil, nil // the opening has its own event
			}
			return []*auditv1.Event{refused(ctx, patient, refusal)}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	return owner, err
}

func refused(ctx context.Context, patient uuid.UUID, why error) *auditv1.Event {
	return evidence.From(ctx).Event(evidence.Patient(patient), evidence.Failure(why), evidence.Risk(auditv1.Risk_RISK_HIGH))
}

// refuse records an attempt that goes no further.
func (g *Glass) refuse(ctx context.Context, c *caller.Caller, patient uuid.UUID, why error) error {
	err := g.access.Do(ctx, pg.Unit{Practice: c.Practice, Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{refused(ctx, patient, why)}, nil
	}})
	if err != nil {
		return err
	}
	return why
}

// End closes an opening of the caller's own.
func (g *Glass) End(ctx context.Context, opening uuid.UUID) (Opening, error) {
	c, _, err := chart.View(ctx)
	if err != nil {
		return Opening{}, err
	}
	var ended store.Opening
	var done bool
	if err := g.one(ctx, c, func(b *pgx.Batch) { store.EndGlass(b, c.Practice, c.User, opening, &ended, &done) }, func() (*auditv1.Event, error) {
		if !done {
			return nil, errNone
		}
		return event(ctx, ended, evidence.Reason(reasonEnded), evidence.Risk(auditv1.Risk_RISK_HIGH)), nil
	}); err != nil {
		return Opening{}, err
	}
	return g.open(ctx, c.Practice, ended)
}

// one runs a change that either has an event or is refused, which is an event too.
func (g *Glass) one(ctx context.Context, c *caller.Caller, queue func(*pgx.Batch), decide func() (*auditv1.Event, error)) error {
	var refusal error
	err := g.access.Do(ctx, pg.Unit{
		Practice: c.Practice,
		Queue:    queue,
		Decide: func() ([]*auditv1.Event, error) {
			var e *auditv1.Event
			if e, refusal = decide(); refusal != nil {
				e = evidence.From(ctx).Event(evidence.Failure(refusal))
			}
			return []*auditv1.Event{e}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	return err
}

// event tells of an opening: of whom, by its id. The reason's text is no part of it.
func event(ctx context.Context, o store.Opening, mods ...func(*auditv1.Event)) *auditv1.Event {
	return evidence.From(ctx).Event(append([]func(*auditv1.Event){
		evidence.Patient(o.Patient), evidence.Resource("glassOpenings/"+o.ID.String(), 0),
	}, mods...)...)
}

func binding(practice uuid.UUID, o store.Opening) envelope.Binding {
	return envelope.Binding{Practice: practice, Patient: o.Patient, Type: store.TypeOpening, ID: o.ID, Version: 1, KeyID: o.KeyID}
}
