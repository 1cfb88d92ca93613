package calendar

// HolidaysOf lists a year's bank holidays of a nation, for the test of the table.
func HolidaysOf(n Nation, year int) []Day {
	var out []Day
	for d := NewDay(year, 1, 1); d < NewDay(year+1, 1, 1); d++ {
		if everywhere[d] || only[n][d] {
			out = append(out, d)
		}
	}
	return out
}
