package completeness

import (
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/outbox/ranges"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// roll is what one sweep works on: the account of each process, and what was heard before the
// arrivals were read. It talks to nobody.
type roll struct {
	epochs map[process]*store.Epoch
	beats  map[process]beat
}

func (r *roll) epoch(p process) *store.Epoch {
	e, ok := r.epochs[p]
	if !ok {
		e = &store.Epoch{Service: p.service, ID: p.epoch}
		r.epochs[p] = e
	}
	return e
}

// arrive adds rows that came.
func (r *roll) arrive(a store.Arrival) {
	e := r.epoch(process{a.Service, a.Epoch})
	e.Arrived = e.Arrived.Union(a.Numbers)
	e.Claimed = e.Claimed.Union(a.Claimed)
}

// judge takes the heartbeats and returns what is wrong. Listening says since when no heartbeat
// can have been missed; zero where there is no connection.
func (r *roll) judge(now, listening time.Time) []store.Finding {
	var found []store.Finding
	report := func(e *store.Epoch, reason string, numbers ranges.Set) {
		e.Told = e.Told.Union(numbers)
		found = append(found, store.Finding{
			ID: uuid.Must(uuid.NewV7()), Reason: reason, Service: e.Service, Epoch: e.ID, Numbers: numbers, Time: now,
		})
	}
	for p, b := range r.beats {
		e := r.epoch(p)
		fresh := b.at.After(e.Beat) || (b.goodbye && !e.Ended)
		if fresh {
			e.Claimed = e.Claimed.Union(b.committed)
			e.Beat, e.Silent, e.Ended = b.at, false, b.goodbye
		}
		if denied := disowned(e, b, now); len(denied) > 0 {
			report(e, ReasonDenied, denied)
		}
		if fresh && b.aged && b.age < patience {
			e.Late = false
		}
		if fresh && b.aged && b.age >= patience && !e.Late {
			if !r.late(p.service) { // each process of a service tells of the same table
				report(e, ReasonLate, nil)
			}
			e.Late = true
		}
	}
	for _, e := range r.epochs {
		if gap := r.gap(e, now); len(gap) > 0 {
			report(e, ReasonGap, gap)
		}
		if silent(e, now, listening) {
			e.Silent = true
			report(e, ReasonSilent, nil)
		}
	}
	return found
}

// gap returns numbers that were claimed and cannot come any more. For patience they have not come,
// and after it the service said that no row as old as that is in its outbox. So neither a broker
// that is away nor rows that overtake each other make a gap: while a row waits, its age says so.
func (r *roll) gap(e *store.Epoch, now time.Time) ranges.Set {
	missing := e.Claimed.Minus(e.Arrived).Minus(e.Told)
	still := e.Missing.And(missing)
	if len(still) == 0 {
		e.Missing, e.MissingSince = missing, now
		return nil
	}
	if !r.gone(e.Service, e.MissingSince) {
		return nil
	}
	e.Missing, e.MissingSince = missing.Minus(still), now
	return still
}

// gone reports whether a service said, patience after a moment, that no row of before that
// moment is in its outbox.
func (r *roll) gone(service int16, since time.Time) bool {
	for p, b := range r.beats {
		waited := b.at.Sub(since)
		if p.service == service && b.aged && waited >= patience && b.age < waited-slack {
			return true
		}
	}
	return false
}

// disowned returns numbers that came, and that the process did not commit: for patience, all its
// heartbeats left them out.
func disowned(e *store.Epoch, b beat, now time.Time) ranges.Set {
	unknown := e.Arrived.From(b.first).Minus(b.committed).Minus(b.unsettled).Minus(e.Told)
	still := e.Denied.And(unknown)
	if len(still) == 0 {
		e.Denied, e.DeniedSince = unknown, now
		return nil
	}
	if b.at.Sub(e.DeniedSince) < patience {
		return nil
	}
	e.Denied, e.DeniedSince = unknown.Minus(still), now
	return still
}

func (r *roll) late(service int16) bool {
	for p, e := range r.epochs {
		if p.service == service && e.Late && !e.Ended && !e.Silent {
			return true
		}
	}
	return false
}

func silent(e *store.Epoch, now, listening time.Time) bool {
	if e.Beat.IsZero() || e.Ended || e.Silent || listening.IsZero() {
		return false
	}
	since := e.Beat
	if listening.After(since) {
		since = listening
	}
	return now.Sub(since) > patience
}
