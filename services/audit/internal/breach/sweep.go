package breach

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/services/audit/internal/rounds"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Reasons of what the sweep reports.
const (
	// ReasonDue: a deadline comes near and is not met.
	ReasonDue = "BREACH_DUE"
	// ReasonOverdue: a deadline has passed.
	ReasonOverdue = "BREACH_OVERDUE"
)

// warnings are how many days before the last one somebody is told: of 60 days the 30th, 50th and 59th (claims
// DH-52, DMD-22, DC-24).
var warnings = []struct {
	before calendar.Day
	risk   auditv1.Risk
}{{30, auditv1.Risk_RISK_HIGH}, {10, auditv1.Risk_RISK_CRITICAL}, {1, auditv1.Risk_RISK_CRITICAL}}

const (
	// icoWarning is how long before its end the 72 hours of the ICO are spoken of.
	icoWarning  = 24 * time.Hour
	sweepEvery  = time.Minute
	unloggedFor = 7 * 24 * time.Hour
)

// Run sweeps until ctx ends, on the replica that writes the log.
func (x *Breaches) Run(ctx context.Context) {
	rounds.Rounds{Every: sweepEvery, Leading: x.Leading, Log: x.Log, Failed: "breaches were not swept; trying again"}.Run(ctx, x.Sweep)
}

// Sweep reports every deadline that comes near or has passed since, once.
func (x *Breaches) Sweep(ctx context.Context) error {
	list, err := x.Store.Unfinished(ctx, store.Breaches)
	if err != nil {
		return err
	}
	for _, u := range list {
		s, err := x.load(ctx, u.Practice, u.ID)
		if err != nil {
			return fmt.Errorf("%s: %w", Name(u.ID), err)
		}
		if due := s.due(x.Now().UTC()); len(due) > 0 {
			if err := x.Store.AddNotices(ctx, due); err != nil {
				return err
			}
		}
	}
	return x.register.Log(ctx, x.Now().Add(-unloggedFor))
}

// due lists what has to be told by now. A deadline that moves is told of again.
func (s *subject) due(now time.Time) []store.Notice {
	var out []store.Notice
	add := func(reason, detail string, risk auditv1.Risk, at time.Time) {
		if now.Before(at) {
			return
		}
		out = append(out, store.Notice{
			ID: uuid.Must(uuid.NewV7()), Practice: s.practice, Subject: Name(s.id), Reason: reason, Detail: detail,
			Risk: int16(risk), Due: at, Created: now,
		})
	}
	for _, d := range s.state.Deadlines(s.reach) {
		if !d.Done.IsZero() {
			continue
		}
		name := deadlineName(d)
		if d.Kind == auditv1.Deadline_KIND_ICO {
			add(ReasonDue, name, auditv1.Risk_RISK_CRITICAL, d.End.Add(-icoWarning))
		} else {
			for _, w := range warnings {
				add(ReasonDue, fmt.Sprintf("%s, %d days", name, w.before), w.risk, (d.Day - w.before).Start(s.state.Zone))
			}
		}
		add(ReasonOverdue, name, auditv1.Risk_RISK_CRITICAL, d.End)
	}
	return out
}

// deadlineName is a deadline as people say it, with its day.
func deadlineName(d Deadline) string {
	name := strings.TrimPrefix(d.Kind.String(), "KIND_")
	if d.State != "" {
		name += " " + d.State
	}
	return name + " until " + d.Day.String()
}
