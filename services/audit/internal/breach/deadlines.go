package breach

import (
	"maps"
	"slices"
	"time"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// The figures of the rules.
const (
	// individualDays: 45 CFR 164.404(b), at most; the same for media (164.406(b)) and large breaches (164.408(b)).
	individualDays = 60
	// hhsLarge: 164.408(b), "500 or more individuals".
	hhsLarge = 500
	// hhsYearDays: 164.408(c), days after the end of the calendar year of discovery.
	hhsYearDays = 60
	// mediaMore: 164.406(a), "more than 500 residents of a State".
	mediaMore = 500
	// icoHours: Article 33(1) of the UK GDPR.
	icoHours = 72 * time.Hour
	// oralDays: 164.412(b).
	oralDays = 30
	// substituteFrom: 164.404(d)(2)(ii), "10 or more individuals"; substituteDays is how long the notice stands.
	substituteFrom = 10
	substituteDays = 90
)

// Deadline is one duty to tell somebody.
type Deadline struct {
	Kind  auditv1.Deadline_Kind
	State string       // of media
	Day   calendar.Day // the last one
	End   time.Time    // from here on it is late
	Done  time.Time
}

// Late reports whether it was done late, or is not done although the time has passed.
func (d Deadline) Late(now time.Time) bool {
	if !d.Done.IsZero() {
		now = d.Done
	}
	return !now.Before(d.End)
}

// Deadlines computes what is due. Nobody has been counted yet where Total is 0, and then the
// earlier of the days of HHS holds.
func (b *Breach) Deadlines(r store.Reach) []Deadline {
	var out []Deadline
	if b.Notifiable() {
		individuals := max(b.Discovery+individualDays, b.Delay)
		hhs := individuals
		if r.Total > 0 && r.Total < hhsLarge {
			hhs = max(calendar.NewDay(b.Discovery.Year()+1, 1, 0)+hhsYearDays, b.Delay)
		}
		out = append(out,
			b.deadline(auditv1.Deadline_KIND_INDIVIDUALS, "", individuals, b.told(r)),
			b.deadline(auditv1.Deadline_KIND_HHS, "", hhs, b.Notified[target{kind: auditv1.Deadline_KIND_HHS}]))
		for _, state := range slices.Sorted(maps.Keys(b.States)) {
			if b.States[state] > mediaMore {
				out = append(out, b.deadline(auditv1.Deadline_KIND_MEDIA, state, individuals, b.Notified[target{auditv1.Deadline_KIND_MEDIA, state}]))
			}
		}
	}
	if !b.Aware.IsZero() {
		// Whether people are at risk is asked by another rule than the four factors, and no delay of 164.412 moves it.
		end := b.Aware.Add(icoHours)
		out = append(out, Deadline{
			Kind: auditv1.Deadline_KIND_ICO, Day: calendar.DayOf(end, b.Zone), End: end.Add(time.Microsecond), Done: b.Notified[target{kind: auditv1.Deadline_KIND_ICO}],
		})
	}
	return out
}

func (b *Breach) deadline(kind auditv1.Deadline_Kind, state string, last calendar.Day, done time.Time) Deadline {
	return Deadline{Kind: kind, State: state, Day: last, End: (last + 1).Start(b.Zone), Done: done}
}

// told is when everybody was told: a letter was sent, and substitute notice stands for those whom none can reach. That
// a letter came back later does not make it late. Zero where somebody was not told.
func (b *Breach) told(r store.Reach) time.Time {
	if r.Total == 0 || r.Pending > 0 || (r.Unreachable > 0 && !b.substituted(r)) {
		return time.Time{}
	}
	var at time.Time
	if r.Last != nil {
		at = *r.Last
	}
	if r.Unsent > 0 && b.Substitute.After(at) {
		at = b.Substitute
	}
	return at
}

// substituted reports whether the substitute notice is of the kind that so many ask for.
func (b *Breach) substituted(r store.Reach) bool {
	return !b.Substitute.IsZero() && (r.Unreachable < substituteFrom || b.Conspicuous)
}
