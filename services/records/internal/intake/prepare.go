package intake

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/internal/watch"
)

// plan is what is to become of a batch.
type plan struct {
	patients  []store.NewPatient
	keys      map[uuid.UUID]keys.Wrapped // of new patients, by patient
	docs      []planned
	bookings  []store.Booking
	unchanged []planned // stored already, as far as prepare could see
	denied    []denial
}

// planned is a document to store.
type planned struct {
	item   item
	row    store.Document
	before []byte // digest of the version it follows
	fresh  bool   // there was none, or a deleted one
}

// pending are patients that a batch on its way creates: the next batch cannot
// find them in the database yet.
type pending struct {
	mu   sync.Mutex
	keys map[uuid.UUID]keys.Wrapped
}

// of returns the pending patients among those of the items.
func (p *pending) of(items []item) map[uuid.UUID]keys.Wrapped {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[uuid.UUID]keys.Wrapped{}
	for _, it := range items {
		if w, ok := p.keys[it.patient]; ok {
			out[it.patient] = w
		}
	}
	return out
}

func (p *pending) set(list map[uuid.UUID]keys.Wrapped) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[uuid.UUID]keys.Wrapped{}
	}
	for patient, w := range list {
		p.keys[patient] = w
	}
}

func (p *pending) drop(list map[uuid.UUID]keys.Wrapped) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for patient := range list {
		delete(p.keys, patient)
	}
}

// prepare is the second stage: it decides about each item of the batch, and seals
// what is to be stored.
func (r *run) prepare(ctx context.Context, b *batch) error {
	b.plan = plan{keys: map[uuid.UUID]keys.Wrapped{}}
	if len(b.items) == 0 {
		return nil
	}
	// Taken before the database is asked: a batch that commits in between is then
	// seen twice, and not never.
	onTheirWay := r.pending.of(b.items)
	known, current, err := r.lookUp(ctx, b.items)
	if err != nil {
		return err
	}
	owners, err := r.owners(ctx, b, known, onTheirWay)
	if err != nil {
		return err
	}
	for _, it := range b.items {
		r.decide(b, it, owners[it.patient], current)
	}
	if err := r.book(b); err != nil {
		return err
	}
	return r.seal(ctx, &b.plan, owners)
}

// lookUp reads what the database knows of the items and their patients.
func (r *run) lookUp(ctx context.Context, items []item) (map[uuid.UUID]store.Patient, map[store.Ref]store.Current, error) {
	refs := make([]store.Ref, len(items))
	known := map[uuid.UUID]store.Patient{}
	for i, it := range items {
		refs[i] = store.Ref{Type: it.resourceType, ID: it.id}
		known[it.patient] = store.Patient{}
	}
	ids := make([]uuid.UUID, 0, len(known))
	for id := range known {
		ids = append(ids, id)
	}
	var patients []store.Patient
	var stored []store.Current
	err := r.access.Do(ctx, pg.Unit{Practice: r.viewer.Practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.ReadPatients(b, r.viewer, ids, &patients)
		store.ReadCurrent(b, r.viewer.Practice, refs, &stored)
	}})
	if err != nil {
		return nil, nil, err
	}
	clear(known)
	for _, p := range patients {
		known[p.ID] = p
	}
	current := make(map[store.Ref]store.Current, len(stored))
	for _, c := range stored {
		current[c.Ref] = c
	}
	return known, current, nil
}

// owner is a patient as the import may use it.
type owner struct {
	wrapped keys.Wrapped
	treated bool  // through a care team, or as the directory, which is everybody's
	err     error // why its entries are refused
}

var (
	errUnavailable = &refusal{reasonUnavailable, "This patient's chart is not open to this import: ask the practice's administrator."}
	errTaken       = &refusal{reasonOtherPatient, "The id is taken by a resource of another patient, and is unique in a practice: send the entry with an id of its own."}
	errNoChange    = &refusal{reasonNotPermitted, "Other content is stored under this id, or was deleted: changing it takes a place on the patient's care team, or the permission to update this type."}
	errKeyUsedUp   = &refusal{reasonKeyExhausted, "The patient's data key has sealed as many documents as is safe (2^31): rotate it."}
)

