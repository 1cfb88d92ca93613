package chart

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Update stores the next version of a resource: patch of the document that the
// etag stands for. The version before stays in the history.
func (c *Chart) Update(ctx context.Context, at Place, etag string, patch func([]byte) ([]byte, error)) (Document, error) {
	_, v, err := View(ctx)
	if err != nil {
		return Document{}, err
	}
	if etag == "" {
		return Document{}, errs.New(errs.KindInvalid, "ETAG_REQUIRED", "An update needs the etag that was read, so that it changes what its author saw.").
			WithField("etag", "is required")
	}
	version, err := parseEtag(etag)
	if err != nil {
		return Document{}, err
	}
	old, owner, err := c.before(ctx, v, at, version)
	if err != nil {
		return Document{}, err
	}
	was, err := c.Open(ctx, v.Practice, old)
	if err != nil {
		return Document{}, err
	}
	practice, key, err := c.sealingKey(ctx, v, owner)
	if err != nil {
		return Document{}, err
	}
	defer key.Release()
	next := store.Document{Type: at.Type, ID: at.ID, Patient: at.Patient, Version: version + 1, Created: old.Created}
	row, doc, err := c.seal(practice, key, next, func(uuid.UUID, time.Time) ([]byte, error) { return patch(was.JSON) })
	if err != nil {
		return Document{}, err
	}
	err = c.indexed(ctx, v.Practice, row, doc.JSON, func(keep indexing) error {
		var done bool
		return c.access.Do(ctx, pg.Unit{
			Practice: v.Practice,
			Alone:    keep.alone,
			Queue: func(b *pgx.Batch) {
				store.ReplaceDocument(b, v, row, &done)
				keep.queue(b)
			},
			Decide: func() ([]*auditv1.Event, error) {
				if !done {
					return nil, errStale // somebody was quicker
				}
				return []*auditv1.Event{evidence.From(ctx).Event(About(at, row.Version), evidence.Digests(old.Digest, row.Digest), ThroughGlass(old.Glass))}, keep.check()
			},
		})
	})
	return doc, err
}

// before reads what an update starts from. A refusal leaves its event; a success
// leaves none, for the change that follows has its own.
func (c *Chart) before(ctx context.Context, v store.Viewer, at Place, version int64) (store.Document, store.Patient, error) {
	var row store.Document
	var owner store.Patient
	var found, known bool
	var refusal error
	err := c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadDocument(b, v, at.Type, at.ID, at.Patient, &row, &found)
			store.ReadPatient(b, v, at.Patient, &owner, &known)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = Judge(ctx, found && known, row.Visible, About(at, 0))
			if refusal == nil && row.Version != version {
				refusal = errStale
				event = evidence.From(ctx).Event(About(at, 0), evidence.Failure(errStale))
			}
			if refusal == nil {
				return nil, nil
			}
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	return row, owner, err
}

// Delete ends a resource; its versions stay in the history. With an empty etag
// it ends whatever version is current. Deleting a Patient hides all of the patient's
// resources and takes the patient out of the index.
func (c *Chart) Delete(ctx context.Context, at Place, etag string) error {
	_, v, err := View(ctx)
	if err != nil {
		return err
	}
	expected, err := parseEtag(etag)
	if err != nil {
		return err
	}
	var row store.Document
	var found, done, treated bool
	var version int64
	var refusal error
	now := c.now()
	err = c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.LockDocument(b, v, at.Type, at.ID, at.Patient, &row, &found)
			store.ReadTreated(b, v, at.Patient, &treated)
			store.DeleteDocument(b, v, at.Type, at.ID, at.Patient, expected, now, &version, &done)
			switch at.Type {
			case fhir.TypePatient:
				store.HidePatient(b, v.Practice, at.ID, now)
			case fhir.TypeAppointment:
				store.Vacate(b, v.Practice, at.ID)
			}
			if at.Type != fhir.TypePatient && index.Has(at.Type) {
				store.Unindex(b, v.Practice, at.Type, at.ID, at.Patient)
			}
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = Judge(ctx, found, row.Visible, About(at, version), evidence.Digests(row.Digest, nil))
			if refusal == nil && !done {
				switch refusal = errStale; {
				case row.Glass:
					refusal = errGlass
				case at.Type == fhir.TypePatient && !treated:
					refusal = errReferred
				}
				event = evidence.From(ctx).Event(About(at, 0), evidence.Failure(refusal))
			}
			if refusal != nil {
				event.BeforeDigest = nil
			}
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	return err
}
