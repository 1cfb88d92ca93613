package clocks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/clocks"
)

// at reads a time as it is said in London, "2026-01-31 10:00".
func at(tb testing.TB, text string) time.Time {
	tb.Helper()
	return in(tb, calendar.London, text)
}

func in(tb testing.TB, zone *time.Location, text string) time.Time {
	tb.Helper()
	if text == "" {
		return time.Time{}
	}
	parsed, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
	require.NoError(tb, err)
	return parsed
}

const (
	england = calendar.EnglandAndWales
	scots   = calendar.Scotland
	ulster  = calendar.NorthernIreland
)

func TestDH02_UKDueDates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, received string
		nation         calendar.Nation
		right          clocks.Right
		told           string
		pauses         [][2]string
		due, reason    string
	}{
		{name: "corresponding date", received: "2026-09-03 10:00", due: "2026-10-05"}, // 3 October is a Saturday
		{name: "weekday stays", received: "2026-09-10 10:00", due: "2026-10-12"},      // a Saturday again
		{name: "plain", received: "2026-06-09 10:00", due: "2026-07-09"},
		{name: "31 January, no leap year", received: "2026-01-31 10:00", due: "2026-03-02"}, // 28 February is a Saturday
		{name: "31 January, the next year", received: "2027-01-31 10:00", due: "2027-03-01"},
		{name: "31 January, leap year", received: "2028-01-31 10:00", due: "2028-02-29"},
		{name: "29 February", received: "2028-02-29 10:00", due: "2028-03-29"},
		{name: "31 May", received: "2027-05-31 10:00", due: "2027-06-30"},
		{name: "Easter: Good Friday to Easter Tuesday", received: "2026-03-03 10:00", due: "2026-04-07"},
		{name: "Easter Monday is no holiday in Scotland", received: "2026-03-06 10:00", nation: scots, due: "2026-04-06"},
		{name: "Easter Monday is one in Northern Ireland", received: "2026-03-06 10:00", nation: ulster, due: "2026-04-07"},
		{name: "Christmas at a weekend with substitutes", received: "2027-11-25 10:00", due: "2027-12-29"},
		{name: "Christmas and Boxing Day", received: "2028-11-25 10:00", due: "2028-12-27"},
		{name: "Boxing Day moved to Monday", received: "2026-11-26 10:00", due: "2026-12-29"},
		{name: "New Year in England", received: "2027-12-02 10:00", due: "2028-01-04"},
		{name: "New Year in Scotland", received: "2027-12-02 10:00", nation: scots, due: "2028-01-05"},
		{name: "St Andrew", received: "2026-10-30 10:00", nation: scots, due: "2026-12-01"},
		{name: "not St Andrew in England", received: "2026-10-30 10:00", due: "2026-11-30"},
		{name: "the Twelfth", received: "2026-06-12 10:00", nation: ulster, due: "2026-07-14"},
		{name: "St Patrick", received: "2027-02-17 10:00", nation: ulster, due: "2027-03-18"},

		{name: "a minute before midnight", received: "2026-06-08 23:59", due: "2026-07-08"},
		{name: "a minute after it, 23:01 in UTC", received: "2026-06-09 00:01", due: "2026-07-09"},
		{name: "over the spring change of clocks", received: "2026-03-28 23:30", due: "2026-04-28"},
		{name: "over the autumn change of clocks", received: "2026-10-24 23:30", due: "2026-11-24"},

		{name: "complex", received: "2026-06-09 10:00", told: "2026-07-09 23:59", due: "2026-09-09"},
		{name: "complex, from 30 November", received: "2026-11-30 10:00", told: "2026-12-30 10:00", due: "2027-03-01"}, // 28 February is a Sunday
		{name: "told a day late", received: "2026-06-09 10:00", told: "2026-07-10 00:01", reason: "EXTENSION_TOO_LATE"},

		{name: "paused clock", received: "2026-06-09 10:00", pauses: [][2]string{{"2026-06-11 09:00", "2026-06-18 17:00"}}, due: "2026-07-16"},
		{name: "paused clock ends at a weekend", received: "2026-06-09 10:00", pauses: [][2]string{{"2026-06-11 09:00", "2026-06-20 17:00"}}, due: "2026-07-20"},
		{name: "answered the same day", received: "2026-06-09 10:00", pauses: [][2]string{{"2026-06-11 09:00", "2026-06-11 17:00"}}, due: "2026-07-09"},
		{name: "two pauses", received: "2026-06-09 10:00", pauses: [][2]string{{"2026-06-11 09:00", "2026-06-13 09:00"}, {"2026-06-15 09:00", "2026-06-16 09:00"}}, due: "2026-07-13"},
		{name: "paused over the change of clocks", received: "2026-10-20 10:00", pauses: [][2]string{{"2026-10-24 23:30", "2026-10-26 00:30"}}, due: "2026-11-23"},
		{name: "paused before the Act", received: "2026-01-20 10:00", pauses: [][2]string{{"2026-01-26 10:00", "2026-02-02 10:00"}}, due: "2026-02-20"},
		{name: "paused into the Act", received: "2026-01-20 10:00", pauses: [][2]string{{"2026-02-02 10:00", "2026-02-09 10:00"}}, due: "2026-02-24"},
		{name: "paused and complex", received: "2026-06-09 10:00", told: "2026-07-16 10:00", pauses: [][2]string{{"2026-06-11 09:00", "2026-06-18 17:00"}}, due: "2026-09-16"},
		{name: "pauses that overlap", received: "2026-06-09 10:00", pauses: [][2]string{{"2026-06-11 09:00", "2026-06-13 09:00"}, {"2026-06-12 09:00", "2026-06-16 09:00"}}, reason: "PAUSES_OUT_OF_ORDER"},
		{name: "pause before the request", received: "2026-06-09 10:00", pauses: [][2]string{{"2026-06-08 09:00", "2026-06-13 09:00"}}, reason: "PAUSES_OUT_OF_ORDER"},

		{name: "complaint", received: "2026-11-25 10:00", right: clocks.Complaint, due: "2026-12-25"},
		{name: "complaint is not extended", received: "2026-11-25 10:00", told: "2026-11-26 10:00", right: clocks.Complaint, reason: "NOT_EXTENDABLE"},
		{name: "beyond the table", received: "2028-12-02 10:00", reason: "HOLIDAYS_UNKNOWN"},
		{name: "no nation", received: "2026-06-09 10:00", nation: 9, reason: "NATION_REQUIRED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := clocks.Matter{Law: clocks.UKGDPR, Right: clocks.Access, Nation: england, Received: at(t, c.received).UTC(), Told: at(t, c.told)}
			if c.nation != 0 {
				m.Nation = c.nation
			}
			if c.right != 0 {
				m.Right = c.right
			}
			for _, p := range c.pauses {
				m.Pauses = append(m.Pauses, clocks.Pause{Start: at(t, p[0]), End: at(t, p[1])})
			}
			check(t, m, c.due, c.reason)
		})
	}
}