// owners decides about each patient of the batch, and makes keys for the new ones.
func (r *run) owners(ctx context.Context, b *batch, known map[uuid.UUID]store.Patient, onTheirWay map[uuid.UUID]keys.Wrapped,
) (map[uuid.UUID]owner, error) {
	owners := map[uuid.UUID]owner{}
	var fresh []uuid.UUID
	// Patients that this import brings become those of the doctor it is for.
	ours := slices.Contains(r.viewer.Subjects, r.options.Doctor)
	for _, it := range b.items {
		if _, done := owners[it.patient]; done {
			continue
		}
		p, stored := known[it.patient]
		wrapped, onItsWay := onTheirWay[it.patient]
		switch {
		case stored && (p.Deleted || !p.Visible && (!r.whole || slices.Contains(watch.Closed(ctx), it.patient))):
			owners[it.patient] = owner{err: errUnavailable}
			b.plan.denied = append(b.plan.denied, denial{chart.Place{Patient: it.patient}, errs.KindNotFound, errUnavailable})
		case stored && p.Exhausted():
			owners[it.patient] = owner{err: errKeyUsedUp}
		case stored:
			owners[it.patient] = owner{wrapped: keys.Wrapped{ID: p.KeyID, Patient: p.ID, Blob: p.Wrapped}, treated: p.Visible}
		case onItsWay:
			owners[it.patient] = owner{wrapped: wrapped, treated: ours}
		case it.resourceType == fhir.TypePatient:
			owners[it.patient] = owner{}
			fresh = append(fresh, it.patient)
		default:
			owners[it.patient] = owner{err: errOtherPatient}
		}
	}
	made, err := r.newKeys(ctx, fresh)
	if err != nil {
		return nil, err
	}
	for i, patient := range fresh {
		owners[patient] = owner{wrapped: made[i], treated: ours}
		b.plan.keys[patient] = made[i]
		b.plan.patients = append(b.plan.patients, store.NewPatient{Patient: patient, Key: store.NewKey{ID: made[i].ID, Wrapped: made[i].Blob}})
	}
	r.pending.set(b.plan.keys)
	return owners, nil
}

// parallelKeys is how many data keys are asked for at once.
const parallelKeys = 8

// newKeys makes a data key for each patient and keeps it in the cache, so that
// the entries that follow need no unwrap.
func (r *run) newKeys(ctx context.Context, patients []uuid.UUID) ([]keys.Wrapped, error) {
	made := make([]keys.Wrapped, len(patients))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelKeys)
	for i, patient := range patients {
		group.Go(func() error {
			key, wrapped, err := r.keys.Fresh(ctx, r.viewer.Practice, patient)
			if err != nil {
				return err
			}
			r.keys.Keep(r.viewer.Practice, key)
			key.Release()
			made[i] = wrapped
			return nil
		})
	}
	return made, group.Wait()
}

// decide settles what becomes of one item.
func (r *run) decide(b *batch, it item, o owner, current map[store.Ref]store.Current) {
	was, exists := current[store.Ref{Type: it.resourceType, ID: it.id}]
	digest := r.practice.Index.Digest(it.json)
	// Who sends the very bytes that are stored learns nothing but that, and an
	// import can be sent again by whoever made it.
	same := exists && !was.Deleted && bytes.Equal(was.Digest, digest)
	switch {
	case o.err != nil:
		b.refuse(it.index, o.err)
		return
	case exists && was.Patient != it.patient:
		b.deny(it.index, chart.Place{Type: it.resourceType, Patient: was.Patient, ID: it.id}, errTaken)
		return
	case exists && !same && !r.mayChange(o, it.resourceType):
		b.deny(it.index, chart.Place{Type: it.resourceType, Patient: it.patient, ID: it.id}, errNoChange)
		return
	}
	row := store.Document{
		Type: it.resourceType, ID: it.id, Patient: it.patient, Version: was.Version + 1,
		KeyID: o.wrapped.ID, Digest: digest,
	}
	p := planned{item: it, row: row, fresh: !exists || was.Deleted}
	if !p.fresh {
		p.before = was.Digest
	}
	if same {
		b.plan.unchanged = append(b.plan.unchanged, p)
		return
	}
	b.plan.docs = append(b.plan.docs, p)
}

// seal seals the planned documents, each under its patient's key.
func (r *run) seal(ctx context.Context, p *plan, owners map[uuid.UUID]owner) error {
	if len(p.docs) == 0 {
		return nil
	}
	var list []keys.Wrapped
	for _, o := range owners {
		if o.err == nil {
			list = append(list, o.wrapped)
		}
	}
	ring, err := r.keys.GetAll(ctx, r.viewer.Practice, list)
	if err != nil {
		return err
	}
	defer func() {
		for _, key := range ring {
			key.Release()
		}
	}()
	for i := range p.docs {
		row := &p.docs[i].row
		row.Sealed, err = ring[row.KeyID].Seal(envelope.Binding{
			Practice: r.viewer.Practice, Patient: row.Patient, Type: row.Type, ID: row.ID, Version: row.Version, KeyID: row.KeyID,
		}, p.docs[i].item.json)
		if err != nil {
			return err
		}
	}
	return nil
}
