// Package calendar counts days where people live: calendar days, working days, and the
// bank holidays of the United Kingdom. It knows no law and no deadline; those are its users'.
package calendar

import (
	"time"
	_ "time/tzdata" // images without time zones must count the same days
)

// Day is a calendar day, counted from 1 January 1970. It has no time zone and no hours,
// so that no change of the clocks moves it.
type Day int

const dayLength = 24 * time.Hour

// NewDay is the day of a date; values beyond a month go on into the next, as in time.Date.
func NewDay(year int, month time.Month, day int) Day {
	return Day(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / int64(dayLength/time.Second))
}

// DayOf is the day that it was somewhere at an instant.
func DayOf(at time.Time, where *time.Location) Day {
	return NewDay(at.In(where).Date())
}

// ParseDay reads a day as YYYY-MM-DD, and refuses one that no month has.
func ParseDay(text string) (Day, error) {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, err
	}
	return DayOf(at, time.UTC), nil
}

// Year is the year that the day is in.
func (d Day) Year() int {
	year, _, _ := d.date()
	return year
}

// Start is the instant at which the day begins there.
func (d Day) Start(where *time.Location) time.Time {
	y, m, n := d.date()
	return time.Date(y, m, n, 0, 0, 0, 0, where)
}

// String is the day as YYYY-MM-DD.
func (d Day) String() string { return d.Start(time.UTC).Format(time.DateOnly) }

func (d Day) date() (int, time.Month, int) {
	return time.Unix(int64(d)*int64(dayLength/time.Second), 0).UTC().Date()
}

// London is where the days of the United Kingdom are counted.
var London = mustLoad("Europe/London")

func mustLoad(name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil {
		panic(err) // time/tzdata is linked in
	}
	return zone
}

// AddMonths is the corresponding date so many months later, or the month's last day where
// it has no such date: 31 January and a month is 28 or 29 February.
func (d Day) AddMonths(n int) Day {
	year, month, day := d.date()
	last := NewDay(year, month+time.Month(n)+1, 0)
	return min(NewDay(year, month+time.Month(n), day), last)
}

func (d Day) weekend() bool {
	w := d.Start(time.UTC).Weekday()
	return w == time.Saturday || w == time.Sunday
}
