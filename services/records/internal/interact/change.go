package interact

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/policy"
)

// Change is one change of a set. The id of a new resource is the caller's choice, so
// that others of the set can name it.
type Change struct {
	Kind  policy.Change
	Type  string
	ID    uuid.UUID
	JSON  []byte // empty where a resource is deleted
	Match int64  // the version that was read; 0 takes whatever is current
	// Unless is what a conditional create has to go without; nil where it has no condition.
	Unless chart.Criteria
}

func (c Change) ref() store.Ref { return store.Ref{Type: c.Type, ID: c.ID} }

// EntryError is why one change of a set cannot be made.
type EntryError struct {
	Index int
	Err   error
}

// Error is the text of the cause.
func (e *EntryError) Error() string { return fmt.Sprintf("change %d: %v", e.Index, e.Err) }

// Unwrap returns the cause.
func (e *EntryError) Unwrap() error { return e.Err }

var (
	errType    = errs.New(errs.KindInvalid, "TYPE_UNSUPPORTED", "Resources of this type belong to no patient and no practice, and are not stored here.")
	errNoOwner = errs.New(errs.KindPrecondition, "REFERENCE_UNKNOWN", "The resource names no patient who is here, or a resource that is not: correct its references.")
	errTwo     = errs.New(errs.KindPrecondition, "PATIENT_AMBIGUOUS", "The resource is about two patients: it can stand in the chart of one only.")
	errMoved   = errs.New(errs.KindPrecondition, "PATIENT_CHANGED", "A resource stays in the chart of its patient: create another one in the other chart.")
	errTreated = errs.New(errs.KindDenied, "NOT_TREATED", "Changing this type of resource takes a place on the patient's care team.")
	errNoTeam  = errs.New(errs.KindPrecondition, "NO_DOCTOR", "Nobody could see this patient: the caller is no doctor and acts for none.")
	errKey     = errs.New(errs.KindPrecondition, "KEY_EXHAUSTED", "The patient's data key has sealed as many documents as is safe (2^31): rotate it.")
)

// set is a set of changes on its way.
type set struct {
	*Store
	changes  []Change
	view     access.View
	user     uuid.UUID
	viewer   store.Viewer
	practice *keys.Practice
	// fresh are patients that the set creates, by id.
	fresh map[uuid.UUID]*freshPatient
	known knowledge
	rows  []store.Document // one for each change
}

// Apply makes all changes, or none. It returns what they made, in their order.
func (s *Store) Apply(ctx context.Context, changes []Change) ([]chart.Document, error) {
	c, v, err := chart.View(ctx)
	if err != nil {
		return nil, err
	}
	// Changes are not made through a broken glass here; the typed API marks those that it allows.
	v.User = uuid.Nil
	w := &set{Store: s, changes: changes, view: c.View(), user: c.User, viewer: v, fresh: map[uuid.UUID]*freshPatient{}}
	if w.practice, err = s.keys.Practice(ctx, v.Practice); err != nil {
		return nil, err
	}
	for i, change := range changes {
		if err := w.permitted(change); err != nil {
			return nil, &EntryError{i, err}
		}
	}
	if err := w.look(ctx); err != nil {
		return nil, err
	}
	defer w.release()
	if err := w.seal(ctx); err != nil {
		return nil, err
	}
	if err := w.commit(ctx); err != nil {
		return nil, err
	}
	out := make([]chart.Document, len(changes))
	for i, row := range w.rows {
		out[i] = chart.Bare(row)
		out[i].JSON = changes[i].JSON
	}
	return out, nil
}

func (w *set) permitted(c Change) error {
	if c.Type != fhir.TypePatient && !fhir.Clinical(c.Type) && !fhir.Directory(c.Type) {
		return errType
	}
	if c.Type == fhir.TypePatient && c.Kind == policy.Create {
		if len(w.viewer.Subjects) == 0 && !w.viewer.Whole {
			return errNoTeam
		}
		w.fresh[c.ID] = &freshPatient{}
	}
	return policy.CheckChange(w.view, c.Kind, c.Type)
}

// commit writes everything in one transaction. What was looked at before is looked at
// again: a chart may have been closed, a key replaced, a resource changed meanwhile.
func (w *set) commit(ctx context.Context) error {
	err := w.index.Use(ctx, w.viewer.Practice, func(generations []index.Generation) error { return w.write(ctx, generations) })
	if err != nil {
		return err
	}
	for _, f := range w.fresh {
		w.keys.Keep(w.viewer.Practice, f.key)
	}
	return nil
}

// entries are the index entries of what is stored.
func (w *set) entries(generations []index.Generation) (out []store.Entry) {
	for i, row := range w.rows {
		if w.changes[i].Kind != policy.Delete && index.Has(row.Type) {
			out = append(out, store.Entry{Document: row, Index: index.Entries(generations, row, w.changes[i].JSON)})
		}
	}
	return out
}

// bookings are the places in the calendar of what is stored.
func (w *set) bookings() (out []store.Booking, err error) {
	for i, row := range w.rows {
		if w.changes[i].Kind == policy.Delete {
			continue
		}
		list, err := chart.Bookings(w.practice, row, w.changes[i].JSON, w.now())
		if err != nil {
			return nil, &EntryError{i, err}
		}
		out = append(out, list...)
	}
	return out, nil
}

