package upkeep

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// requestWindow is how long a call that is repeated with the same request id returns the first one's result (AIP-155).
	requestWindow = 7 * day
	requestBatch  = 1000
)

// forgetRequests deletes a practice's request ids that are over, a batch in a transaction.
func (u *Upkeep) forgetRequests(ctx context.Context, practice uuid.UUID) error {
	for before := u.now().Add(-requestWindow); ; {
		var gone int
		err := u.access.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) {
			store.ForgetRequests(b, practice, before, requestBatch, &gone)
		}})
		if err != nil || gone < requestBatch {
			return err
		}
	}
}
