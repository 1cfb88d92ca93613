// Package schedule knows when doctors work: it makes slots of working hours, and books, moves and
// lists appointments by them. That nobody is booked twice is not decided here but
// where documents are stored (internal/chart), for every writer alike.
package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // time zones do not depend on what the machine has installed

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
)

// Hours are the working hours of one doctor: the doctor's own over those of the practice.
type Hours struct {
	Zone     *time.Location
	slot     time.Duration
	periods  []*recordsv1.WorkingPeriod
	closures []*recordsv1.Closure
}

const maxSlots = 24 * time.Hour / chart.DoctorStep

// newHours joins the two; own is nil where the doctor has none.
func newHours(practice, own *recordsv1.WorkingHours) (*Hours, error) {
	zone, err := time.LoadLocation(practice.GetTimeZone())
	if err != nil {
		return nil, fmt.Errorf("the practice's time zone: %w", err)
	}
	h := &Hours{
		Zone: zone, slot: time.Duration(practice.GetSlotMinutes()) * time.Minute, periods: practice.GetPeriods(),
		closures: slices.Concat(practice.GetClosures(), own.GetClosures()),
	}
	if own.GetSlotMinutes() > 0 {
		h.slot = time.Duration(own.GetSlotMinutes()) * time.Minute
	}
	if len(own.GetPeriods()) > 0 {
		h.periods = own.GetPeriods()
	}
	return h, nil
}

// day is a date of the practice's calendar.
type day struct{ at time.Time } // its midnight, in UTC

func dayOf(date string) (day, error) {
	at, err := time.Parse(time.DateOnly, date)
	if err != nil || at.Year() < 1900 || at.Year() > 9000 {
		return day{}, errs.New(errs.KindInvalid, "DATE_INVALID", "There is no such day.").WithField("date", "must be a day, as YYYY-MM-DD")
	}
	return day{at}, nil
}

// span is the day in a zone: 23 or 25 hours where the clocks change.
func (d day) span(zone *time.Location) chart.Span {
	y, m, n := d.at.Date()
	return chart.Span{Start: time.Date(y, m, n, 0, 0, 0, 0, zone), End: time.Date(y, m, n+1, 0, 0, 0, 0, zone)}
}

func (d day) clock(text string, zone *time.Location) time.Time {
	hour, minute, _ := strings.Cut(text, ":")
	h, _ := strconv.Atoi(hour) // checked when it was stored
	m, _ := strconv.Atoi(minute)
	y, month, n := d.at.Date()
	return time.Date(y, month, n, h, m, 0, 0, zone)
}

// slots are the slots of a day, taken or not. They count from the start of each period by
// the clock that runs on, so a day on which the clocks change has fewer or more.
func (h *Hours) slots(d day) []chart.Span {
	if h.closed(d) {
		return nil
	}
	var out []chart.Span
	for _, p := range h.periods {
		if weekday(p.GetDay()) != d.at.Weekday() {
			continue
		}
		end := d.clock(p.GetEnd(), h.Zone)
		for at := d.clock(p.GetStart(), h.Zone); !at.Add(h.slot).After(end) && len(out) < int(maxSlots); at = at.Add(h.slot) {
			out = append(out, chart.Span{Start: at, End: at.Add(h.slot)})
		}
	}
	slices.SortFunc(out, func(a, b chart.Span) int { return a.Start.Compare(b.Start) })
	return out
}

// fit returns the slots from start to end as one span; a zero end means one slot.
func (h *Hours) fit(start, end time.Time) (chart.Span, error) {
	y, m, n := start.In(h.Zone).Date()
	var whole chart.Span
	for _, s := range h.slots(day{time.Date(y, m, n, 0, 0, 0, 0, time.UTC)}) {
		switch {
		case s.Start.Equal(start):
			whole = s
		case s.Start.Equal(whole.End) && whole.End.Before(end):
			whole.End = s.End
		}
	}
	if whole.Start.IsZero() || !end.IsZero() && !whole.End.Equal(end) {
		return chart.Span{}, errs.New(errs.KindPrecondition, "OUTSIDE_HOURS",
			"An appointment takes one or more whole slots within the doctor's working hours: list the free slots.").
			WithField("start_time", "begins or ends off the doctor's slots")
	}
	return whole, nil
}

func (h *Hours) closed(d day) bool {
	date := d.at.Format(time.DateOnly)
	return slices.ContainsFunc(h.closures, func(c *recordsv1.Closure) bool { return c.GetFirstDate() <= date && date <= c.GetLastDate() })
}

func weekday(d recordsv1.DayOfWeek) time.Weekday { return time.Weekday(int(d) % 7) }

// check refuses hours that make no sense.
func check(w *recordsv1.WorkingHours, practice bool) error {
	field := func(name, text string) error {
		return errs.New(errs.KindInvalid, "HOURS_INVALID", "The working hours cannot be as they are.").WithField("working_hours."+name, text)
	}
	_, err := time.LoadLocation(w.GetTimeZone())
	switch {
	case practice && (err != nil || w.GetTimeZone() == "" || w.GetTimeZone() == "Local"):
		return field("time_zone", "must be an IANA time zone, such as America/New_York")
	case !practice && w.GetTimeZone() != "":
		return field("time_zone", "is that of the practice; leave it out")
	case practice && w.GetSlotMinutes() == 0:
		return field("slot_minutes", "is required for the practice")
	case w.GetSlotMinutes()%5 != 0:
		return field("slot_minutes", "must be a multiple of 5")
	}
	for i, p := range w.GetPeriods() {
		if p.GetStart() >= p.GetEnd() {
			return field("periods", "each must end after it starts; make two of one that passes midnight")
		}
		for _, q := range w.GetPeriods()[:i] {
			if q.GetDay() == p.GetDay() && q.GetStart() < p.GetEnd() && p.GetStart() < q.GetEnd() {
				return field("periods", "two of one day overlap")
			}
		}
	}
	for _, c := range w.GetClosures() {
		if _, err := dayOf(c.GetFirstDate()); err != nil || c.GetFirstDate() > c.GetLastDate() {
			return field("closures", "each must be a day, and end on or after it")
		}
		if _, err := dayOf(c.GetLastDate()); err != nil {
			return field("closures", "each must end on a day that exists")
		}
	}
	return nil
}
