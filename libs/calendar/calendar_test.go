package calendar_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/errs"
)

const (
	england = calendar.EnglandAndWales
	scots   = calendar.Scotland
	ulster  = calendar.NorthernIreland
)

func TestWorkingDaysLeaveOutWeekendsAndTheNationsHolidays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, from string
		nation     calendar.Nation
		want       string
	}{
		{"a plain week", "2026-06-08", england, "2026-06-15"},
		{"from a Saturday", "2026-06-06", england, "2026-06-12"},
		{"from a Sunday", "2026-06-07", england, "2026-06-12"},
		{"over Easter in England", "2026-04-02", england, "2026-04-13"},
		{"over Easter in Scotland", "2026-04-02", scots, "2026-04-10"},
		{"over Christmas, Boxing Day on a Monday", "2026-12-23", england, "2027-01-04"},
		{"New Year in England", "2027-12-30", england, "2028-01-07"},
		{"New Year in Scotland", "2027-12-30", scots, "2028-01-10"},
		{"the Twelfth", "2026-07-10", ulster, "2026-07-20"},
		{"no Twelfth in England", "2026-07-10", england, "2026-07-17"},
	} {
		got, err := calendar.AddWorkingDays(day(t, c.from), 5, c.nation)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, got.String(), c.name)
		require.LessOrEqual(t, calendar.AddWeekdays(day(t, c.from), 5), got, "%s: weekdays alone are never later", c.name)
	}
	require.Equal(t, "2026-06-12", calendar.AddWeekdays(day(t, "2026-06-06"), 5).String())
	_, err := calendar.AddWorkingDays(day(t, "2028-12-27"), 5, england)
	require.Equal(t, "HOLIDAYS_UNKNOWN", errs.ReasonOf(err))
	_, err = calendar.AddWorkingDays(day(t, "2026-06-08"), 5, 0)
	require.Equal(t, "NATION_REQUIRED", errs.ReasonOf(err))
}

func day(t *testing.T, text string) calendar.Day {
	t.Helper()
	at, err := time.Parse(time.DateOnly, text)
	require.NoError(t, err)
	return calendar.DayOf(at, time.UTC)
}

// The table's days are those that the law's rules give: each at a working day, in the number that a nation has.
func TestDH02_TableOfBankHolidays(t *testing.T) {
	t.Parallel()
	for nation, want := range map[calendar.Nation]int{england: 8, scots: 9, ulster: 10} {
		for year := 2025; year <= 2028; year++ {
			require.Len(t, calendar.HolidaysOf(nation, year), want, "nation %d in %d", nation, year)
			for _, d := range calendar.HolidaysOf(nation, year) {
				w := d.Start(time.UTC).Weekday()
				require.True(t, w >= time.Monday && w <= time.Friday, "%s is a %s", d, w)
			}
			require.Contains(t, calendar.HolidaysOf(nation, year), easter(year)-2, "Good Friday")
			if nation != scots {
				require.Contains(t, calendar.HolidaysOf(nation, year), easter(year)+1, "Easter Monday")
			}
		}
	}
}

// easter is Easter Sunday by the anonymous Gregorian computus.
func easter(year int) calendar.Day {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	n := h + l - 7*m + 114
	return calendar.NewDay(year, time.Month(n/31), n%31+1)
}
