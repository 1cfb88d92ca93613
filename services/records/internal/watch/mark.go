package watch

import (
	"context"
	"maps"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

var (
	errNone      = errs.New(errs.KindNotFound, "NOT_FOUND", "There is no such patient.")
	errFull      = errs.New(errs.KindPrecondition, "TOO_MANY_MARKED", "A practice marks at most 4096 patients: take marks back that are not needed.")
	errMeanwhile = errs.New(errs.KindConflict, "CHANGED_MEANWHILE", "Marks were changed at the same time: try again.")
	errCaller    = errs.New(errs.KindUnauthenticated, "NO_CALLER", "The request names no caller.")
	errPractice  = errs.New(errs.KindPrecondition, "NO_PRACTICE", "This needs a user who belongs to a practice.")
)

// stored is what a change starts from.
type stored struct {
	list       *list
	generation int64
	key        store.DataKey
	exists     bool
}

// Set gives a patient of the practice a mark, or takes it back. Whether the caller sees the
// patient does not matter: nothing of the chart is shown. Where the list does not open, a mark that is
// set begins an empty one, which is a critical event: all others are to be set anew.
func (w *Watch) Set(ctx context.Context, patient uuid.UUID, mark Mark, on bool) error {
	c, err := who(ctx)
	if err != nil {
		return err
	}
	practice, err := w.keys.Practice(ctx, c.Practice)
	if err != nil {
		return err
	}
	was, err := w.stored(ctx, c.Practice, patient)
	if err != nil {
		return err
	}
	next := maps.Clone(was.list.marks)
	if next == nil {
		next = map[uuid.UUID]Mark{}
	}
	if next[patient] &^= mark; on {
		next[patient] |= mark
	}
	maps.DeleteFunc(next, func(_ uuid.UUID, m Mark) bool { return m == 0 })
	switch {
	case !was.exists && on:
		return w.refuse(ctx, c, errNone)
	case was.list.broken && !on: // which marks would stay, nobody can say
		return w.refuse(ctx, c, errBroken)
	case len(next) > maxMarked:
		return w.refuse(ctx, c, errFull)
	}
	row := store.WatchList{Generation: was.generation + 1, KeyID: was.key.ID, Wrapped: was.key.Wrapped}
	key, err := w.keys.Get(ctx, c.Practice, keys.Wrapped{ID: was.key.ID, Blob: was.key.Wrapped})
	if err != nil {
		return err
	}
	defer key.Release()
	if row.Sealed, err = key.Seal(binding(c.Practice, row.Generation, row.KeyID), encode(next)); err != nil {
		return err
	}
	var done bool
	err = w.access.Do(ctx, pg.Unit{
		Practice: c.Practice,
		Queue:    func(b *pgx.Batch) { store.WriteWatchList(b, c.Practice, row, &done) },
		Decide: func() ([]*auditv1.Event, error) {
			if !done {
				return nil, errMeanwhile
			}
			events := []*auditv1.Event{changed(ctx, practice, patient, mark, on)}
			if was.list.broken {
				events = append(events, replaced(ctx, c.Practice, row.Generation))
			}
			return events, nil
		},
	})
	if err != nil {
		return err
	}
	w.lists.Set(c.Practice, known{newList(row, next), w.now()})
	return nil
}

// changed tells of a change. A decoy's event does not name the chart: it would tell every reader
// of the log which one it is. The keyed digest of its id lets an investigation find it.
func changed(ctx context.Context, practice *keys.Practice, patient uuid.UUID, mark Mark, on bool) *auditv1.Event {
	if mark == VIP {
		reason := "VIP_CLEARED"
		if on {
			reason = "VIP_SET"
		}
		return evidence.From(ctx).Event(evidence.Patient(patient), evidence.Reason(reason))
	}
	reason := "DECOY_DISARMED"
	if on {
		reason = "DECOY_ARMED"
	}
	return evidence.From(ctx).Event(evidence.Resource("decoys", 0), evidence.Reason(reason),
		evidence.Digests(nil, practice.Index.Digest([]byte("decoy/"+patient.String()))))
}

// stored reads the list as it is now, the key for its next generation, and whether there is such a patient.
func (w *Watch) stored(ctx context.Context, practice, patient uuid.UUID) (stored, error) {
	var row store.WatchList
	var found, keyed bool
	var out stored
	var owners []store.Patient
	err := w.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue: func(b *pgx.Batch) {
			store.ReadWatchList(b, practice, &row, &found)
			store.ReadCurrentKey(b, practice, uuid.Nil, &out.key, &keyed)
			store.ReadPatients(b, store.Viewer{Practice: practice}, []uuid.UUID{patient}, &owners)
		},
	})
	if err != nil {
		return out, err
	}
	if !keyed {
		return out, errs.New(errs.KindInternal, "DIRECTORY_KEY_MISSING", "internal error")
	}
	out.exists = patient != uuid.Nil && len(owners) == 1 && !owners[0].Deleted
	out.generation = row.Generation
	out.list, err = w.open(ctx, practice, row)
	if errs.KindOf(err) == errs.KindDataLoss {
		out.list, err = &list{broken: true}, nil
	}
	return out, err
}

// refuse records an attempt that goes no further.
func (w *Watch) refuse(ctx context.Context, c *caller.Caller, why error) error {
	err := w.access.Do(ctx, pg.Unit{Practice: c.Practice, Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Failure(why))}, nil
	}})
	if err != nil {
		return err
	}
	return why
}

// List returns the patients with a mark.
func (w *Watch) List(ctx context.Context, mark Mark) ([]uuid.UUID, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	have, _ := w.lists.GetIfPresent(c.Practice)
	l, err := w.load(ctx, c.Practice, have.list)
	if err != nil {
		return nil, err
	}
	if l.broken {
		return nil, w.refuse(ctx, c, errBroken)
	}
	marked := l.with(mark)
	err = w.access.Do(ctx, pg.Unit{Practice: c.Practice, Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(len(marked)), evidence.Risk(auditv1.Risk_RISK_MEDIUM))}, nil
	}})
	return marked, err
}

func who(ctx context.Context) (*caller.Caller, error) {
	c, ok := caller.From(ctx)
	switch {
	case !ok:
		return nil, errCaller
	case c.Practice == uuid.Nil:
		return nil, errPractice
	}
	return c, nil
}
