package chart

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

// Read returns the current version of a resource.
func (c *Chart) Read(ctx context.Context, at Place) (Document, error) {
	_, v, err := View(ctx)
	if err != nil {
		return Document{}, err
	}
	return c.readCurrent(ctx, v, at)
}

func (c *Chart) readCurrent(ctx context.Context, v store.Viewer, at Place, mods ...func(*auditv1.Event)) (Document, error) {
	return c.read(ctx, v, at, func(b *pgx.Batch, out *store.Document, found *bool) {
		store.ReadDocument(b, v, at.Type, at.ID, at.Patient, out, found)
	}, mods...)
}

// Find returns the current version of a resource whose patient the caller does not name.
func (c *Chart) Find(ctx context.Context, resourceType string, id uuid.UUID) (Document, error) {
	_, v, err := View(ctx)
	if err != nil {
		return Document{}, err
	}
	return c.read(ctx, v, Place{Type: resourceType, ID: id}, func(b *pgx.Batch, out *store.Document, found *bool) {
		store.FindDocument(b, v, resourceType, id, out, found)
	})
}

// FindVersion returns one version of a resource, current or past, also of one
// that was deleted since. A patient who was deleted has no versions to read, in the whole chart.
func (c *Chart) FindVersion(ctx context.Context, resourceType string, id uuid.UUID, version int64) (Document, error) {
	_, v, err := View(ctx)
	if err != nil {
		return Document{}, err
	}
	return c.read(ctx, v, Place{Type: resourceType, ID: id}, func(b *pgx.Batch, out *store.Document, found *bool) {
		store.ReadVersion(b, v, resourceType, id, version, out, found)
	})
}

// read is one access: the row, the question whether the caller may see it, and the event.
func (c *Chart) read(ctx context.Context, v store.Viewer, at Place, queue func(*pgx.Batch, *store.Document, *bool),
	mods ...func(*auditv1.Event),
) (Document, error) {
	var row store.Document
	var found bool
	var refusal error
	err := c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { queue(b, &row, &found) },
		Decide: func() ([]*auditv1.Event, error) {
			where := at
			if found {
				where.Patient = row.Patient
			}
			var event *auditv1.Event
			event, refusal = Judge(ctx, found, row.Visible, append(mods, About(where, row.Version), ThroughGlass(row.Glass))...)
			return []*auditv1.Event{event}, nil
		},
	})
	if err != nil {
		return Document{}, err
	}
	if refusal != nil {
		return Document{}, refusal
	}
	return c.Open(ctx, v.Practice, row)
}

// Open unseals a document. The row is committed evidence by now, so nothing here
// holds a transaction up.
func (c *Chart) Open(ctx context.Context, practice uuid.UUID, row store.Document) (Document, error) {
	if row.Wrapped == "" {
		return Document{}, c.Alarm(ctx, Bare(row), envelope.ErrBroken)
	}
	key, err := c.keys.Get(ctx, practice, wrapped(row))
	if err != nil {
		return Document{}, err
	}
	defer key.Release()
	return c.unseal(ctx, practice, row, key)
}

// OpenAll unseals the documents of a list, with one call of the key service at most.
func (c *Chart) OpenAll(ctx context.Context, practice uuid.UUID, rows []store.Document) ([]Document, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	list := make([]keys.Wrapped, len(rows))
	for i, row := range rows {
		if row.Wrapped == "" {
			return nil, c.Alarm(ctx, Bare(row), envelope.ErrBroken)
		}
		list[i] = wrapped(row)
	}
	ring, err := c.keys.GetAll(ctx, practice, list)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, key := range ring {
			key.Release()
		}
	}()
	out := make([]Document, len(rows))
	for i, row := range rows {
		if out[i], err = c.unseal(ctx, practice, row, ring[row.KeyID]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *Chart) unseal(ctx context.Context, practice uuid.UUID, row store.Document, key *envelope.Key) (Document, error) {
	d := Bare(row)
	var err error
	d.JSON, err = key.Open(Binding(practice, row), row.Sealed)
	if err != nil {
		return Document{}, c.Alarm(ctx, d, err)
	}
	return d, nil
}

// Alarm records that a stored document is not what was stored (claim DH-17). The
// event is critical, which raises an alert in the audit service.
func (c *Chart) Alarm(ctx context.Context, d Document, broken error) error {
	recordErr := c.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Failure(broken), critical, About(d.Place, d.Version))}, nil
	}})
	if recordErr != nil {
		return errs.Wrap(recordErr, errs.KindUnavailable, "AUDIT_UNAVAILABLE", "The request was refused because it cannot be recorded now.")
	}
	return broken
}

func critical(e *auditv1.Event) { e.Risk = auditv1.Risk_RISK_CRITICAL }

// Bare is a stored document without its content.
func Bare(row store.Document) Document {
	return Document{
		Place:   Place{Type: row.Type, Patient: row.Patient, ID: row.ID},
		Version: row.Version, Created: row.Created.UTC(), Updated: row.Updated.UTC(),
	}
}

func wrapped(row store.Document) keys.Wrapped {
	return keys.Wrapped{ID: row.KeyID, Patient: row.Patient, Blob: row.Wrapped}
}

// Binding is what the seal of a document is bound to.
func Binding(practice uuid.UUID, row store.Document) envelope.Binding {
	return envelope.Binding{
		Practice: practice, Patient: row.Patient, Type: row.Type, ID: row.ID, Version: row.Version, KeyID: row.KeyID,
	}
}
