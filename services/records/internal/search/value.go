package search

import (
	"strings"
	"time"

	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// split takes a value apart at a separator that no backslash stands before, and
// leaves the escapes in (R4 3.1.1.4.0.1).
func split(value string, separator byte) []string {
	var out []string
	start := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case separator:
			out = append(out, value[start:i])
			start = i + 1
		}
	}
	return append(out, value[start:])
}

// unescape reads \, \| \$ and \\; ok is false at any other backslash.
func unescape(value string) (string, bool) {
	if !strings.Contains(value, `\`) {
		return value, true
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' {
			if i++; i == len(value) || !strings.ContainsRune(`,|$\`, rune(value[i])) {
				return "", false
			}
		}
		b.WriteByte(value[i])
	}
	return b.String(), true
}

const badEscape = `has a backslash that begins no escape: write \\ for a backslash`

// prefixes of ordered values (R4 3.1.1.4.3).
var prefixes = []string{"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"}

func cutPrefix(value string) (prefix, rest string) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(value, p); ok {
			return p, rest
		}
	}
	return "eq", value
}

// layouts are the precisions of a date, each with the end of the span that it means.
var layouts = []struct {
	layout string
	next   func(time.Time) time.Time
}{
	{"2006", func(t time.Time) time.Time { return t.AddDate(1, 0, 0) }},
	{"2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }},
	{"2006-01-02", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }},
	{"2006-01-02T15:04", func(t time.Time) time.Time { return t.Add(time.Minute) }},
	{"2006-01-02T15:04Z07:00", func(t time.Time) time.Time { return t.Add(time.Minute) }},
	{"2006-01-02T15:04:05", second},
	{"2006-01-02T15:04:05Z07:00", second},
}

func second(t time.Time) time.Time {
	if t.Nanosecond() == 0 {
		return t.Add(time.Second)
	}
	return t.Add(time.Millisecond) // fractions are read as milliseconds
}

// span reads a date or time as the span that its precision means.
func span(value string) (store.Span, bool) {
	for _, l := range layouts {
		t, err := time.Parse(l.layout, value)
		if err != nil {
			continue
		}
		if t.Nanosecond() != 0 {
			t = t.Truncate(time.Millisecond)
		}
		s := store.Span{From: t.UTC(), To: l.next(t).UTC()}
		return s, s.From.Year() >= 1 && s.To.Year() <= 9999
	}
	return store.Span{}, false
}

var (
	begin = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	end   = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

// instants are those that compare with a span as the prefix says.
func instants(prefix string, s store.Span) (store.Span, bool) {
	switch prefix {
	case "eq":
		return s, true
	case "gt", "sa":
		return store.Span{From: s.To, To: end}, true
	case "ge":
		return store.Span{From: s.From, To: end}, true
	case "lt", "eb":
		return store.Span{From: begin, To: s.From}, true
	case "le":
		return store.Span{From: begin, To: s.To}, true
	}
	return store.Span{}, false
}

// equalDate reads what is compared for equality with a full date.
func equalDate(value string) (string, string) {
	prefix, rest := cutPrefix(value)
	if prefix != "eq" {
		return "", "takes no prefix but eq: a blind index has no order"
	}
	if index.Date(rest) == "" {
		return "", "must be a full date, YYYY-MM-DD: a partial one has too few outcomes"
	}
	return rest, ""
}

func anyValue(value string) (string, string) { return value, "" }
