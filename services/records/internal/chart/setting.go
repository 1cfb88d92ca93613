package chart

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// TypeWorkingHours is the type of the practice's own settings. They are documents of its directory, so that versions,
// keys and evidence are those of everything else. FHIR has no such type, so no FHIR request reaches them.
const TypeWorkingHours = "WorkingHours"

// own are the types of documents that are ours and no resources.
var own = map[string]bool{TypeWorkingHours: true, TypeFile: true}

// Setting reads a setting of the practice for an operation that goes by it and has its own event;
// found is false where there is none. Who is to see it gets it from Read.
func (c *Chart) Setting(ctx context.Context, settingType string, id uuid.UUID) (doc Document, found bool, err error) {
	_, v, err := View(ctx)
	if err != nil {
		return Document{}, false, err
	}
	var row store.Document
	err = c.access.Do(ctx, pg.Unit{Practice: v.Practice, Queue: func(b *pgx.Batch) {
		store.ReadDocument(b, v, settingType, id, uuid.Nil, &row, &found)
	}})
	if err != nil || !found {
		return Document{}, false, err
	}
	doc, err = c.Open(ctx, v.Practice, row)
	return doc, true, err
}

// uniqueViolation is PostgreSQL's code for a key that is there already.
const uniqueViolation = "23505"

var errThere = errs.New(errs.KindExists, "SETTING_EXISTS", "This was set before: read it, and send the change with its etag.").
	WithField("etag", "is required")

// Set stores a setting of the practice: a new one without an etag, otherwise the next version of the
// one that was read.
func (c *Chart) Set(ctx context.Context, settingType string, id uuid.UUID, etag string, content []byte) (Document, error) {
	who, _, err := View(ctx)
	if err != nil {
		return Document{}, err
	}
	at := Place{Type: settingType, ID: id}
	if etag != "" {
		return c.Update(ctx, at, etag, func([]byte) ([]byte, error) { return content, nil })
	}
	if _, err := c.keys.Practice(ctx, who.Practice); err != nil { // makes the directory on first use
		return Document{}, err
	}
	doc, err := c.create(ctx, at, Request{}, func(uuid.UUID, time.Time) ([]byte, error) { return content, nil })
	var sql *pgconn.PgError
	if errors.As(err, &sql) && sql.Code == uniqueViolation {
		return Document{}, errThere
	}
	return doc, err
}
