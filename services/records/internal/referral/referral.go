// Package referral lets a doctor of the care team ask another of the practice to see a
// patient too, with a reason and an end. What an accepted referral opens is store.entitled's to say.
package referral

import (
	"context"
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
	collection = "referrals"
	// usual is how long a referral lasts that names no end.
	usual = 30 * 24 * time.Hour
	// Longest is what it may name; the table checks it too.
	Longest = 180 * 24 * time.Hour
	// ahead is how far away it may begin.
	ahead = 180 * 24 * time.Hour
)

var (
	errNone = errs.New(errs.KindNotFound, "NOT_FOUND", "There is no such referral of yours that is open to this.")
	errSelf = errs.New(errs.KindInvalid, "REFERRAL_TO_SELF", "A referral asks another doctor.").
		WithField("to", "must be another user")
	errPeriod = errs.New(errs.KindInvalid, "PERIOD_INVALID", "A referral begins within 180 days, ends after its beginning and not in the past, and lasts 180 days at most.").
			WithField("end_time", "must be later than now and than start_time, by 180 days at most")
	errNotTeam = errs.New(errs.KindDenied, "NOT_THE_CARE_TEAM",
		"You see this patient without being on the care team: ask one of its doctors to refer the patient.")
	errMeanwhile = errs.New(errs.KindConflict, "CHANGED_MEANWHILE", "The patient was changed at the same time: try again.")
)

// Reasons in the audit log.
const (
	reasonMade      = "REFERRED"
	reasonAccepted  = "REFERRAL_ACCEPTED"
	reasonDeclined  = "REFERRAL_DECLINED"
	reasonWithdrawn = "REFERRAL_WITHDRAWN"
)

// Referral is one with its reason in the clear.
type Referral struct {
	store.Referral
	Reason string
}

// Referrals runs the operations. Safe for concurrent use.
type Referrals struct {
	access *pg.Access
	keys   *keys.Keys
	now    func() time.Time
}

// New makes Referrals; now is the server's clock.
func New(access *pg.Access, k *keys.Keys, now func() time.Time) *Referrals {
	return &Referrals{access: access, keys: k, now: now}
}

// Request is what a referral asks. Zero times mean now, and 30 days later.
type Request struct {
	Patient, To  uuid.UUID
	Reason       string
	Starts, Ends time.Time
}

// period fills the times in and checks them.
func (f *Referrals) period(r *Request) error {
	now := f.now()
	if r.Starts.IsZero() {
		r.Starts = now
	}
	if r.Ends.IsZero() {
		r.Ends = r.Starts.Add(usual)
	}
	if r.Starts.After(now.Add(ahead)) || !r.Ends.After(now) || !r.Ends.After(r.Starts) || r.Ends.After(r.Starts.Add(Longest)) {
		return errPeriod
	}
	return nil
}

// Create refers a patient on whose care team the caller is in person.
func (f *Referrals) Create(ctx context.Context, r Request) (Referral, error) {
	c, v, err := chart.View(ctx)
	if err != nil {
		return Referral{}, err
	}
	if r.To == c.User {
		return Referral{}, errSelf
	}
	if err := f.period(&r); err != nil {
		return Referral{}, err
	}
	team := store.Viewer{Practice: c.Practice, Subjects: []uuid.UUID{c.User}}
	owner, err := f.patient(ctx, v, team, r.Patient)
	if err != nil {
		return Referral{}, err
	}
	key, err := f.keys.Get(ctx, c.Practice, keys.Wrapped{ID: owner.KeyID, Patient: r.Patient, Blob: owner.Wrapped})
	if err != nil {
		return Referral{}, err
	}
	defer key.Release()
	row := store.Referral{
		ID: uuid.Must(uuid.NewV7()), Patient: r.Patient, From: c.User, To: r.To, KeyID: key.ID(), Starts: r.Starts, Ends: r.Ends,
	}
	if row.Reason, err = key.Seal(binding(c.Practice, row), []byte(r.Reason)); err != nil {
		return Referral{}, err
	}
	var made store.Referral
	var done bool
	err = f.access.Do(ctx, pg.Unit{
		Practice: c.Practice,
		Queue:    func(b *pgx.Batch) { store.CreateReferral(b, team, row, &made, &done) },
		Decide: func() ([]*auditv1.Event, error) {
			if !done {
				return nil, errMeanwhile
			}
			return []*auditv1.Event{event(ctx, made, evidence.Reason(reasonMade))}, nil
		},
	})
	return Referral{Referral: made, Reason: r.Reason}, err
}

// patient reads who is referred. Who sees the patient otherwise than on the care team is
// told so; for everybody else there is no such patient.
func (f *Referrals) patient(ctx context.Context, v, team store.Viewer, patient uuid.UUID) (store.Patient, error) {
	var owner store.Patient
	var found, treated bool
	var refusal error
	err := f.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, v, patient, &owner, &found)
			store.ReadTreated(b, team, patient, &treated)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var e *auditv1.Event
			e, refusal = chart.Judge(ctx, found && patient != uuid.Nil, owner.Visible, evidence.Patient(patient))
			if refusal == nil && !treated {
				refusal = errNotTeam
				e = evidence.From(ctx).Event(evidence.Patient(patient), evidence.Failure(refusal))
			}
			if refusal == nil {
				return nil, nil // the referral has its own event
			}
			return []*auditv1.Event{e}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	return owner, err
}