func check(t *testing.T, m clocks.Matter, due, reason string) {
	t.Helper()
	got, err := m.Due(m.Received)
	if reason != "" {
		require.Error(t, err)
		require.Equal(t, reason, errs.ReasonOf(err))
		return
	}
	require.NoError(t, err)
	require.Equal(t, due, got.String())
}

func TestDH02_HIPAADueDates(t *testing.T) {
	t.Parallel()
	chicago, err := time.LoadLocation("America/Chicago")
	require.NoError(t, err)
	for _, c := range []struct {
		name, received, told string
		right                clocks.Right
		due, reason          string
	}{
		{name: "access", received: "2026-01-31 10:00", right: clocks.Access, due: "2026-03-02"},
		{name: "access in a leap year", received: "2028-01-31 10:00", right: clocks.Access, due: "2028-03-01"},
		{name: "no day off at Christmas", received: "2026-11-25 10:00", right: clocks.Access, due: "2026-12-25"},
		{name: "access, extended", received: "2026-01-31 10:00", told: "2026-03-02 23:00", right: clocks.Access, due: "2026-04-01"},
		{name: "told too late", received: "2026-01-31 10:00", told: "2026-03-03 00:30", right: clocks.Access, reason: "EXTENSION_TOO_LATE"},
		{name: "amendment", received: "2026-03-01 10:00", right: clocks.Amendment, due: "2026-04-30"},
		{name: "amendment, extended", received: "2026-03-01 10:00", told: "2026-04-30 10:00", right: clocks.Amendment, due: "2026-05-30"},
		{name: "accounting", received: "2026-03-01 23:59", right: clocks.Accounting, due: "2026-04-30"},
		{name: "accounting, extended", received: "2026-03-01 10:00", told: "2026-03-02 10:00", right: clocks.Accounting, due: "2026-05-30"},
		{name: "no right to erasure", received: "2026-03-01 10:00", right: clocks.Erasure, reason: "RIGHT_NOT_IN_LAW"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			check(t, clocks.Matter{Law: clocks.HIPAA, Right: c.right, Zone: chicago,
				Received: in(t, chicago, c.received).UTC(), Told: in(t, chicago, c.told)}, c.due, c.reason)
		})
	}
	m := clocks.Matter{Law: clocks.HIPAA, Right: clocks.Access, Zone: chicago, Received: at(t, "2026-06-09 10:00"),
		Pauses: []clocks.Pause{{Start: at(t, "2026-06-10 10:00")}}}
	check(t, m, "", "CLOCK_NOT_PAUSABLE")
	check(t, clocks.Matter{Law: clocks.HIPAA, Right: clocks.Access, Received: at(t, "2026-06-09 10:00")}, "", "ZONE_REQUIRED")
}

