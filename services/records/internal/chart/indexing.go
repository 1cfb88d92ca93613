package chart

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// indexing keeps the index entries of one document, and its places in the calendar, in
// the transaction that stores it.
type indexing struct {
	queue func(*pgx.Batch)
	check func() error
	alone bool // it may wait for others who want the same time
}

// indexed runs a write of a document with what keeps its index entries and its places in
// the calendar, again where the generations of the index changed meanwhile.
func (c *Chart) indexed(ctx context.Context, practice uuid.UUID, row store.Document, doc []byte, write func(indexing) error) error {
	booked, err := c.booked(ctx, practice, row, doc)
	switch {
	case err != nil:
		return err
	case !index.Has(row.Type):
		return write(booked)
	}
	return c.index.Use(ctx, practice, func(generations []index.Generation) error {
		entry := store.Entry{Document: row, Index: index.Entries(generations, row, doc)}
		var seen []store.Generation
		return write(indexing{
			queue: func(b *pgx.Batch) {
				store.HoldGenerations(b, practice, &seen)
				store.Reindex(b, practice, []store.Entry{entry})
				booked.queue(b)
			},
			check: func() error {
				if err := booked.check(); err != nil {
					return err
				}
				return index.Check(generations, seen)
			},
			alone: booked.alone,
		})
	})
}

// booked keeps a document's places in the calendar.
func (c *Chart) booked(ctx context.Context, practice uuid.UUID, row store.Document, doc []byte) (indexing, error) {
	if row.Type != fhir.TypeAppointment {
		return indexing{queue: func(*pgx.Batch) {}, check: func() error { return nil }}, nil
	}
	key, err := c.keys.Practice(ctx, practice)
	if err != nil {
		return indexing{}, err
	}
	bookings, err := Bookings(key, row, doc, c.now())
	var occupied []store.Occupied
	return indexing{
		queue: func(b *pgx.Batch) { store.Occupy(b, practice, bookings, &occupied) },
		check: func() error {
			if len(Taken(bookings, occupied)) > 0 {
				return ErrTaken
			}
			return nil
		},
		alone: true,
	}, err
}
