package calendar

import (
	"fmt"
	"time"

	"github.com/carekeep/carekeep/libs/errs"
)

// Nation is the part of the United Kingdom whose bank holidays count.
type Nation uint8

// The nations; the zero value is none.
const (
	EnglandAndWales Nation = iota + 1
	Scotland
	NorthernIreland
)

// ParseNation reads the name of a division at gov.uk/bank-holidays: "england-and-wales",
// "scotland" or "northern-ireland".
func ParseNation(name string) (Nation, error) {
	switch name {
	case "england-and-wales":
		return EnglandAndWales, nil
	case "scotland":
		return Scotland, nil
	case "northern-ireland":
		return NorthernIreland, nil
	}
	return 0, errNation
}

// lastYear is the last year in the table below. Beyond it nothing is computed: a
// holiday that is missing because nobody looked must not pass for a working day.
const lastYear = 2028

// everywhere are the bank holidays that all nations share, as published at
// gov.uk/bank-holidays; substitute days stand for those at a weekend. A holiday that is
// proclaimed once and missing here makes a due day earlier, never later.
var everywhere = days(
	"2025-01-01", "2025-04-18", "2025-05-05", "2025-05-26", "2025-12-25", "2025-12-26",
	"2026-01-01", "2026-04-03", "2026-05-04", "2026-05-25", "2026-12-25", "2026-12-28",
	"2027-01-01", "2027-03-26", "2027-05-03", "2027-05-31", "2027-12-27", "2027-12-28",
	"2028-01-03", "2028-04-14", "2028-05-01", "2028-05-29", "2028-12-25", "2028-12-26",
)

var only = map[Nation]map[Day]bool{
	// Easter Monday and the last Monday of August.
	EnglandAndWales: days("2025-04-21", "2025-08-25", "2026-04-06", "2026-08-31", "2027-03-29", "2027-08-30", "2028-04-17", "2028-08-28"),
	// 2 January, the first Monday of August, St Andrew's Day.
	Scotland: days("2025-01-02", "2025-08-04", "2025-12-01", "2026-01-02", "2026-08-03", "2026-11-30",
		"2027-01-04", "2027-08-02", "2027-11-30", "2028-01-04", "2028-08-07", "2028-11-30"),
	// St Patrick's Day, Easter Monday, the Battle of the Boyne, the last Monday of August.
	NorthernIreland: days("2025-03-17", "2025-04-21", "2025-07-14", "2025-08-25", "2026-03-17", "2026-04-06", "2026-07-13", "2026-08-31",
		"2027-03-17", "2027-03-29", "2027-07-12", "2027-08-30", "2028-03-17", "2028-04-17", "2028-07-12", "2028-08-28"),
}

func days(list ...string) map[Day]bool {
	out := make(map[Day]bool, len(list))
	for _, text := range list {
		at, err := time.Parse(time.DateOnly, text)
		if err != nil {
			panic(err) // a mistake in the tables above, seen by every test
		}
		out[DayOf(at, time.UTC)] = true
	}
	return out
}

var errNation = errs.New(errs.KindInvalid, "NATION_REQUIRED", "Bank holidays differ: name England and Wales, Scotland or Northern Ireland.").
	WithField("nation", "is required where bank holidays count")

// WorkingDay is the day itself, or the next that is neither at a weekend nor a bank holiday.
// It fails with NATION_REQUIRED, and with HOLIDAYS_UNKNOWN beyond the table.
func WorkingDay(d Day, n Nation) (Day, error) {
	holidays, known := only[n]
	if !known {
		return 0, errNation
	}
	for d.weekend() || everywhere[d] || holidays[d] {
		d++
	}
	if year, _, _ := d.date(); year > lastYear {
		return 0, errs.New(errs.KindPrecondition, "HOLIDAYS_UNKNOWN",
			fmt.Sprintf("The bank holidays after %d are not in this release, so no due day can be computed: install a newer one.", lastYear))
	}
	return d, nil
}

// AddWorkingDays is the n-th working day after a day, whatever that day is itself. It
// fails as WorkingDay does.
func AddWorkingDays(d Day, n int, in Nation) (Day, error) {
	for range n {
		next, err := WorkingDay(d+1, in)
		if err != nil {
			return 0, err
		}
		d = next
	}
	return d, nil
}

// AddWeekdays is the n-th day after a day that is not at a weekend: never later than
// AddWorkingDays, and known for every year.
func AddWeekdays(d Day, n int) Day {
	for range n {
		for d++; d.weekend(); {
			d++
		}
	}
	return d
}
