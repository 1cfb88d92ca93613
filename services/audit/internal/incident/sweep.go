package incident

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/rounds"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Reasons of what the sweep reports. Each is the reason of an entry, and of an alert where it is critical.
const (
	// ReasonEscalated: a critical incident that nobody has taken on goes to the next on the path.
	ReasonEscalated = "INCIDENT_ESCALATED"
	// ReasonPhaseLate: the clock of a phase has run out.
	ReasonPhaseLate = "INCIDENT_PHASE_LATE"
	// ReasonActionLate: the day of a corrective action has passed.
	ReasonActionLate = "INCIDENT_ACTION_LATE"
)

const (
	// sweepEvery is how late a missed clock may be seen.
	sweepEvery = 15 * time.Second
	// unloggedFor is how far back a sweep looks for notices whose entry was lost by a crash between the two.
	unloggedFor = 7 * 24 * time.Hour
)

// Level is a step of the escalation: whom a critical incident goes to when nobody has taken it on for so long.
type Level struct {
	Recipient string        // a name that delivery knows
	After     time.Duration // since the incident was opened
}

// Run sweeps until ctx ends, on the replica that writes the log.
func (x *Incidents) Run(ctx context.Context) {
	rounds.Rounds{Every: sweepEvery, Leading: x.Leading, Log: x.Log, Failed: "incidents were not swept; trying again"}.Run(ctx, x.Sweep)
}

// Sweep opens incidents for new critical alerts, reports every clock that has run out since, and
// sees to it that each report is in the log. What was done once is not done again.
func (x *Incidents) Sweep(ctx context.Context) error {
	list, err := x.Store.Unfinished(ctx, store.Incidents)
	if err != nil {
		return err
	}
	open := map[source]*subject{}
	for _, u := range list {
		s, err := x.load(ctx, u.Practice, u.ID)
		if err != nil && errs.KindOf(err) == errs.KindDataLoss {
			x.Log.ErrorContext(ctx, "an incident does not open and is left out", "incident", Name(u.ID), telemetry.KeyError, err.Error())
			continue // the others' clocks go on
		}
		if err != nil {
			return fmt.Errorf("%s: %w", Name(u.ID), err)
		}
		if s.state.Closed.IsZero() && s.state.Rule != "" {
			open[source{s.practice, s.state.Rule}] = s
		}
		if due := x.due(s, x.Now().UTC()); len(due) > 0 {
			if err := x.Store.AddNotices(ctx, due); err != nil {
				return err
			}
		}
	}
	if err := x.openFromAlerts(ctx, open); err != nil {
		return err
	}
	return x.register.Log(ctx, x.Now().Add(-unloggedFor))
}

// due lists what has to be told about an incident by now.
func (x *Incidents) due(s *subject, now time.Time) []store.Notice {
	var out []store.Notice
	add := func(reason, detail, recipient string, risk auditv1.Risk, due time.Time) {
		out = append(out, store.Notice{
			ID: uuid.Must(uuid.NewV7()), Practice: s.practice, Subject: Name(s.id), Reason: reason, Detail: detail,
			Recipient: recipient, Risk: int16(risk), Due: due, Created: now,
		})
	}
	i := s.state
	for p := range clocks {
		if _, done := i.Completed[p]; !done && i.Late(p, now) {
			add(ReasonPhaseLate, PhaseName(p), "", auditv1.Risk_RISK_HIGH, i.Due(p))
		}
	}
	if i.Severity == auditv1.Risk_RISK_CRITICAL && i.Acknowledged.IsZero() {
		for n, level := range x.Path {
			if due := i.Opened.Add(level.After); !now.Before(due) {
				add(ReasonEscalated, strconv.Itoa(n+1), level.Recipient, auditv1.Risk_RISK_CRITICAL, due)
			}
		}
	}
	for _, item := range i.Actions {
		if overdue(item, now) {
			last, _ := day(item.Due) // overdue has read it
			add(ReasonActionLate, item.ID.String(), "", auditv1.Risk_RISK_HIGH, (last + 1).Start(time.UTC))
		}
	}
	return out
}

// source is what opens an incident by itself. There is one open incident for each.
type source struct {
	practice uuid.UUID
	rule     string
}

