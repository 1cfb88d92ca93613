package chart

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/internal/watch"
)

// Page is a request for a part of a list.
type Page struct {
	Size  int // 0 means 100
	Token string
}

const defaultPage = 100

func (p Page) size() int {
	if p.Size == 0 {
		return defaultPage
	}
	return p.Size
}

// List returns a patient's resources of one type, newest first, and the token of
// the next page, empty at the end.
func (c *Chart) List(ctx context.Context, patient uuid.UUID, resourceType string, page Page) ([]Document, string, error) {
	_, v, err := View(ctx)
	if err != nil {
		return nil, "", err
	}
	scope := patient.String() + "/" + resourceType
	after, err := parseToken(page.Token, scope, store.Top())
	if err != nil {
		return nil, "", err
	}
	var owner store.Patient
	var found bool
	var rows []store.Document
	var refusal error
	err = c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, v, patient, &owner, &found)
			store.ListDocuments(b, v, patient, resourceType, after, page.size()+1, &rows)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = Judge(ctx, found, owner.Visible, evidence.Patient(patient),
				evidence.Resource(Collection(resourceType), 0), evidence.Count(Fit(rows, page.size())), ThroughGlass(owner.Glass))
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return nil, "", err
	}
	rows, next := Cut(rows, page.size(), scope)
	docs, err := c.OpenAll(ctx, v.Practice, rows)
	return docs, next, err
}

// scopePatients is the list of patients, for page tokens.
const scopePatients = "patients"

// ListPatients returns the Patient documents that the caller may see, in the
// order of their ids.
func (c *Chart) ListPatients(ctx context.Context, page Page) ([]Document, string, error) {
	_, v, err := View(ctx)
	if err != nil {
		return nil, "", err
	}
	after, err := parseToken(page.Token, scopePatients, store.Cursor{})
	if err != nil {
		return nil, "", err
	}
	rows, err := c.patients(ctx, v, page.size(), func(b *pgx.Batch, out *[]store.Document) {
		store.ListPatients(b, v, after.ID, page.size()+1, out)
	})
	if err != nil {
		return nil, "", err
	}
	rows, next := Cut(rows, page.size(), scopePatients)
	docs, err := c.OpenAll(watch.InPassing(ctx), v.Practice, rows)
	return docs, next, err
}

// patients reads Patient documents of several patients, and commits an event for
// each one (claim DH-16), or one event where there is none.
func (c *Chart) patients(ctx context.Context, v store.Viewer, limit int, queue func(*pgx.Batch, *[]store.Document)) ([]store.Document, error) {
	var rows []store.Document
	err := c.access.Do(watch.InPassing(ctx), pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { queue(b, &rows) },
		Decide: func() ([]*auditv1.Event, error) {
			rec := evidence.From(ctx)
			shown := rows[:Fit(rows, limit)]
			if len(shown) == 0 {
				return []*auditv1.Event{rec.Event()}, nil
			}
			events := make([]*auditv1.Event, len(shown))
			for i, row := range shown {
				events[i] = rec.Event(evidence.Patient(row.Patient), evidence.Resource("", row.Version), evidence.Count(1), ThroughGlass(row.Glass))
			}
			return events, nil
		},
	})
	return rows, err
}
