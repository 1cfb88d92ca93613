package interact

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/tidwall/gjson"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/policy"
)

// freshPatient is a patient that the set creates, with a data key of its own.
type freshPatient struct {
	key     *envelope.Key
	wrapped keys.Wrapped
}

// knowledge is what the store says of everything that a set names.
type knowledge struct {
	states   map[store.Ref]store.Document
	patients map[uuid.UUID]store.Patient
	// treated are the patients on whose care team the caller is, or acts.
	treated map[uuid.UUID]bool
}

// look reads everything that the set names in one unit, and judges each change. The first
// that is refused ends it, with its event.
func (w *set) look(ctx context.Context) error {
	refs, patients := w.named()
	var states, teams []store.Document
	var known, treated []store.Patient
	var refusal error
	team := w.viewer
	team.Whole = false
	w.rows = make([]store.Document, len(w.changes))
	err := w.access.Do(ctx, pg.Unit{
		Practice: w.viewer.Practice,
		Alone:    len(w.changes) > aloneFrom,
		Queue: func(b *pgx.Batch) {
			store.ReadStates(b, w.viewer, refs, &states)
			store.ReadStates(b, team, refs, &teams)
			store.ReadPatients(b, w.viewer, patients, &known)
			store.ReadPatients(b, team, patients, &treated)
		},
		Decide: func() ([]*auditv1.Event, error) {
			w.learn(states, teams, known, treated)
			for i := range w.changes {
				var event *auditv1.Event
				if event, refusal = w.judge(ctx, i); refusal != nil {
					refusal = &EntryError{i, refusal}
					return []*auditv1.Event{event}, nil //nolint:nilerr // the refusal goes to the client, its event is committed
				}
			}
			return nil, nil // the changes have their own
		},
	})
	if err == nil {
		err = refusal
	}
	return err
}

func (w *set) learn(states, teams []store.Document, known, treated []store.Patient) {
	w.known = knowledge{map[store.Ref]store.Document{}, map[uuid.UUID]store.Patient{}, map[uuid.UUID]bool{uuid.Nil: true}}
	for _, d := range states {
		w.known.states[store.Ref{Type: d.Type, ID: d.ID}] = d
	}
	for _, d := range teams {
		w.known.treated[d.Patient] = d.Visible
	}
	for _, p := range known {
		w.known.patients[p.ID] = p
	}
	for _, p := range treated {
		w.known.treated[p.ID] = p.Visible
	}
}

// named are the resources and the patients that the changes are about or refer to.
func (w *set) named() ([]store.Ref, []uuid.UUID) {
	refs, patients := map[store.Ref]bool{}, map[uuid.UUID]bool{uuid.Nil: true}
	for _, c := range w.changes {
		if c.Kind != policy.Create {
			refs[c.ref()] = true
		}
		if c.Type == fhir.TypePatient {
			patients[c.ID] = true
		}
		for _, ref := range references(c.JSON) {
			refs[ref] = true
		}
		for _, group := range w.subjects(c) {
			for _, id := range group {
				patients[id] = true
			}
		}
	}
	return slices.Collect(maps.Keys(refs)), slices.Collect(maps.Keys(patients))
}

// subjects are the ids that may be those of the patient whom a resource is about, the
// deciding element first.
func (w *set) subjects(c Change) [][]uuid.UUID {
	var out [][]uuid.UUID
	for _, group := range fhir.Subjects(c.Type, c.JSON) {
		var ids []uuid.UUID
		for _, text := range group {
			ref := fhir.ParsePatientReference(text)
			if ref.Kind == fhir.ReferenceOther {
				continue
			}
			if _, isUUID := fhir.ParseUUID(ref.ID); ref.Kind == fhir.ReferenceAbsolute && !isUUID {
				continue // the same id on another server is another patient
			}
			ids = append(ids, fhir.StoreID(w.practice.Index.Digest, fhir.TypePatient, ref.ID))
		}
		out = append(out, ids)
	}
	return out
}

// references are the resources of this server, by UUID, that a document refers to.
func references(doc []byte) []store.Ref {
	var out []store.Ref
	var walk func(gjson.Result)
	walk = func(v gjson.Result) {
		v.ForEach(func(key, value gjson.Result) bool {
			if key.Str == "reference" && value.Type == gjson.String {
				path, _, _ := strings.Cut(value.Str, "/_history/")
				if kind, id, ok := strings.Cut(path, "/"); ok && fhir.Known(kind) {
					if parsed, ok := fhir.ParseUUID(id); ok {
						out = append(out, store.Ref{Type: kind, ID: parsed})
					}
				}
			} else if value.IsObject() || value.IsArray() {
				walk(value)
			}
			return true
		})
	}
	if len(doc) > 0 {
		walk(gjson.ParseBytes(doc))
	}
	return out
}

// judge decides about one change, and plans its row. Where it refuses, the event says why.
func (w *set) judge(ctx context.Context, i int) (*auditv1.Event, error) {
	c := w.changes[i]
	at := chart.Place{Type: c.Type, ID: c.ID}
	was, found := w.known.states[c.ref()]
	if c.Kind != policy.Create {
		at.Patient = was.Patient
		switch event, err := chart.Judge(ctx, found && (!was.Deleted || !was.Visible), was.Visible, chart.About(at, 0)); {
		case err != nil:
			return event, err
		case c.Match != 0 && c.Match != was.Version:
			return failure(ctx, ErrStale, at, 0), ErrStale
		}
	}
	owner, err := w.owner(c, was)
	if err != nil {
		var hidden *hiddenPatient
		if errors.As(err, &hidden) {
			// For the client it is like one who does not exist.
			at.Patient, err = hidden.id, errNoOwner
			return evidence.From(ctx).Event(chart.About(at, 0), evidence.Outcome(auditv1.Outcome_OUTCOME_DENIED, errNoOwner.Kind().Code(), "NOT_ON_CARE_TEAM")), err
		}
		return failure(ctx, err, at, 0), err
	}
	at.Patient = owner
	if err := w.mayWrite(c, owner); err != nil {
		return failure(ctx, err, at, 0), err
	}
	for _, ref := range references(c.JSON) {
		if !w.reachable(ref) {
			return failure(ctx, errNoOwner, at, 0), errNoOwner
		}
	}
	w.rows[i] = store.Document{Type: c.Type, ID: c.ID, Patient: owner, Version: was.Version + 1, Created: was.Created}
	if c.Kind == policy.Create {
		w.rows[i].Version = 1
	}
	return nil, nil
}

