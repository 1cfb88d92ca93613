package life

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// reasonDue is the reason of the event that says how many patients of a practice a purge would destroy.
const reasonDue = "RETENTION_DUE"

// spared says of an error that it keeps one patient from being purged, and not the others.
func spared(err error) bool {
	kind := errs.KindOf(err)
	return kind == errs.KindPrecondition || kind == errs.KindNotFound || kind == errs.KindConflict
}

// PurgeDue counts a practice's patients whose retention has ended and whom no hold keeps, if that was not done for as
// long as every says, and tells the audit log. Where the practice says so they are purged. Killed in between, it
// goes on the next time.
func (l *Life) PurgeDue(ctx context.Context, practice uuid.UUID, every time.Duration) error {
	ctx = evidence.With(ctx, evidence.New(accessv1.Service_SERVICE_RECORDS, "jobs/PurgeDuePatients", accessv1.Action_ACTION_ERASURE_CHANGE, l.now).For(practice))
	var found int
	var begun bool
	now := l.now()
	err := l.access.Do(ctx, pg.Unit{
		Practice: practice, Alone: true,
		Queue: func(b *pgx.Batch) { store.BeginPurge(b, practice, now, now.Add(-every), &found, &begun) },
		Decide: func() ([]*auditv1.Event, error) {
			if !begun || found == 0 {
				return nil, nil
			}
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("patients", 0), evidence.Count(found), evidence.Reason(reasonDue))}, nil
		},
	})
	for after := uuid.Nil; err == nil && begun && found > 0; {
		if after, err = l.purgePage(ctx, practice, after); after == uuid.Nil {
			break
		}
	}
	return err
}

// purgePage purges the next patients who are due, after one, and returns the last of them; nil where there is nobody left,
// or the practice does not want it, or no more.
func (l *Life) purgePage(ctx context.Context, practice, after uuid.UUID) (uuid.UUID, error) {
	var keeping store.Keeping
	var list []uuid.UUID
	err := l.access.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.ReadRetention(b, practice, &keeping)
		store.ListDue(b, practice, after, false, defaultPage, &list)
	}})
	if err != nil || !keeping.Automatic || len(list) == 0 {
		return uuid.Nil, err
	}
	for _, patient := range list {
		if err := l.purge(ctx, practice, keeping.ChangedBy, patient); err != nil && !spared(err) {
			return uuid.Nil, err
		}
	}
	return list[len(list)-1], nil
}
