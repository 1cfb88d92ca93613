package rights

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// nearDays is how long before its day a request counts as nearly due.
	nearDays = 5

	levelNear    = 1
	levelOverdue = 2
)

const (
	checkEvery = time.Hour
	manyAtOnce = 500 // practices, or due requests, read at a time
)

// Run checks the requests of every practice once an hour, until ctx ends. Replicas may all do
// so: each announcement is made once.
func (r *Rights) Run(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		if err := r.checkAll(ctx); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "due requests", telemetry.KeyError, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// checkAll goes on after a practice that fails: its trouble is not the others'.
func (r *Rights) checkAll(ctx context.Context) error {
	var failed error
	for after := uuid.Nil; ; {
		var list []uuid.UUID
		if err := r.access.Do(ctx, pg.Unit{Queue: func(b *pgx.Batch) { store.Practices(b, after, manyAtOnce, &list) }}); err != nil {
			return err
		}
		for _, practice := range list {
			if _, err := r.CheckDue(ctx, practice); err != nil {
				failed = err
			}
			after = practice
		}
		if len(list) < manyAtOnce {
			return failed
		}
	}
}

// CheckDue announces a practice's open requests that are nearly due or overdue: an event for
// each, once for each due day. It returns how many it announced. An overdue one is critical, which raises an alert.
func (r *Rights) CheckDue(ctx context.Context, practice uuid.UUID) (int, error) {
	ctx = evidence.With(ctx, evidence.New(accessv1.Service_SERVICE_RECORDS, "jobs/CheckDueRequests", accessv1.Action_ACTION_ALERT, r.now).For(practice))
	announced, now := 0, r.now()
	for after := (store.DueRequest{}); ; {
		var list []store.DueRequest
		if err := r.access.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) {
			store.ListDueRequests(b, practice, now.AddDate(0, 0, nearDays+1), after, manyAtOnce, &list)
		}}); err != nil {
			return announced, err
		}
		for _, d := range list {
			done, err := r.announce(ctx, practice, d, now)
			if err != nil {
				return announced, err
			}
			if done {
				announced++
			}
			after = d
		}
		if len(list) < manyAtOnce {
			return announced, nil
		}
	}
}

func (r *Rights) announce(ctx context.Context, practice uuid.UUID, d store.DueRequest, now time.Time) (done bool, err error) {
	zone, err := time.LoadLocation(d.Zone)
	if err != nil {
		return false, err
	}
	today, due := calendar.DayOf(now, zone), calendar.DayOf(d.Due, time.UTC)
	level, reason, risk := levelNear, "REQUEST_NEARLY_DUE", auditv1.Risk_RISK_HIGH
	switch {
	case today > due:
		level, reason, risk = levelOverdue, "REQUEST_OVERDUE", auditv1.Risk_RISK_CRITICAL
	case today+nearDays < due:
		return false, nil
	}
	err = r.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue:    func(b *pgx.Batch) { store.AddNotice(b, practice, d, level, now, &done) },
		Decide: func() ([]*auditv1.Event, error) {
			if !done {
				return nil, nil
			}
			return []*auditv1.Event{evidence.From(ctx).Event(requests.about(Place{d.Patient, d.ID}, 0), evidence.Reason(reason), evidence.Risk(risk))}, nil
		},
	})
	return done, err
}
