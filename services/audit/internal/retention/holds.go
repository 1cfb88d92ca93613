package retention

import (
	"context"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	holdCollection = "logHolds/"
	mostHolds      = 500
)

// HoldName is the resource name of a hold.
func HoldName(id uuid.UUID) string { return holdCollection + id.String() }

// Place places a hold on a practice's entries, or with uuid.Nil on the whole log.
func (r *Retention) Place(ctx context.Context, practice uuid.UUID, reference string) (store.LogHold, error) {
	who, ok := caller.From(ctx)
	if !ok {
		return store.LogHold{}, errCaller
	}
	id, err := uuid.NewV7()
	if err != nil {
		return store.LogHold{}, err
	}
	h := store.LogHold{ID: id, Practice: practice, Reference: reference, PlacedBy: who.User, Placed: r.Now().UTC().Truncate(time.Microsecond)}
	return h, r.Store.PlaceLogHold(ctx, h, r.record(h))
}

// Release ends a hold, by another person than placed it.
func (r *Retention) Release(ctx context.Context, id uuid.UUID) (store.LogHold, error) {
	who, ok := caller.From(ctx)
	if !ok {
		return store.LogHold{}, errCaller
	}
	h, err := r.Store.LogHold(ctx, id)
	if err != nil {
		return store.LogHold{}, err
	}
	at := r.Now().UTC().Truncate(time.Microsecond)
	h.ReleasedBy, h.Released = who.User, &at
	return h, r.Store.ReleaseLogHold(ctx, h, r.record(h))
}

// Holds returns the newest holds.
func (r *Retention) Holds(ctx context.Context) ([]store.LogHold, error) {
	return r.Store.LogHolds(ctx, mostHolds)
}

// record makes the RPC's event durable before the row: the log may say too much and never too little.
func (r *Retention) record(h store.LogHold) store.Record {
	return func(ctx context.Context) error {
		recorder := evidence.From(ctx)
		event := recorder.Event(evidence.Resource(HoldName(h.ID), 0))
		if err := r.Sink.Record(ctx, event); err != nil {
			return err
		}
		recorder.Committed([]*auditv1.Event{event})
		return nil
	}
}
