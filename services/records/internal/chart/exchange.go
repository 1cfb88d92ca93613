package chart

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// What internal/interact shares with the operations here, so that an access is judged,
// opened and named in one way.

// Judge makes the event of an access to what was, or was not, found; the error is for the
// client, and the event is to be committed in either case.
func Judge(ctx context.Context, found, visible bool, mods ...func(*auditv1.Event)) (*auditv1.Event, error) {
	return judge(ctx, found, visible, mods...)
}

// ThroughGlass marks the event of an access that a broken glass alone allowed.
func ThroughGlass(glass bool) func(*auditv1.Event) { return throughGlass(glass) }

// Open unseals a document whose event is committed.
func (c *Chart) Open(ctx context.Context, practice uuid.UUID, row store.Document) (Document, error) {
	return c.open(ctx, practice, row)
}

// OpenAll unseals the documents of a list, with one call of the key service at most.
func (c *Chart) OpenAll(ctx context.Context, practice uuid.UUID, rows []store.Document) ([]Document, error) {
	return c.openAll(ctx, practice, rows)
}

// Bare is a stored document without its content.
func Bare(row store.Document) Document { return document(row) }

// Binding is what the seal of a document is bound to.
func Binding(practice uuid.UUID, row store.Document) envelope.Binding { return binding(practice, row) }

// Check refuses a document that is no good resource, or that names another patient than
// the one in whose chart it is to stand.
func Check(practice *keys.Practice, row store.Document, plain []byte) error {
	return check(practice, row, plain)
}

// Fit is how many rows a page shows: at most size, and no more than were read with content.
func Fit(rows []store.Document, size int) int { return fit(rows, size) }
