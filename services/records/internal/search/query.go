// Package search reads the parameters of a FHIR search and runs what the blind
// index and the clear metadata can answer. What it cannot answer it refuses by name:
// no parameter is ever ignored (R4 3.1.1.3 allows both). It knows no HTTP and no bundles.
package search

import (
	"strings"

	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Query is a search that was read and can be run.
type Query struct {
	// Type of the resources that are searched for.
	Type  string
	Count int
	// page goes on with an earlier search; nothing else is set beside it.
	page string
	// form is the search as it was asked, for the token of the next page.
	form    string
	oldest  bool
	ids     [][]string // of each list, one: AND of OR, as all below
	owners  [][]string
	updated [][]store.Span
	values  map[string][][]pair
	// fresh is set while the parameter that is read has put no alternative anywhere yet.
	fresh bool
}

// pair is a token as it was asked: by its system, or by none, or by any.
type pair struct {
	system string
	any    bool // the system does not matter
	value  string
}

// add puts an alternative into the list of the parameter that is being read.
func add[T any](q *Query, lists *[][]T, item T) {
	if q.fresh {
		*lists = append(*lists, nil)
		q.fresh = false
	}
	last := len(*lists) - 1
	(*lists)[last] = append((*lists)[last], item)
}

func (q *Query) put(name string, p pair) {
	lists := q.values[name]
	add(q, &lists, p)
	if q.values == nil {
		q.values = map[string][][]pair{}
	}
	q.values[name] = lists
}

func (q *Query) readID(value string) string {
	id, ok := unescape(value)
	if !ok || !fhir.ValidID(id) {
		return "must be a logical id: 1 to 64 letters, digits, - and ."
	}
	add(q, &q.ids, id)
	return ""
}

func (q *Query) readPatient(value string) string {
	reference, ok := unescape(value)
	id := strings.TrimPrefix(reference, "Patient/")
	if !ok || !fhir.ValidID(id) {
		return "must be Patient/{id} or {id}, of this server: other references name no chart here"
	}
	add(q, &q.owners, id)
	return ""
}

func (q *Query) readUpdated(value string) string {
	prefix, rest := cutPrefix(value)
	s, ok := span(rest)
	if !ok {
		return "must be a date or time of FHIR, such as 2026-03-01 or 2026-03-01T09:00:00Z"
	}
	meant, ok := instants(prefix, s)
	if !ok {
		return "does not take the prefix " + prefix + "; eq, gt, ge, lt, le, sa and eb work"
	}
	add(q, &q.updated, meant)
	return ""
}

// token reads system|value; system is nil where the value stands alone.
func token(value string) (system *string, rest, problem string) {
	parts := split(value, '|')
	if len(parts) > 2 {
		return nil, "", `has more than one |: write \| for one that belongs to the value`
	}
	for i := range parts {
		plain, ok := unescape(parts[i])
		if !ok {
			return nil, "", badEscape
		}
		parts[i] = plain
	}
	if strings.TrimSpace(parts[len(parts)-1]) == "" {
		return nil, "", "needs a value: a system alone has too many resources"
	}
	if len(parts) == 1 {
		return nil, parts[0], ""
	}
	return &parts[0], parts[1], ""
}

func (q *Query) readIdentifier(value string) string {
	system, rest, problem := token(value)
	switch {
	case problem != "":
		return problem
	case system == nil:
		q.put("identifier", pair{any: true, value: rest})
	default:
		q.put("identifier", pair{system: *system, value: rest})
	}
	return ""
}

func (q *Query) readCode(value string) string {
	system, rest, problem := token(value)
	switch {
	case problem != "":
		return problem
	case system == nil:
		return "must be system|code: the index holds codes with their system"
	}
	q.put("code", pair{system: *system, value: rest})
	return ""
}

// values reads what stands for itself, into the list of a name.
func values(name string, check func(string) (string, string)) func(*Query, string) string {
	return func(q *Query, value string) string {
		plain, ok := unescape(value)
		if !ok {
			return badEscape
		}
		plain, problem := check(plain)
		if problem == "" {
			q.put(name, pair{value: plain})
		}
		return problem
	}
}
