package chart

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Team returns the doctors who may see a patient.
func (c *Chart) Team(ctx context.Context, patient uuid.UUID) ([]uuid.UUID, error) {
	return c.team(ctx, patient, "careTeam", func(*pgx.Batch, store.Viewer) {})
}

// AddToTeam lets a doctor see a patient. A member is added once.
func (c *Chart) AddToTeam(ctx context.Context, patient, user uuid.UUID) ([]uuid.UUID, error) {
	return c.team(ctx, patient, "careTeam/"+user.String(), func(b *pgx.Batch, v store.Viewer) {
		store.AddMember(b, v, patient, user, c.now())
	})
}

// RemoveFromTeam ends it.
func (c *Chart) RemoveFromTeam(ctx context.Context, patient, user uuid.UUID) ([]uuid.UUID, error) {
	return c.team(ctx, patient, "careTeam/"+user.String(), func(b *pgx.Batch, v store.Viewer) {
		store.RemoveMember(b, v, patient, user)
	})
}

// team changes a care team and returns what it is then. Whether the caller may
// see the patient is read before the change: who leaves a team still sees the result.
func (c *Chart) team(ctx context.Context, patient uuid.UUID, name string, change func(*pgx.Batch, store.Viewer)) ([]uuid.UUID, error) {
	_, v, err := view(ctx)
	if err != nil {
		return nil, err
	}
	var owner store.Patient
	var found bool
	var members []uuid.UUID
	var refusal error
	err = c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, v, patient, &owner, &found)
			change(b, v)
			store.ReadTeam(b, v.Practice, patient, &members)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = judge(ctx, found, owner.Visible, evidence.Patient(patient),
				evidence.Resource(name, 0), evidence.Count(len(members)))
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
