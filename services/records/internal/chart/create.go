package chart

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/fhir/validate"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Request makes a create idempotent: the same id with the same content makes
// one resource. The zero value does not.
type Request struct {
	ID      uuid.UUID
	Content []byte
}

// Build makes the document of a new resource.
type Build func(id uuid.UUID, now time.Time) ([]byte, error)

// CreatePatient stores a new patient with a data key of its own. The care team
// is the doctor who calls, or the doctors that the staff member acts for.
func (c *Chart) CreatePatient(ctx context.Context, r Request, build Build) (Document, error) {
	who, v, err := View(ctx)
	if err != nil {
		return Document{}, err
	}
	if len(v.Subjects) == 0 && !v.Whole {
		return Document{}, errs.New(errs.KindPrecondition, "NO_DOCTOR", "Nobody could see this patient: the caller is no doctor and acts for none.")
	}
	practice, err := c.keys.Practice(ctx, v.Practice)
	if err != nil {
		return Document{}, err
	}
	id := uuid.Must(uuid.NewV7())
	key, fresh, err := c.keys.Fresh(ctx, v.Practice, id)
	if err != nil {
		return Document{}, err
	}
	defer key.Release()
	row, doc, err := c.seal(practice, key, store.Document{Type: fhir.TypePatient, ID: id, Patient: id, Version: 1, Wrapped: fresh.Blob}, build)
	if err != nil {
		return Document{}, err
	}
	request := stamp(practice, r)
	made, err := c.insert(ctx, who, request, row, doc.JSON, func(b *pgx.Batch, done *bool) {
		store.CreatePatient(b, v.Practice, who.User, v.Subjects, request, row, done)
	}, func(rec *evidence.Recorder) []*auditv1.Event {
		return []*auditv1.Event{keys.Created(rec, fresh), created(rec, row)}
	})
	if err != nil || made != nil {
		return c.again(ctx, v, made, uuid.Nil, err)
	}
	c.keys.Keep(v.Practice, key)
	return doc, nil
}

// Create stores a new resource of a patient.
func (c *Chart) Create(ctx context.Context, patient uuid.UUID, resourceType string, r Request, build Build) (Document, error) {
	return c.create(ctx, Place{Type: resourceType, Patient: patient, ID: uuid.Must(uuid.NewV7())}, r, build)
}

func (c *Chart) create(ctx context.Context, at Place, r Request, build Build) (Document, error) {
	who, v, err := View(ctx)
	if err != nil {
		return Document{}, err
	}
	owner, err := c.owner(ctx, v, at.Patient)
	if err != nil {
		return Document{}, err
	}
	practice, key, err := c.sealingKey(ctx, v, owner)
	if err != nil {
		return Document{}, err
	}
	defer key.Release()
	row, doc, err := c.seal(practice, key, store.Document{Type: at.Type, ID: at.ID, Patient: at.Patient, Version: 1}, build)
	if err != nil {
		return Document{}, err
	}
	request := stamp(practice, r)
	made, err := c.insert(ctx, who, request, row, doc.JSON, func(b *pgx.Batch, done *bool) {
		store.CreateDocument(b, v, who.User, request, row, done)
	}, func(rec *evidence.Recorder) []*auditv1.Event {
		return []*auditv1.Event{created(rec, row, ThroughGlass(owner.Glass))}
	})
	if err != nil || made != nil {
		return c.again(ctx, v, made, at.Patient, err)
	}
	return doc, nil
}

func created(rec *evidence.Recorder, row store.Document, mods ...func(*auditv1.Event)) *auditv1.Event {
	return rec.Event(append(mods, evidence.Action(accessv1.Action_ACTION_CREATE), About(Bare(row).Place, row.Version), evidence.Digests(nil, row.Digest))...)
}

// owner reads the patient to whose chart something is added.
func (c *Chart) owner(ctx context.Context, v store.Viewer, patient uuid.UUID) (store.Patient, error) {
	var owner store.Patient
	var found bool
	var refusal error
	err := c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.ReadPatient(b, v, patient, &owner, &found) },
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			if event, refusal = Judge(ctx, found, owner.Visible, evidence.Patient(patient)); refusal == nil {
				return nil, nil // the change has its own event
			}
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	return owner, err
}

