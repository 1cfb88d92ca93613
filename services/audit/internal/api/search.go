package api

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/auditevent"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	searchPath  = "AuditEvent/_search"
	mostMatches = 200
)

// search is a FHIR search of AuditEvent (R4, AuditEvent search parameters).
type search struct {
	filter store.Filter
	count  int
	cursor int64
	form   url.Values
}

// readSearch reads the form of a search. What it does not know it refuses: a filter that is
// ignored would widen the answer.
func readSearch(form string) (search, error) {
	s := search{count: defaultPage}
	var err error
	if s.form, err = url.ParseQuery(form); err != nil {
		return s, parameter("", "the form is not well formed")
	}
	for name, values := range s.form {
		read, known := searchParameters[name]
		if !known {
			return s, parameter(name, "unknown; AuditEvent takes patient, date, agent, action, outcome, _count and _cursor")
		}
		if len(values) > 1 && name != "date" {
			return s, parameter(name, "give it once")
		}
		for _, value := range values {
			if problem := read(&s, value); problem != "" {
				return s, parameter(name, problem)
			}
		}
	}
	if !s.filter.From.IsZero() && !s.filter.To.IsZero() && !s.filter.From.Before(s.filter.To) {
		return s, parameter("date", "no time is in this range")
	}
	return s, nil
}

func parameter(name, problem string) error {
	return errs.New(errs.KindInvalid, "SEARCH_PARAMETER_INVALID", "the search is not taken").WithField(name, problem)
}

// searchParameters read one value each, and say what is wrong with it.
var searchParameters = map[string]func(*search, string) string{
	"patient": func(s *search, v string) string { return readID(v, "Patient/", &s.filter.Patient) },
	"agent":   func(s *search, v string) string { return readID(v, "urn:carekeep:user|", &s.filter.User) },
	"date":    func(s *search, v string) string { return s.date(v) },
	"action": func(s *search, v string) string {
		for _, a := range auditevent.Actions(v) {
			s.filter.Actions.Add(int16(a))
		}
		if s.filter.Actions == (store.Actions{}) {
			return "must be C, R, U, D or E"
		}
		return ""
	},
	"outcome": func(s *search, v string) string {
		outcome, known := auditevent.Outcomes[v]
		if !known {
			return "must be 0 (success), 4 (refused) or 8 (failed)"
		}
		s.filter.Outcome = int16(outcome)
		return ""
	},
	"_count": func(s *search, v string) string {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > mostMatches {
			return "must be 1 to 200"
		}
		s.count = n
		return ""
	},
	"_cursor": func(s *search, v string) string {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 1 {
			return "must be the one of a next link"
		}
		s.cursor = n
		return ""
	},
}

func readID(text, prefix string, into *uuid.UUID) string {
	id, err := uuid.Parse(strings.TrimPrefix(text, prefix))
	if err != nil || id == uuid.Nil {
		return "must be a UUID, or " + prefix + " and a UUID"
	}
	*into = id
	return ""
}

// date reads a day in UTC or an instant, with a prefix (R4 3.1.1.4.5). An instant is a microsecond long.
func (s *search) date(v string) string {
	prefix, text := "eq", v
	if len(v) > 2 && v[0] >= 'a' && v[0] <= 'z' {
		prefix, text = v[:2], v[2:]
	}
	length := time.Microsecond
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		length = 24 * time.Hour
		if at, err = time.Parse(time.DateOnly, text); err != nil {
			return "must be a date or a time with a zone"
		}
	}
	end := at.Add(length)
	switch prefix {
	case "eq":
		s.filter.From, s.filter.To = at, end
	case "ge":
		s.filter.From = at
	case "gt":
		s.filter.From = end
	case "le":
		s.filter.To = end
	case "lt":
		s.filter.To = at
	default:
		return "its prefix must be eq, ge, gt, le or lt"
	}
	return ""
}

// next is the link to the next page, "" at the end: what is posted then is the same with this cursor.
func (s *search) next(before int64) string {
	if before == 0 {
		return ""
	}
	return searchPath + "?_cursor=" + strconv.FormatInt(before, 10)
}