const (
	alertCursor = "alerts"
	alertPage   = 1000
	// mostRanges is how many ranges an incident takes by itself; those who look into it find the rest by the rule.
	mostRanges = 200
)

// ours reports whether an alert is about incidents or breaches, which open no further ones.
func ours(reason string) bool {
	return strings.HasPrefix(reason, "INCIDENT_") || strings.HasPrefix(reason, "BREACH_")
}

// openFromAlerts reads the critical alerts since the last sweep. An alert of a rule that has an open
// incident in the practice becomes its evidence, any other opens one.
func (x *Incidents) openFromAlerts(ctx context.Context, open map[source]*subject) error {
	at, err := x.Store.Cursor(ctx, alertCursor)
	if err != nil {
		return err
	}
	for {
		alerts, err := x.Store.CriticalAlerts(ctx, at, alertPage)
		if err != nil || len(alerts) == 0 {
			return err
		}
		found := map[source][]store.Range{}
		var order []source
		for _, a := range alerts {
			at = store.AlertKey{Seq: a.Seq, Reason: a.Reason}
			if ours(a.Reason) {
				continue
			}
			key := source{a.Practice, a.Reason}
			if found[key] == nil {
				order = append(order, key)
			}
			found[key] = joined(found[key], a.Seq)
		}
		for _, key := range order {
			if err := x.raise(ctx, open, key, found[key]); err != nil {
				return err
			}
		}
		if err := x.Store.MoveCursor(ctx, alertCursor, at); err != nil {
			return err
		}
	}
}

// joined adds the next alert's entry to ranges. Only neighbours share one: what lies between two alerts is no
// evidence of either, and retention would spare it for good.
func joined(ranges []store.Range, seq int64) []store.Range {
	if n := len(ranges); n > 0 && seq <= ranges[n-1].To+1 {
		ranges[n-1].To = seq
		return ranges
	}
	return append(ranges, store.Range{From: seq, To: seq})
}

// raise opens an incident for a rule, or adds to the open one.
func (x *Incidents) raise(ctx context.Context, open map[source]*subject, key source, ranges []store.Range) error {
	now := x.Now().UTC().Truncate(time.Microsecond)
	if s := open[key]; s != nil {
		fresh := slices.DeleteFunc(slices.Clone(ranges), func(r store.Range) bool { return covered(s.state.Evidence, r) })
		fresh = fresh[:min(len(fresh), max(0, mostRanges-len(s.state.Evidence)))]
		if len(fresh) == 0 {
			return nil
		}
		err := x.Change(ctx, key.practice, s.id, attached(fresh, now)...)
		if err == nil {
			s.state.Evidence = append(s.state.Evidence, fresh...)
		}
		// One that was closed meanwhile, or that somebody filled, holds no other up.
		if reason := errs.ReasonOf(err); reason != "INCIDENT_CLOSED" && reason != "INCIDENT_FULL" {
			return err
		}
	}
	opened := Step{
		Kind: auditv1.IncidentStep_KIND_OPENED, Time: now,
		Facts: Facts{Rule: key.rule, Severity: auditv1.Risk_RISK_CRITICAL},
		Text:  fmt.Sprintf("%s, first seen in entry %d", key.rule, ranges[0].From),
	}
	id, err := x.Open(ctx, key.practice, append([]Step{opened}, attached(ranges[:min(len(ranges), mostRanges)], now)...)...)
	if err != nil {
		return err
	}
	open[key], err = x.load(ctx, key.practice, id)
	return err
}

// attached are the steps that make ranges evidence.
func attached(ranges []store.Range, now time.Time) []Step {
	steps := make([]Step, len(ranges))
	for i, r := range ranges {
		steps[i] = Step{Kind: auditv1.IncidentStep_KIND_EVIDENCE_ATTACHED, Time: now, Facts: Facts{From: r.From, To: r.To}}
	}
	return steps
}

// covered reports whether a range is evidence already, as after a sweep that did not come to its end.
func covered(ranges []store.Range, r store.Range) bool {
	return slices.ContainsFunc(ranges, func(have store.Range) bool { return have.From <= r.From && r.To <= have.To })
}
