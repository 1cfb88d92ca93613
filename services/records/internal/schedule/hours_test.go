package schedule

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func practiceHours() *recordsv1.WorkingHours {
	return &recordsv1.WorkingHours{TimeZone: "America/New_York", SlotMinutes: 30, Periods: []*recordsv1.WorkingPeriod{
		{Day: recordsv1.DayOfWeek_DAY_OF_WEEK_SUNDAY, Start: "00:00", End: "24:00"},
		{Day: recordsv1.DayOfWeek_DAY_OF_WEEK_MONDAY, Start: "13:00", End: "14:45"},
		{Day: recordsv1.DayOfWeek_DAY_OF_WEEK_MONDAY, Start: "08:00", End: "09:00"},
	}}
}

func slotsOf(t *testing.T, h *Hours, date string) []string {
	t.Helper()
	d, err := dayOf(date)
	require.NoError(t, err)
	var out []string
	for _, s := range h.slots(d) {
		require.Equal(t, h.slot, s.End.Sub(s.Start))
		out = append(out, s.Start.Format("15:04 MST"))
	}
	return out
}

func TestSlotsOfADay(t *testing.T) {
	t.Parallel()
	h, err := newHours(practiceHours(), nil)
	require.NoError(t, err)
	// A rest that is shorter than a slot is no slot.
	require.Equal(t, []string{"08:00 EST", "08:30 EST", "13:00 EST", "13:30 EST", "14:00 EST"}, slotsOf(t, h, "2026-11-30"))
	require.Empty(t, slotsOf(t, h, "2026-12-01"), "a Tuesday")
	own := &recordsv1.WorkingHours{SlotMinutes: 60, Closures: []*recordsv1.Closure{{FirstDate: "2026-12-07", LastDate: "2026-12-13"}}}
	mine, err := newHours(practiceHours(), own)
	require.NoError(t, err)
	require.Equal(t, []string{"08:00 EST", "13:00 EST"}, slotsOf(t, mine, "2026-11-30"))
	require.Empty(t, slotsOf(t, mine, "2026-12-07"))
	require.Len(t, slotsOf(t, mine, "2026-12-14"), 2)
}

// On the days on which the clocks change there are two slots fewer and two more, none twice.
func TestSlotsWhenTheClocksChange(t *testing.T) {
	t.Parallel()
	h, err := newHours(practiceHours(), nil)
	require.NoError(t, err)
	for date, slots := range map[string]int{"2026-03-01": 48, "2026-03-08": 46, "2026-11-01": 50} {
		d, err := dayOf(date)
		require.NoError(t, err)
		list := h.slots(d)
		require.Len(t, list, slots, date)
		span := d.span(h.Zone)
		require.Equal(t, span.Start, list[0].Start, date)
		require.Equal(t, span.End, list[len(list)-1].End, date)
		for i := range list[1:] {
			require.Equal(t, list[i].End, list[i+1].Start, date)
		}
	}
	spring := slotsOf(t, h, "2026-03-08")
	require.Contains(t, spring, "01:30 EST")
	require.Contains(t, spring, "03:00 EDT")
	autumn := slotsOf(t, h, "2026-11-01")
	require.Contains(t, autumn, "01:30 EDT")
	require.Contains(t, autumn, "01:30 EST")
}

func TestBookingFitsWholeSlots(t *testing.T) {
	t.Parallel()
	h, err := newHours(practiceHours(), nil)
	require.NoError(t, err)
	at := func(clock string) time.Time {
		when, err := time.ParseInLocation("2006-01-02 15:04", "2026-11-30 "+clock, h.Zone)
		require.NoError(t, err)
		return when
	}
	for _, c := range []struct {
		start, end, want string
	}{
		{"08:00", "", "08:30"}, {"08:00", "09:00", "09:00"}, {"13:30", "14:30", "14:30"},
		{"08:00", "13:30", ""}, // through the break
		{"08:10", "", ""}, {"08:00", "08:45", ""}, {"14:30", "", ""}, {"08:30", "08:30", ""}, {"08:30", "08:00", ""}, {"07:30", "08:30", ""},
	} {
		end := time.Time{}
		if c.end != "" {
			end = at(c.end)
		}
		span, err := h.fit(at(c.start), end)
		if c.want == "" {
			require.Equal(t, "OUTSIDE_HOURS", errs.ReasonOf(err), "%v", c)
			continue
		}
		require.NoError(t, err)
		require.True(t, span.Start.Equal(at(c.start)) && span.End.Equal(at(c.want)), "%v", c)
	}
}

func TestHoursThatMakeNoSense(t *testing.T) {
	t.Parallel()
	require.NoError(t, check(practiceHours(), true))
	require.NoError(t, check(&recordsv1.WorkingHours{}, false))
	for name, change := range map[string]func(*recordsv1.WorkingHours){
		"zone":      func(w *recordsv1.WorkingHours) { w.TimeZone = "Mars/Olympus" },
		"no zone":   func(w *recordsv1.WorkingHours) { w.TimeZone = "" },
		"this zone": func(w *recordsv1.WorkingHours) { w.TimeZone = "Local" },
		"a path":    func(w *recordsv1.WorkingHours) { w.TimeZone = "../etc" },
		"no slots":  func(w *recordsv1.WorkingHours) { w.SlotMinutes = 0 },
		"odd slots": func(w *recordsv1.WorkingHours) { w.SlotMinutes = 7 },
		"backwards": func(w *recordsv1.WorkingHours) { w.Periods[1].End = "12:00" },
		"overlap":   func(w *recordsv1.WorkingHours) { w.Periods[2].End = "13:30" },
		"no such day": func(w *recordsv1.WorkingHours) {
			w.Closures = []*recordsv1.Closure{{FirstDate: "2026-02-30", LastDate: "2026-03-01"}}
		},
		"closed backwards": func(w *recordsv1.WorkingHours) {
			w.Closures = []*recordsv1.Closure{{FirstDate: "2026-03-02", LastDate: "2026-03-01"}}
		},
	} {
		w := proto.CloneOf(practiceHours())
		change(w)
		require.Equal(t, "HOURS_INVALID", errs.ReasonOf(check(w, true)), name)
	}
	require.Equal(t, "HOURS_INVALID", errs.ReasonOf(check(&recordsv1.WorkingHours{TimeZone: "UTC"}, false)), "a doctor has no zone of their own")
}
