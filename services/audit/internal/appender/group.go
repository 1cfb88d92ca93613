package appender

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/event"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Reasons of the entries and alerts that the appender itself makes.
const (
	// ReasonParked: a message held something that cannot be in the log.
	ReasonParked = "MESSAGE_PARKED"
	// ReasonClockBack: the clock of the writer fell behind the log's own time.
	ReasonClockBack = "CLOCK_BACK"
	// ReasonReviewOverdue: nobody reviewed the log of a practice for a week.
	ReasonReviewOverdue = "LOG_REVIEW_OVERDUE"
	// ReasonSkewed: an event's time is far from that of its id or of the clock.
	ReasonSkewed = "CLOCK_SKEW"
)

const (
	// clockTolerance is how far a clock may be corrected backwards without an alert.
	clockTolerance = 5 * time.Second
	// method names what the appender does, where an RPC would stand.
	method = "jobs/Append"
)

// append commits the submissions as one group. Events that the log holds already
// are left out; where nothing is left, only the rows that they came in are noted.
func (w *writer) append(ctx context.Context, submissions []Submission) error {
	started := w.Now()
	events, err := w.fresh(ctx, submissions)
	if err != nil {
		return err
	}
	g := &store.Group{From: w.tree.Size()}
	g.Checkpoint = ledger.Checkpoint{Log: w.Name, Time: w.time(started)}
	g.Arrivals = arrivals(submissions)
	if events, err = w.report(ctx, g, events, submissions, started); err != nil {
		return err
	}
	if len(events) == 0 {
		// Rows whose events came before: by another way, or under a release that noted no rows.
		if len(g.Arrivals) == 0 {
			return nil
		}
		return store.Arrive(ctx, w.conn, g.Arrivals, g.Checkpoint.Time)
	}
	if err := w.partitions(ctx, events); err != nil {
		return err
	}
	if err := w.build(ctx, g, events); err != nil {
		return err
	}
	if err := store.Append(ctx, w.conn, g); err != nil {
		return err
	}
	w.last = g.Checkpoint
	w.committed(ctx, g, events, started)
	return nil
}

// time is the time of the append. The log's time never runs backwards, whatever the clock does.
func (w *writer) time(now time.Time) time.Time {
	now = now.UTC().Truncate(time.Microsecond)
	if now.Before(w.last.Time) {
		return w.last.Time
	}
	return now
}

