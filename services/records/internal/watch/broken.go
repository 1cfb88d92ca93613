package watch

import (
	"context"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Reasons in the audit log of a list that does not open. Nobody can say then who is watched, and care goes on all
// the same (claim K8): charts stay open, and each access counts as one to somebody who is watched.
const (
	ReasonBroken   = "WATCH_LIST_BROKEN"
	ReasonReplaced = "WATCH_LIST_REPLACED"
)

// againAfter is how often a replica tries a list that does not open, and raises the alarm. One that was changed in
// the database is tried at once.
const againAfter = 10 * time.Minute

var errBroken = errs.New(errs.KindDataLoss, ReasonBroken,
	"The list of marks does not open. Restore its row from a backup, or mark the patients anew: the first mark that is set begins an empty list.")

// broken stands for a list that does not open. What this replica knew of the marks goes on.
func (w *Watch) broken(ctx context.Context, practice uuid.UUID, row store.WatchList, have *list) (*list, error) {
	out := newList(row, nil)
	if have != nil {
		out = newList(row, have.marks)
	}
	out.broken, out.tried = true, w.now()
	// The alarm is no evidence of the access that met the list, so it has a recorder of its own.
	ctx = evidence.With(ctx, evidence.New(accessv1.Service_SERVICE_RECORDS, "jobs/LoadWatchList", accessv1.Action_ACTION_ALERT, w.now).For(practice))
	err := w.access.Do(ctx, pg.Unit{Ended: true, Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(aboutList(practice, row.Generation), evidence.Failure(errBroken),
			evidence.Risk(auditv1.Risk_RISK_CRITICAL))}, nil
	}})
	return out, err
}

// replaced tells that a list which did not open gave way to one with a single mark.
func replaced(ctx context.Context, practice uuid.UUID, generation int64) *auditv1.Event {
	return evidence.From(ctx).Event(aboutList(practice, generation), evidence.Reason(ReasonReplaced), evidence.Risk(auditv1.Risk_RISK_CRITICAL))
}

func aboutList(practice uuid.UUID, generation int64) func(*auditv1.Event) {
	return evidence.Resource("watchLists/"+practice.String(), generation)
}

// suspect makes an event that of an access to somebody who may be watched. Events of keys tell of none.
func suspect(e *auditv1.Event) {
	if aboutKeys(e) {
		return
	}
	e.Risk = max(e.GetRisk(), auditv1.Risk_RISK_HIGH)
	if e.GetReason() == "" {
		e.Reason = ReasonBroken
	}
}