// sealingKey returns the key for new documents of a patient; the caller releases it.
func (c *Chart) sealingKey(ctx context.Context, v store.Viewer, owner store.Patient) (*keys.Practice, *envelope.Key, error) {
	switch {
	case owner.Wrapped == "": // the key's row is gone, or the patient's names another
		return nil, nil, c.Alarm(ctx, Document{Place: Place{Type: fhir.TypePatient, Patient: owner.ID, ID: owner.ID}}, envelope.ErrBroken)
	case owner.Exhausted():
		return nil, nil, errExhausted
	}
	practice, err := c.keys.Practice(ctx, v.Practice)
	if err != nil {
		return nil, nil, err
	}
	key, err := c.keys.Get(ctx, v.Practice, keys.Wrapped{ID: owner.KeyID, Patient: owner.ID, Blob: owner.Wrapped})
	return practice, key, err
}

// seal builds a document, checks it and seals it.
func (c *Chart) seal(practice *keys.Practice, key *envelope.Key, row store.Document, build Build) (store.Document, Document, error) {
	now := c.now()
	if row.Created.IsZero() {
		row.Created = now
	}
	row.Updated, row.KeyID = now, key.ID()
	plain, err := build(row.ID, now)
	if err != nil {
		return row, Document{}, err
	}
	if err := Check(practice, row, plain); err != nil {
		return row, Document{}, err
	}
	row.Digest = practice.Index.Digest(plain)
	row.Sealed, err = key.Seal(Binding(practice.ID, row), plain)
	doc := Bare(row)
	doc.JSON = plain
	return row, doc, err
}

// Check refuses a document that is no good resource, or that names another patient
// than the one in whose chart it is to stand.
func Check(practice *keys.Practice, row store.Document, plain []byte) error {
	if own[row.Type] {
		return nil // no resource of FHIR: who makes it checks it
	}
	return validate.Resource(row.Type, plain).Chart(func(reference string) bool {
		// What is no relative reference names somebody on another server.
		ref := fhir.ParsePatientReference(reference)
		return ref.Kind != fhir.ReferenceRelative || fhir.StoreID(practice.Index.Digest, fhir.TypePatient, ref.ID) == row.Patient
	})
}

// stamp makes a request comparable without keeping what it said.
func stamp(practice *keys.Practice, r Request) store.Request {
	if r.ID == uuid.Nil {
		return store.Request{}
	}
	// No document begins with a zero byte, so this digest is no document's.
	return store.Request{ID: r.ID, Digest: practice.Index.Digest(append([]byte("\x00request\x00"), r.Content...))}
}

// insert commits a new resource with its places in index and calendar, and events. Where the
// request was made before it returns what that made.
func (c *Chart) insert(ctx context.Context, who *caller.Caller, r store.Request, row store.Document, doc []byte,
	queue func(*pgx.Batch, *bool), events func(*evidence.Recorder) []*auditv1.Event,
) (*store.Made, error) {
	var done, repeated bool
	var made store.Made
	err := c.indexed(ctx, who.Practice, row, doc, func(keep indexing) error {
		return c.access.Do(ctx, pg.Unit{
			Practice: who.Practice,
			Alone:    keep.alone,
			Queue: func(b *pgx.Batch) {
				queue(b, &done)
				if r.ID != uuid.Nil {
					store.ReadRequest(b, who.Practice, who.User, r.ID, &made, &repeated)
				}
				keep.queue(b)
			},
			Decide: func() ([]*auditv1.Event, error) {
				switch {
				case done:
					return events(evidence.From(ctx)), keep.check()
				case !repeated:
					return nil, errBusy
				case string(made.Digest) != string(r.Digest):
					return nil, errReused
				}
				return nil, nil
			},
		})
	})
	if err != nil || done {
		return nil, err
	}
	return &made, nil
}

// again returns what an earlier request made, as it is now. patient is nil where
// a patient was made. The event says that it was read: nothing was created.
func (c *Chart) again(ctx context.Context, v store.Viewer, made *store.Made, patient uuid.UUID, err error) (Document, error) {
	if err != nil {
		return Document{}, err
	}
	if patient == uuid.Nil {
		patient = made.ID
	}
	return c.readCurrent(ctx, v, Place{Type: made.Type, Patient: patient, ID: made.ID}, evidence.Action(accessv1.Action_ACTION_READ))
}
