package chart

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Team returns the doctors on the care team of a patient.
func (c *Chart) Team(ctx context.Context, patient uuid.UUID) ([]store.Member, error) {
	return c.team(ctx, patient, "careTeam", nil)
}

var errNotTreating = errs.New(errs.KindPrecondition, "DOCTOR_NOT_TREATING", "The doctor does not treat the patient: put the doctor on the care team, or refer the patient to the doctor, before the booking.").
	WithField("doctor", "must be on the patient's care team, have a referral of the patient, be you, or be a doctor you act for")

// MayBook refuses a doctor's time for a patient whom the doctor does not treat now, by care team
// or referral: such a doctor would see nothing of the appointment in the calendar, and whoever is no doctor
// could fill it. The caller's own time, and that of doctors the caller acts for, is theirs to give, and what was over
// by now takes nobody's. It is for an operation that has its own event, on a patient whom the caller sees.
func (c *Chart) MayBook(ctx context.Context, doctor, patient uuid.UUID, end time.Time) error {
	who, v, err := View(ctx)
	if err != nil || slices.Contains(who.Subjects(), doctor) || end.Before(c.now()) {
		return err
	}
	var seen store.Patient
	var found bool
	err = c.access.Do(ctx, pg.Unit{Practice: v.Practice, Queue: func(b *pgx.Batch) {
		store.ReadPatient(b, store.Viewer{Practice: v.Practice, Subjects: []uuid.UUID{doctor}}, patient, &seen, &found)
	}})
	if err == nil && (!found || !seen.Visible) {
		err = errNotTreating
	}
	return err
}

// AddToTeam lets a doctor see a patient for the member's time. Who is a member gets
// that time instead of the one before.
func (c *Chart) AddToTeam(ctx context.Context, patient uuid.UUID, m store.Member) ([]store.Member, error) {
	if !m.Ends.IsZero() && !m.Ends.After(m.Starts) {
		return nil, errs.New(errs.KindInvalid, "PERIOD_INVALID", "The time on the care team ends before it starts.").
			WithField("end_time", "must be after start_time")
	}
	return c.team(ctx, patient, "careTeam/"+m.User.String(), func(b *pgx.Batch, v store.Viewer) {
		store.AddMember(b, v, patient, m, c.now())
	})
}

// RemoveFromTeam ends it.
func (c *Chart) RemoveFromTeam(ctx context.Context, patient, user uuid.UUID) ([]store.Member, error) {
	return c.team(ctx, patient, "careTeam/"+user.String(), func(b *pgx.Batch, v store.Viewer) {
		store.RemoveMember(b, v, patient, user)
	})
}

// team changes a care team and returns what it is then. Whether the caller may
// see the patient is read before the change: who leaves a team still sees the result.
func (c *Chart) team(ctx context.Context, patient uuid.UUID, name string, change func(*pgx.Batch, store.Viewer)) ([]store.Member, error) {
	_, v, err := View(ctx)
	if err != nil {
		return nil, err
	}
	var owner store.Patient
	var found, treated bool
	var members []store.Member
	var refusal error
	err = c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, v, patient, &owner, &found)
			if change != nil {
				store.ReadTreated(b, v, patient, &treated)
				change(b, v)
			}
			store.ReadTeam(b, v.Practice, patient, &members)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = Judge(ctx, found, owner.Visible, evidence.Patient(patient),
				evidence.Resource(name, 0), evidence.Count(len(members)), ThroughGlass(owner.Glass))
			if refusal == nil && change != nil && !treated {
				if refusal = errReferred; owner.Glass {
					refusal = errGlass
				}
				event = evidence.From(ctx).Event(evidence.Patient(patient), evidence.Resource(name, 0), evidence.Failure(refusal))
			}
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return nil, err
	}
	return members, nil
}

// Owners returns which of the users own something in a practice. It reads no patient.
func (c *Chart) Owners(ctx context.Context, practice uuid.UUID, users []uuid.UUID) ([]uuid.UUID, error) {
	var owners []uuid.UUID
	err := c.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue:    func(b *pgx.Batch) { store.ReadOwners(b, practice, users, &owners) },
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Practice(practice), evidence.Count(len(owners)))}, nil
		},
	})
	return owners, err
}
