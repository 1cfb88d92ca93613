package life

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Hold is a legal hold with what it is about.
type Hold struct {
	store.Hold
	Matter string
}

// Place places a hold on a patient, deleted ones too, or on the practice (uuid.Nil).
func (l *Life) Place(ctx context.Context, patient uuid.UUID, reason int16, matter string) (Hold, error) {
	user, v, err := view(ctx)
	if err != nil {
		return Hold{}, err
	}
	if _, err := l.keys.Practice(ctx, v.Practice); err != nil { // a hold may be the first thing of a practice
		return Hold{}, err
	}
	owner, err := l.owner(ctx, v, patient)
	if err != nil {
		return Hold{}, err
	}
	h := Hold{Matter: matter, Hold: store.Hold{
		ID: uuid.Must(uuid.NewV7()), Patient: patient, Reason: reason, KeyID: owner.KeyID, PlacedBy: user, Placed: l.now(),
	}}
	key, err := l.keys.Get(ctx, v.Practice, keys.Wrapped{ID: owner.KeyID, Patient: owner.ID, Blob: owner.Wrapped})
	if err != nil {
		return Hold{}, err
	}
	defer key.Release()
	if h.Sealed, err = key.Seal(binding(v.Practice, h.Hold), []byte(matter)); err != nil {
		return Hold{}, err
	}
	var done bool
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice, Alone: true,
		Queue: func(b *pgx.Batch) { store.PlaceHold(b, v.Practice, h.Hold, &done) },
		Decide: func() ([]*auditv1.Event, error) {
			if !done {
				return nil, errChanged // the patient was erased, or got a new key
			}
			return []*auditv1.Event{evidence.From(ctx).Event(aboutHold(h.Hold))}, nil
		},
	})
	return h, err
}

// owner reads the patient whom something is about, also one whose chart is deleted.
func (l *Life) owner(ctx context.Context, v store.Viewer, patient uuid.UUID) (store.Patient, error) {
	var found []store.Patient
	err := l.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.ReadPatients(b, v, []uuid.UUID{patient}, &found) },
	})
	if err != nil {
		return store.Patient{}, err
	}
	if len(found) == 0 || !found[0].Visible {
		return store.Patient{}, errNotFound
	}
	return found[0], nil
}

// Release ends a hold, by another person than placed it.
func (l *Life) Release(ctx context.Context, id uuid.UUID) (Hold, error) {
	user, v, err := view(ctx)
	if err != nil {
		return Hold{}, err
	}
	var row store.Hold
	var found, done bool
	now := l.now()
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			store.LockHold(b, v, id, &row, &found)
			store.ReleaseHold(b, v, id, user, now, &done)
		},
		Decide: func() ([]*auditv1.Event, error) {
			switch {
			case !found:
				return nil, errNotFound
			case row.ReleasedBy != uuid.Nil:
				return nil, errs.New(errs.KindPrecondition, "HOLD_RELEASED", "This legal hold is released already.")
			case !done:
				return nil, errSame
			}
			row.ReleasedBy, row.Released = user, now
			return []*auditv1.Event{evidence.From(ctx).Event(aboutHold(row))}, nil
		},
	})
	if err != nil {
		return Hold{}, err
	}
	return l.openHold(ctx, v.Practice, row)
}

// Holds lists holds, newest first.
func (l *Life) Holds(ctx context.Context, released bool, page Page) ([]Hold, string, error) {
	_, v, err := view(ctx)
	if err != nil {
		return nil, "", err
	}
	before, err := page.before()
	if err != nil {
		return nil, "", err
	}
	var rows []store.Hold
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.ListHolds(b, v, before, released, page.size()+1, &rows) },
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("legalHolds", 0), evidence.Count(min(len(rows), page.size())))}, nil
		},
	})
	if err != nil {
		return nil, "", err
	}
	rows, next := cut(rows, page, func(h store.Hold) uuid.UUID { return h.ID })
	out := make([]Hold, len(rows))
	for i, row := range rows {
		if out[i], err = l.openHold(ctx, v.Practice, row); err != nil {
			return nil, "", err
		}
	}
	return out, next, nil
}

func (l *Life) openHold(ctx context.Context, practice uuid.UUID, row store.Hold) (Hold, error) {
	key, err := l.keys.Get(ctx, practice, keys.Wrapped{ID: row.KeyID, Patient: row.Patient, Blob: row.Wrapped})
	if err != nil {
		return Hold{}, err
	}
	defer key.Release()
	matter, err := key.Open(binding(practice, row), row.Sealed)
	return Hold{Hold: row, Matter: string(matter)}, err
}

func binding(practice uuid.UUID, h store.Hold) envelope.Binding {
	return envelope.Binding{Practice: practice, Patient: h.Patient, Type: store.TypeHold, ID: h.ID, Version: 1, KeyID: h.KeyID}
}

func aboutHold(h store.Hold) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		evidence.Resource("legalHolds/"+h.ID.String(), 0)(e)
		if h.Patient != uuid.Nil {
			evidence.Patient(h.Patient)(e)
		}
	}
}

// Retention returns how long the practice keeps records.
func (l *Life) Retention(ctx context.Context) (out store.Keeping, err error) {
	_, v, err := view(ctx)
	if err != nil {
		return out, err
	}
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.ReadRetention(b, v.Practice, &out) },
		Decide:   func() ([]*auditv1.Event, error) { return []*auditv1.Event{evidence.From(ctx).Event()}, nil },
	})
	return out, err
}

// SetRetention changes it. Who does so answers for the purges that nobody asks for.
func (l *Life) SetRetention(ctx context.Context, years int, automatic bool) error {
	user, v, err := view(ctx)
	if err != nil {
		return err
	}
	if years < store.Retention {
		return errs.New(errs.KindInvalid, "RETENTION_TOO_SHORT", "Records are kept for seven calendar years after the last contact at least.").
			WithField("years", "must be 7 or more")
	}
	return l.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.SetRetention(b, v.Practice, store.Keeping{Years: years, Automatic: automatic, ChangedBy: user}, l.now())
		},
		Decide: func() ([]*auditv1.Event, error) {
			reason := "PURGE_ON_REQUEST"
			if automatic {
				reason = "PURGE_AUTOMATIC"
			}
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(years), evidence.Reason(reason))}, nil
		},
	})
}