// fresh returns the events that are not in the log yet, each once.
func (w *writer) fresh(ctx context.Context, submissions []Submission) ([]event.Event, error) {
	var ids []uuid.UUID
	for _, s := range submissions {
		for i := range s.Events {
			ids = append(ids, s.Events[i].Index.EventID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	known, err := store.KnownEvents(ctx, w.conn, ids)
	if err != nil {
		return nil, err
	}
	events := make([]event.Event, 0, len(ids)-len(known))
	for _, s := range submissions {
		for _, e := range s.Events {
			if !known[e.Index.EventID] {
				known[e.Index.EventID] = true
				events = append(events, e)
			}
		}
	}
	return events, nil
}

// report adds the appender's own events: messages that are parked, a clock that runs backwards.
func (w *writer) report(ctx context.Context, g *store.Group, events []event.Event, submissions []Submission, now time.Time) ([]event.Event, error) {
	seen := map[[32]byte]bool{}
	for _, s := range submissions {
		for _, p := range s.Parked {
			digest := sha256.Sum256(append([]byte(p.Subject+"\x00"), p.Payload...))
			known, err := store.KnownParked(ctx, w.conn, digest)
			if err != nil {
				return nil, err
			}
			if known || seen[digest] {
				continue
			}
			seen[digest] = true
			e, err := w.own(ReasonParked)
			if err != nil {
				return nil, err
			}
			g.Parked = append(g.Parked, store.Parked{
				Digest: digest, Seq: g.From + int64(len(events)), Subject: p.Subject,
				Reason: p.Problem.Error(), Payload: p.Payload, Time: g.Checkpoint.Time,
			})
			events = append(events, e)
		}
	}
	behind := g.Checkpoint.Time.Sub(now) > clockTolerance
	if behind && !w.behind {
		e, err := w.own(ReasonClockBack)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	w.behind = behind
	return events, nil
}

// own makes an event of critical risk about the log itself. It belongs to no practice.
func (w *writer) own(reason string) (event.Event, error) {
	recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, method, accessv1.Action_ACTION_VERIFY, w.Now)
	e := recorder.Event(evidence.Outcome(auditv1.Outcome_OUTCOME_FAILED, codes.DataLoss, reason),
		func(e *auditv1.Event) { e.Risk = auditv1.Risk_RISK_CRITICAL })
	made, err := event.From(e, event.Origin{Service: accessv1.Service_SERVICE_AUDIT, Now: w.Now()})
	if err != nil {
		return event.Event{}, fmt.Errorf("report %s: %w", reason, err)
	}
	return made, nil
}

func (w *writer) partitions(ctx context.Context, events []event.Event) error {
	for i := range events {
		month := event.Month(events[i].Index.EventID)
		if w.months[month] {
			continue
		}
		if err := store.EnsurePartition(ctx, w.conn, month); err != nil {
			return err
		}
		w.months[month] = true
	}
	return nil
}

// build numbers the events, adds them to the tree and has the new tree head signed.
func (w *writer) build(ctx context.Context, g *store.Group, events []event.Event) error {
	salts := ledger.NewSalts(len(events))
	g.Entries = make([]ledger.Entry, len(events))
	for i := range events {
		e := &events[i]
		leaf, err := ledger.LeafHash(salts[i], e.Raw)
		if err != nil {
			return err
		}
		seq := w.tree.Size()
		g.Entries[i] = ledger.Entry{Seq: seq, Leaf: leaf, Event: e.Raw, Salt: salts[i], Index: &e.Index, AppendTime: &g.Checkpoint.Time}
		tiles, err := w.tree.Append(leaf)
		if err != nil {
			return err
		}
		g.Tiles = append(g.Tiles, tiles...)
		g.Alerts = append(g.Alerts, alerts(e, seq, g.Checkpoint.Time)...)
	}
	var err error
	g.Checkpoint.Size = w.tree.Size()
	if g.Checkpoint.Root, err = w.tree.Root(); err != nil {
		return err
	}
	signer, err := w.Keys.Signer(ctx)
	if err != nil {
		return fmt.Errorf("sign checkpoint of size %d: %w", g.Checkpoint.Size, err)
	}
	g.Note, err = g.Checkpoint.Sign(signer)
	return err
}

// alerts returns what somebody should look at in an event.
func alerts(e *event.Event, seq int64, at time.Time) []store.Alert {
	var list []store.Alert
	add := func(reason string, risk auditv1.Risk) {
		list = append(list, store.Alert{Seq: seq, Reason: reason, Practice: e.Index.Practice, Risk: int16(risk), Time: at})
	}
	if e.Detection != event.NotDetected {
		if e.Detection == event.Detected {
			add(e.Reason, e.Risk)
		}
		return list // its id has the time of the entry that was looked at, which may be long ago
	}
	if e.Risk == auditv1.Risk_RISK_CRITICAL {
		add(e.Reason, auditv1.Risk_RISK_CRITICAL)
	}
	// Only this service says so, whatever others give as their reason.
	if e.Reason == ReasonReviewOverdue && e.Index.Where.Service == int16(accessv1.Service_SERVICE_AUDIT) {
		add(e.Reason, auditv1.Risk_RISK_HIGH)
	}
	if e.Skewed(at) && e.Reason != ReasonSkewed {
		add(ReasonSkewed, auditv1.Risk_RISK_HIGH)
	}
	return list
}
