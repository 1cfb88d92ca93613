package response

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

const (
	// mostChiefs bounds how many are written to about one detection.
	mostChiefs = 20
	// mostTold bounds the mails about one rule to one user within toldWindow: rules count by what a stranger may
	// choose, as sign-in names, and a mailbox that overflows hides what matters.
	mostTold   = 10
	toldWindow = time.Hour
)

// tell queues mail about the detection. What it returns counts the mails; those that were held back are told of in the next.
func (s *Responses) tell(ctx context.Context, tx *store.Tx, q Request) (func() int, error) {
	kind := notice.ActivityUnusual
	read := s.Store.In(q.Practice)
	told := read.Told(q.Title, toldWindow)
	chiefs := &store.Rows[uuid.UUID]{}
	if q.Kind == authv1.ResponseKind_RESPONSE_KIND_NOTIFY_ADMINISTRATORS {
		kind = notice.PracticeAlert
		// Who may have done it is not warned.
		chiefs = read.Chiefs(mostChiefs, q.User)
	}
	if err := read.Read(ctx); err != nil {
		return nil, err
	}
	to := chiefs.All()
	if kind == notice.ActivityUnusual {
		to = []uuid.UUID{q.User}
	}
	before := map[uuid.UUID]store.Told{}
	for _, row := range told.All() {
		before[row.User] = row
	}
	mails := 0
	for _, user := range to {
		if before[user].Sent >= mostTold {
			tx.HoldTold(user, q.Title)
			continue
		}
		queued, err := s.Notices.Prepare(ctx, q.Practice, user, kind, notice.Details{
			What: q.Title, Address: q.Address, Reference: "detections/" + q.Detection.String(), Note: bound(before[user]),
		})
		if err != nil {
			return nil, err
		}
		queued.Queue(tx)
		tx.CountTold(user, q.Title, toldWindow)
		mails++
	}
	return func() int { return mails }, nil
}

// bound says in a mail what was held back before it, or that the next ones are.
func bound(before store.Told) string {
	switch {
	case before.Sent == 0 && before.Held > 0:
		return fmt.Sprintf("Not mailed since the last one of this kind: %d more. They are in the list of detections.", before.Held)
	case before.Sent == mostTold-1:
		return fmt.Sprintf("This is number %d within an hour. More of this kind are not mailed until that hour is over; they are in the list of detections.", mostTold)
	}
	return ""
}