func (w *set) write(ctx context.Context, generations []index.Generation) error {
	now := w.now()
	entries := w.entries(generations)
	bookings, err := w.bookings()
	if err != nil {
		return err
	}
	unless, err := w.conditions(generations)
	if err != nil {
		return err
	}
	var seen []store.Generation
	var occupied []store.Occupied
	var owners []store.Patient
	var stored []store.Ref
	made, ended := make([]bool, len(w.rows)), make([]bool, len(w.rows))
	versions := make([]int64, len(w.rows))
	return w.access.Do(ctx, pg.Unit{
		Practice: w.viewer.Practice,
		Alone:    len(w.rows) > aloneFrom || len(bookings) > 0 || len(unless.locks) > 0, // it may wait for others who want the same
		Queue: func(b *pgx.Batch) {
			clear(made) // a group that was rolled back runs again
			clear(ended)
			unless.queue(b, w.viewer)
			store.ReadPatients(b, w.viewer, w.owners(), &owners)
			var puts []store.Document
			for i, row := range w.rows {
				switch {
				case w.changes[i].Kind == policy.Delete:
					store.DeleteDocument(b, w.viewer, row.Type, row.ID, row.Patient, row.Version-1, now, &versions[i], &ended[i])
					w.forget(b, row, now)
				case w.fresh[row.ID] != nil && row.Type == fhir.TypePatient:
					store.CreatePatient(b, w.viewer.Practice, w.user, w.viewer.Subjects, store.Request{}, row, &made[i])
				default:
					puts = append(puts, row)
				}
			}
			store.PutDocuments(b, w.viewer.Practice, puts, now, &stored)
			store.HoldGenerations(b, w.viewer.Practice, &seen)
			store.Reindex(b, w.viewer.Practice, entries)
			store.Occupy(b, w.viewer.Practice, bookings, &occupied)
		},
		Decide: func() ([]*auditv1.Event, error) {
			if !unless.met() {
				return nil, ErrExists
			}
			if !w.unchanged(owners) {
				return nil, errBusy
			}
			for _, ref := range stored {
				made[w.at(ref)] = true
			}
			for i := range w.rows {
				if !made[i] && !ended[i] {
					return nil, errBusy // somebody was quicker
				}
			}
			if taken := chart.Taken(bookings, occupied); len(taken) > 0 {
				return nil, &EntryError{w.at(store.Ref{Type: fhir.TypeAppointment, ID: taken[0]}), chart.ErrTaken}
			}
			return w.events(ctx), index.Check(generations, seen)
		},
	})
}

// forget takes a deleted document out of index and calendar.
func (w *set) forget(b *pgx.Batch, row store.Document, now time.Time) {
	if row.Type == fhir.TypePatient {
		store.HidePatient(b, w.viewer.Practice, row.ID, now)
		return
	}
	if row.Type == fhir.TypeAppointment {
		store.Vacate(b, w.viewer.Practice, row.ID)
	}
	if index.Has(row.Type) {
		store.Unindex(b, w.viewer.Practice, row.Type, row.ID, row.Patient)
	}
}

// aloneFrom is the size of a set from which on it would hold up others of its group.
const aloneFrom = 4

func (w *set) at(ref store.Ref) int {
	for i, c := range w.changes {
		if c.ref() == ref {
			return i
		}
	}
	return 0
}

// unchanged reports whether every chart that is written to is still open to the caller
// and sealed with the key that was used.
func (w *set) unchanged(owners []store.Patient) bool {
	now := map[uuid.UUID]store.Patient{}
	for _, p := range owners {
		now[p.ID] = p
	}
	for _, id := range w.owners() {
		p, ok := now[id]
		was, sealed := w.known.patients[id] // not where something is deleted and nothing sealed
		if !ok || p.Deleted || !p.Visible || sealed && p.KeyID != was.KeyID {
			return false
		}
	}
	return true
}

// owners are the charts that are written to and were there before.
func (w *set) owners() []uuid.UUID {
	seen := map[uuid.UUID]bool{}
	var out []uuid.UUID
	for _, row := range w.rows {
		if w.fresh[row.Patient] == nil && !seen[row.Patient] {
			seen[row.Patient] = true
			out = append(out, row.Patient)
		}
	}
	return out
}

var actions = []accessv1.Action{
	policy.Create: accessv1.Action_ACTION_CREATE, policy.Update: accessv1.Action_ACTION_UPDATE, policy.Delete: accessv1.Action_ACTION_DELETE,
}

func (w *set) events(ctx context.Context) []*auditv1.Event {
	rec := evidence.From(ctx)
	var out []*auditv1.Event
	for _, f := range w.fresh {
		out = append(out, keys.Created(rec, f.wrapped))
	}
	for i, row := range w.rows {
		c := w.changes[i]
		out = append(out, rec.Event(evidence.Action(actions[c.Kind]), chart.About(placeOf(row), row.Version),
			evidence.Digests(w.known.states[c.ref()].Digest, row.Digest)))
	}
	return out
}

func placeOf(row store.Document) chart.Place {
	return chart.Place{Type: row.Type, Patient: row.Patient, ID: row.ID}
}

// failure is the event of a change that is refused.
func failure(ctx context.Context, err error, at chart.Place, version int64) *auditv1.Event {
	return evidence.From(ctx).Event(chart.About(at, version), evidence.Failure(err))
}
