package chart

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// indexing keeps the index entries of one document in the transaction that stores it.
type indexing struct {
	queue func(*pgx.Batch)
	check func() error
}

// indexed runs a write of a document with what keeps its index entries, again
// where the generations of the index changed meanwhile.
func (c *Chart) indexed(ctx context.Context, practice uuid.UUID, row store.Document, doc []byte, write func(indexing) error) error {
	if !index.Has(row.Type) {
		return write(indexing{queue: func(*pgx.Batch) {}, check: func() error { return nil }})
	}
	return c.index.Use(ctx, practice, func(generations []index.Generation) error {
		entry := store.Entry{Document: row, Index: index.Entries(generations, row, doc)}
		var seen []store.Generation
		return write(indexing{
			queue: func(b *pgx.Batch) {
				store.HoldGenerations(b, practice, &seen)
				store.Reindex(b, practice, []store.Entry{entry})
			},
			check: func() error { return index.Check(generations, seen) },
		})
	})
}