// List returns the referrals to and from the caller, newest first, and the token of the
// next page; without closed, those that wait for a decision or are in force.
func (f *Referrals) List(ctx context.Context, closed bool, page chart.Page) ([]Referral, string, error) {
	c, _, err := chart.View(ctx)
	if err != nil {
		return nil, "", err
	}
	after, err := page.After(collection)
	if err != nil {
		return nil, "", err
	}
	var rows []store.Referral
	next := ""
	err = f.access.Do(ctx, pg.Unit{
		Practice: c.Practice,
		Queue: func(b *pgx.Batch) {
			store.ListReferrals(b, c.Practice, c.User, closed, after, page.Limit()+1, &rows)
		},
		Decide: func() ([]*auditv1.Event, error) {
			if next = ""; len(rows) > page.Limit() {
				rows = rows[:page.Limit()]
				last := rows[len(rows)-1]
				next = chart.PageToken(collection, store.Cursor{Created: last.Created, ID: last.ID})
			}
			if len(rows) == 0 {
				return []*auditv1.Event{evidence.From(ctx).Event()}, nil
			}
			events := make([]*auditv1.Event, len(rows))
			for i, r := range rows {
				events[i] = event(ctx, r, evidence.Count(1))
			}
			return events, nil
		},
	})
	if err != nil {
		return nil, "", err
	}
	out := make([]Referral, len(rows))
	for i, r := range rows {
		if out[i], err = f.open(ctx, c, r); err != nil {
			return nil, "", err
		}
	}
	return out, next, nil
}

// Decide accepts or declines a referral that asks the caller.
func (f *Referrals) Decide(ctx context.Context, referral uuid.UUID, accept bool) (Referral, error) {
	decision, why := store.ReferralDeclined, reasonDeclined
	if accept {
		decision, why = store.ReferralAccepted, reasonAccepted
	}
	return f.change(ctx, referral, why, func(b *pgx.Batch, c *caller.Caller, row *store.Referral, done *bool) {
		store.DecideReferral(b, c.Practice, c.User, referral, decision, row, done)
	})
}

// Withdraw ends a referral of the caller's, whichever of its two doctors they are.
func (f *Referrals) Withdraw(ctx context.Context, referral uuid.UUID) (Referral, error) {
	return f.change(ctx, referral, reasonWithdrawn, func(b *pgx.Batch, c *caller.Caller, row *store.Referral, done *bool) {
		store.WithdrawReferral(b, c.Practice, c.User, referral, row, done)
	})
}

func (f *Referrals) change(ctx context.Context, referral uuid.UUID, why string,
	queue func(*pgx.Batch, *caller.Caller, *store.Referral, *bool),
) (Referral, error) {
	c, _, err := chart.View(ctx)
	if err != nil {
		return Referral{}, err
	}
	var row store.Referral
	var done bool
	var refusal error
	err = f.access.Do(ctx, pg.Unit{
		Practice: c.Practice,
		Queue:    func(b *pgx.Batch) { queue(b, c, &row, &done) },
		Decide: func() ([]*auditv1.Event, error) {
			if refusal = nil; !done {
				refusal = errNone
				return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(collection+"/"+referral.String(), 0), evidence.Failure(errNone))}, nil
			}
			return []*auditv1.Event{event(ctx, row, evidence.Reason(why))}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return Referral{}, err
	}
	return f.open(ctx, c, row)
}

// Closed reports whether the referral opens nothing any more, and will not.
func (r Referral) Closed() bool {
	return r.Over || r.Decision == store.ReferralDeclined || !r.Withdrawn.IsZero()
}

// open unseals the reason of a referral that is not closed. One whose key was destroyed
// with its patient is empty.
func (f *Referrals) open(ctx context.Context, c *caller.Caller, row store.Referral) (Referral, error) {
	if out := (Referral{Referral: row}); row.Wrapped == "" || out.Closed() {
		return out, nil
	}
	key, err := f.keys.Get(ctx, c.Practice, keys.Wrapped{ID: row.KeyID, Patient: row.Patient, Blob: row.Wrapped})
	if err != nil {
		return Referral{}, err
	}
	defer key.Release()
	plain, err := key.Open(binding(c.Practice, row), row.Reason)
	if err == nil {
		return Referral{Referral: row, Reason: string(plain)}, nil
	}
	// Not what was stored (claim DH-17): the event is critical.
	if failed := f.access.Do(ctx, pg.Unit{Practice: c.Practice, Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{event(ctx, row, evidence.Failure(err))}, nil
	}}); failed != nil {
		return Referral{}, failed
	}
	return Referral{}, err
}

func event(ctx context.Context, r store.Referral, mods ...func(*auditv1.Event)) *auditv1.Event {
	return evidence.From(ctx).Event(append([]func(*auditv1.Event){
		evidence.Patient(r.Patient), evidence.Resource(collection+"/"+r.ID.String(), 0),
	}, mods...)...)
}

func binding(practice uuid.UUID, r store.Referral) envelope.Binding {
	return envelope.Binding{Practice: practice, Patient: r.Patient, Type: store.TypeReferral, ID: r.ID, Version: 1, KeyID: r.KeyID}
}