// hiddenPatient is a patient who is there and whom the caller may not see.
type hiddenPatient struct{ id uuid.UUID }

func (h *hiddenPatient) Error() string { return "hidden patient" }

// owner is the patient whose chart a change belongs to; nil is the directory.
func (w *set) owner(c Change, was store.Document) (uuid.UUID, error) {
	switch {
	case c.Kind == policy.Delete:
		return was.Patient, nil
	case c.Type == fhir.TypePatient:
		return c.ID, nil
	case fhir.Directory(c.Type):
		return uuid.Nil, nil
	}
	owner, err := w.subject(c)
	if err == nil && c.Kind == policy.Update && owner != was.Patient {
		err = errMoved
	}
	return owner, err
}

func (w *set) subject(c Change) (uuid.UUID, error) {
	hidden := uuid.Nil
	for _, group := range w.subjects(c) {
		owner := uuid.Nil
		for _, id := range group {
			p, known := w.known.patients[id]
			switch {
			case w.fresh[id] == nil && !known || p.Deleted || id == uuid.Nil:
				continue
			case w.fresh[id] == nil && !p.Visible:
				hidden = id
				continue
			case owner != uuid.Nil && owner != id:
				return uuid.Nil, errTwo
			}
			owner = id
		}
		if owner != uuid.Nil {
			return owner, nil
		}
	}
	if hidden != uuid.Nil {
		return uuid.Nil, &hiddenPatient{hidden}
	}
	return uuid.Nil, errNoOwner
}

// mayWrite asks for a place on the care team. The scope of the practice suffices for types
// that have a permission of their own to change them, as with the typed messages.
func (w *set) mayWrite(c Change, owner uuid.UUID) error {
	if w.fresh[owner] != nil || w.known.treated[owner] || policy.HasOwn(c.Kind, c.Type) {
		return nil
	}
	return errTreated
}

// reachable reports whether a reference leads to something that the caller may see, or
// that the set creates.
func (w *set) reachable(ref store.Ref) bool {
	for _, c := range w.changes {
		if c.ref() == ref {
			return c.Kind != policy.Delete
		}
	}
	d, ok := w.known.states[ref]
	return ok && d.Visible && !d.Deleted
}

// seal seals the documents, each under its patient's key.
func (w *set) seal(ctx context.Context) error {
	ring, err := w.ring(ctx)
	if err != nil {
		return err
	}
	defer func() {
		for _, key := range ring {
			key.Release()
		}
	}()
	now := w.now()
	for i := range w.rows {
		row := &w.rows[i]
		if w.changes[i].Kind != policy.Delete {
			if err := chart.Check(w.practice, *row, w.changes[i].JSON); err != nil {
				return &EntryError{i, err}
			}
		}
		row.Updated = now
		if row.Created.IsZero() {
			row.Created = now
		}
		if w.changes[i].Kind == policy.Delete {
			continue
		}
		key := ring[w.known.patients[row.Patient].KeyID]
		if f := w.fresh[row.Patient]; f != nil {
			key, row.Wrapped = f.key, f.wrapped.Blob
		}
		row.KeyID, row.Digest = key.ID(), w.practice.Index.Digest(w.changes[i].JSON)
		if row.Sealed, err = key.Seal(chart.Binding(w.viewer.Practice, *row), w.changes[i].JSON); err != nil {
			return err
		}
	}
	return nil
}

// ring fetches the keys of the charts that are written to, and makes those of new patients.
func (w *set) ring(ctx context.Context) (map[uuid.UUID]*envelope.Key, error) {
	var list []keys.Wrapped
	for i, row := range w.rows {
		p := w.known.patients[row.Patient]
		switch {
		case w.changes[i].Kind == policy.Delete, w.fresh[row.Patient] != nil:
		case p.Exhausted():
			return nil, &EntryError{i, errKey}
		default:
			list = append(list, keys.Wrapped{ID: p.KeyID, Patient: p.ID, Blob: p.Wrapped})
		}
	}
	for id, f := range w.fresh {
		var err error
		if f.key, f.wrapped, err = w.keys.Fresh(ctx, w.viewer.Practice, id); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	slices.SortFunc(list, func(a, b keys.Wrapped) int { return slices.Compare(a.ID[:], b.ID[:]) })
	list = slices.CompactFunc(list, func(a, b keys.Wrapped) bool { return a.ID == b.ID })
	return w.keys.GetAll(ctx, w.viewer.Practice, list)
}

func (w *set) release() {
	for _, f := range w.fresh {
		if f.key != nil {
			f.key.Release()
		}
	}
}

// Missing turns what does not exist into FHIR's answer to an update: the server gives ids
// itself, so that nobody learns which are taken in charts that they may not see.
func Missing(err error) error {
	if errors.Is(err, chart.NotFound) {
		return errNotPut
	}
	return err
}
