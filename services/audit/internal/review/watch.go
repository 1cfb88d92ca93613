package review

import (
	"context"
	"fmt"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/appender"
	"github.com/carekeep/carekeep/services/audit/internal/rounds"
)

const (
	// Longest is how long a practice may go without a review, or without another alert about it (claim DTD-10).
	Longest = 7 * 24 * time.Hour

	watchEvery = 10 * time.Minute
	// method names the watch where an RPC would stand.
	method = "jobs/WatchReviews"
)

// Run watches until ctx ends, where this replica leads.
func (r *Reviews) Run(ctx context.Context) {
	rounds.Rounds{Every: watchEvery, Leading: r.Leading, Log: r.Log, Failed: "it is not known which reviews of the log are due; trying again"}.Run(ctx, r.Watch)
}

// Watch raises an alert for each practice that has gone without a review for too long; again
// after as long.
func (r *Reviews) Watch(ctx context.Context) error {
	due, err := r.Store.ReviewsDue(ctx, r.Now(), Longest)
	if err != nil {
		return err
	}
	for _, practice := range due {
		recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, method, accessv1.Action_ACTION_ALERT, r.Now).For(practice)
		if err := r.Sink.Record(ctx, recorder.Event(evidence.Reason(appender.ReasonReviewOverdue))); err != nil {
			return fmt.Errorf("report that a review is overdue: %w", err)
		}
	}
	return nil
}
