package outbound

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

var errReview = errs.New(errs.KindNotFound, "REVIEW_NOT_FOUND", "there is no such reply that waits for review")

// ReviewName is the resource name of a reply that waits for review.
func ReviewName(id uuid.UUID) string { return "reviews/" + id.String() }

// Reviews lists the replies to the caller's practice that wait, after an id, and says whether there are more.
func (s *SMS) Reviews(ctx context.Context, c *caller.Caller, after uuid.UUID, size int) ([]store.Review, bool, error) {
	tx := s.store.In(c.Practice)
	rows := tx.Reviews(after, size+1)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("reviews", 0), evidence.Count(min(size, len(rows.All()))))}, nil
	})
	if err != nil {
		return nil, false, err
	}
	list := rows.All()
	more := len(list) > size
	list = list[:min(size, len(list))]
	items := make([]seal.Item, 0, 2*len(list))
	for _, r := range list {
		items = append(items, seal.Item{Kind: seal.Number, Owner: r.ID, Sealed: r.Number}, seal.Item{Kind: seal.Reply, Owner: r.ID, Sealed: r.Text})
	}
	opened, err := s.sealer.OpenAll(ctx, items)
	if err != nil {
		return nil, false, err
	}
	for i := range list {
		list[i].Number, list[i].Text = string(opened[2*i]), string(opened[2*i+1])
	}
	return list, more, nil
}

// ResolveReview closes a reply: sending goes on, or its number opted out for good.
func (s *SMS) ResolveReview(ctx context.Context, c *caller.Caller, id uuid.UUID, stop bool) error {
	tx := s.store.In(c.Practice)
	resolved := tx.ResolveReview(id, c.User, stop)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !resolved.Found() {
			return nil, errReview
		}
		reason := "RESUMED"
		if stop {
			reason = "OPTED_OUT"
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(ReviewName(id), 0), evidence.Reason(reason))}, nil
	})
}