// A pause that goes on moves the due day with every day; extension and pause never make it earlier.
func TestDH02_DueDaysOnlyEverMoveOn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		received := time.Date(2026, 2, 5, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 700*24*60).Draw(t, "received")) * time.Minute)
		m := clocks.Matter{Law: clocks.UKGDPR, Right: clocks.Access, Received: received,
			Nation: calendar.Nation(rapid.IntRange(1, 3).Draw(t, "nation"))}
		plain, err := m.Due(received)
		if err != nil {
			t.Fatal(err)
		}
		weekday := plain.Start(time.UTC).Weekday()
		gap := plain - calendar.DayOf(received, calendar.London)
		if weekday == time.Saturday || weekday == time.Sunday || gap < 28 || gap > 36 {
			t.Fatalf("%s is due on %s, a %s", received, plain, weekday)
		}
		m.Pauses = []clocks.Pause{{Start: received.Add(time.Hour)}}
		before := plain
		for days := range 40 {
			due, err := m.Due(received.AddDate(0, 0, days).Add(2 * time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if due < before {
				t.Fatalf("the day moved back to %s", due)
			}
			before = due
		}
		if before <= plain {
			t.Fatal("a pause of 39 days moved nothing")
		}
		m.Pauses, m.Told = nil, received
		if more, err := m.Due(received); err != nil || more <= plain {
			t.Fatalf("extended to %s: %v", more, err)
		}
	})
}

func TestAccounting528_FirstOneInTwelveMonthsIsFree(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-11-26 10:00")
	require.True(t, clocks.FreeAccounting(now, nil, calendar.London))
	require.True(t, clocks.FreeAccounting(now, []time.Time{at(t, "2025-11-26 10:00")}, calendar.London))
	require.False(t, clocks.FreeAccounting(now, []time.Time{at(t, "2025-11-27 00:10")}, calendar.London))
	require.False(t, clocks.FreeAccounting(now, []time.Time{now.Add(-time.Hour)}, calendar.London))
	require.True(t, clocks.FreeAccounting(now, []time.Time{now.Add(48 * time.Hour)}, calendar.London), "a later one costs, not this")
}
