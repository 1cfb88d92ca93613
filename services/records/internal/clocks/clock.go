// Package clocks computes by when the law wants an answer to a patient's request:
// UK GDPR Article 12(3) as the Data (Use and Access) Act 2025 changed it, and
// 45 CFR 164.524, 526 and 528. It is arithmetic on calendar days and knows no database.
// Where a rule can be read in two ways it takes the earlier day: an answer by then is in time under both.
package clocks

import (
	"time"

	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/errs"
)

// Law is what a request is answered under.
type Law uint8

// The laws; the zero value is none.
const (
	UKGDPR Law = iota + 1
	HIPAA
)

// Right is what a request asks for.
type Right uint8

// The rights; the zero value is none.
const (
	Access Right = iota + 1
	Amendment
	Erasure
	Portability
	Accounting
	Restriction
	Complaint
)

// pausesSince is when the Data (Use and Access) Act 2025 let a question stop the clock.
// Days of a pause before it count as if there had been none.
var pausesSince = calendar.NewDay(2026, time.February, 5)

// Period is how long the controller may take.
type Period struct {
	Months, Days int
	// MoreMonths and MoreDays are what an extension adds, once; none where both are zero.
	MoreMonths, MoreDays int
}

// Pause is the time in which the controller waits for an answer of the person: who they
// are, or what they mean. The zero End is a pause that has not ended.
type Pause struct{ Start, End time.Time }

// Matter is a request, as far as its clock goes.
type Matter struct {
	Law    Law
	Right  Right
	Nation calendar.Nation // UK GDPR: whose bank holidays count
	Zone   *time.Location  // HIPAA: whose days count; UK GDPR counts London's
	// Received is when the request came in, Told when the person was told of an extension (zero: never).
	Received, Told time.Time
	// Pauses in the order of their starts; UK GDPR only.
	Pauses []Pause
}

var (
	errZone     = errs.New(errs.KindInvalid, "ZONE_REQUIRED", "Days are counted where the practice is: name its time zone.").WithField("time_zone", "is required under HIPAA, as America/Chicago")
	errNoRight  = errs.New(errs.KindInvalid, "RIGHT_NOT_IN_LAW", "This law gives no such right; record the request under the law that does.")
	errNoPause  = errs.New(errs.KindPrecondition, "CLOCK_NOT_PAUSABLE", "Under this law no question stops the clock.")
	errPauses   = errs.New(errs.KindInvalid, "PAUSES_OUT_OF_ORDER", "A pause begins after the request came in, ends after it began, and before the next begins.")
	errNoMore   = errs.New(errs.KindPrecondition, "NOT_EXTENDABLE", "The law gives no extension for this request.")
	errToldLate = errs.New(errs.KindPrecondition, "EXTENSION_TOO_LATE", "An extension counts only where the person is told of it within the first period, and that has ended.")
)

// PeriodOf is what the law allows. HIPAA sets no time for restrictions and complaints;
// there it is the 30 days of access, which is the practice's promise and no rule.
func PeriodOf(l Law, r Right) (Period, error) {
	switch {
	case l == UKGDPR && r == Complaint: // acknowledged within 30 days, Data Protection Act 2018 s. 164A
		return Period{Days: 30}, nil
	case l == UKGDPR && r >= Access && r <= Restriction: // Article 12(3)
		return Period{Months: 1, MoreMonths: 2}, nil
	case l == HIPAA && (r == Access || r == Portability): // 164.524(b)(2)
		return Period{Days: 30, MoreDays: 30}, nil
	case l == HIPAA && (r == Amendment || r == Accounting): // 164.526(b)(2), 164.528(c)(1)
		return Period{Days: 60, MoreDays: 30}, nil
	case l == HIPAA && (r == Restriction || r == Complaint):
		return Period{Days: 30}, nil
	}
	return Period{}, errNoRight
}

// Where is the time zone in which the matter's days are counted.
func (m Matter) Where() (*time.Location, error) {
	if m.Law == UKGDPR {
		return calendar.London, nil
	}
	if m.Zone == nil {
		return nil, errZone
	}
	return m.Zone, nil
}

// Paused reports whether the clock stands still.
func (m Matter) Paused() bool {
	return len(m.Pauses) > 0 && m.Pauses[len(m.Pauses)-1].End.IsZero()
}

// Due is the last day on which an answer is in time. In a pause that has not ended
// it is what it would be if the pause ended now.
func (m Matter) Due(now time.Time) (calendar.Day, error) {
	period, err := PeriodOf(m.Law, m.Right)
	if err != nil {
		return 0, err
	}
	first, err := m.end(period.Months, period.Days, now)
	if err != nil || m.Told.IsZero() {
		return first, err
	}
	if period.MoreMonths == 0 && period.MoreDays == 0 {
		return 0, errNoMore
	}
	where, err := m.Where()
	if err != nil {
		return 0, err
	}
	if calendar.DayOf(m.Told, where) > first {
		return 0, errToldLate
	}
	return m.end(period.Months+period.MoreMonths, period.Days+period.MoreDays, now)
}

// end is the last day of a period that begins with the receipt.
func (m Matter) end(months, days int, now time.Time) (calendar.Day, error) {
	where, err := m.Where()
	if err != nil {
		return 0, err
	}
	paused, err := m.paused(where, now)
	if err != nil {
		return 0, err
	}
	due := calendar.DayOf(m.Received, where).AddMonths(months) + calendar.Day(days+paused)
	if months == 0 { // periods in days are calendar days
		return due, nil
	}
	return calendar.WorkingDay(due, m.Nation)
}

// paused counts the days between asking and being answered; the day of the answer counts
// for the controller's time again.
func (m Matter) paused(where *time.Location, now time.Time) (int, error) {
	if len(m.Pauses) > 0 && (m.Law != UKGDPR || m.Right == Complaint) {
		return 0, errNoPause
	}
	total, before := 0, m.Received
	for i, p := range m.Pauses {
		end := p.End
		if end.IsZero() {
			end = now
			if i != len(m.Pauses)-1 {
				return 0, errPauses
			}
		}
		if p.Start.Before(before) || end.Before(p.Start) {
			return 0, errPauses
		}
		total += max(0, int(calendar.DayOf(end, where)-max(calendar.DayOf(p.Start, where), pausesSince)))
		before = end
	}
	return total, nil
}

// FreeAccounting reports whether an accounting of disclosures is the first in the 12 months
// up to it, and therefore free (164.528(c)(2)). earlier are the receipts of others.
func FreeAccounting(received time.Time, earlier []time.Time, where *time.Location) bool {
	day := calendar.DayOf(received, where)
	for _, e := range earlier {
		if d := calendar.DayOf(e, where); d <= day && d.AddMonths(12) > day {
			return false
		}
	}
	return true
}
