package search

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
)

// Limits of a search.
const (
	DefaultCount = 50
	MaxCount     = 500
	maxForm      = 4 << 10 // bytes of names and values
	maxValues    = 64      // alternatives of one parameter
	maxTokens    = 128     // that one search may look for
)

// Reasons of a refusal.
const (
	ReasonUnsupported = "SEARCH_UNSUPPORTED"
	ReasonInvalid     = "SEARCH_INVALID"
	ReasonTooWide     = "SEARCH_TOO_WIDE"
)

// plainName is what a refusal repeats of a parameter's name: anything else may be a
// value that stands in the wrong place.
var plainName = regexp.MustCompile(`^_?[A-Za-z][A-Za-z-]{0,30}$`)

// Parse reads the parameters of a search for a type, as FHIR posts them
// (application/x-www-form-urlencoded). An error names every parameter that does not work, in a
// field violation each, and lists those that do; it repeats no value.
func Parse(resourceType string, form url.Values) (*Query, error) {
	if !Searchable(resourceType) {
		return nil, errs.New(errs.KindInvalid, ReasonUnsupported, "Resources of this type cannot be searched for.").
			WithField("type", "must be Patient, a type of the patient compartment, or one of the directory")
	}
	q := &Query{Type: resourceType, Count: DefaultCount}
	p := problems{reason: ReasonInvalid, seen: map[string]bool{}}
	if size(form) > maxForm {
		return nil, errs.New(errs.KindInvalid, ReasonInvalid, fmt.Sprintf("The search is too long: at most %d bytes.", maxForm))
	}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[name] {
			q.read(&p, name, value, len(form[name]))
		}
	}
	q.combine(&p, form)
	if len(p.list) > 0 {
		return nil, p.refusal(resourceType)
	}
	asked := maps.Clone(form)
	delete(asked, "_page")
	q.form = asked.Encode()
	return q, nil
}

func size(form url.Values) (n int) {
	for name, list := range form {
		for _, value := range list {
			n += len(name) + len(value)
		}
	}
	return n
}

// read reads one parameter.
func (q *Query) read(p *problems, name, value string, times int) {
	base, rest, _ := strings.Cut(name, ":")
	chained, _, chain := strings.Cut(base, ".")
	s := specOf(q.Type, chained)
	switch {
	case slices.Contains(Results(), name):
		if times > 1 {
			p.add(name, "stands more than once")
			return
		}
		p.add(name, q.readResult(name, value))
	case name == "_has" || strings.HasPrefix(name, "_has:"):
		p.unsupported("_has", "is not supported: reverse chaining asks for a join that a blind index has not")
	case s == nil:
		p.unsupported(chained, "is not supported for "+q.Type+fewOutcomes(chained))
	case chain || strings.Contains(rest, "."):
		p.unsupported(chained, "is not supported as a chain: search for the other resource first")
	case name != base:
		if rest = strings.TrimSpace(rest); !plainName.MatchString(rest) {
			rest = "…"
		}
		p.unsupported(chained, "does not take the modifier :"+rest+"; it takes none")
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		p.add(name, "must be UTF-8 without zero bytes")
	default:
		p.add(name, q.readValue(s, value))
	}
}

func (q *Query) readValue(s *spec, value string) string {
	alternatives := split(value, ',')
	if len(alternatives) > maxValues {
		return fmt.Sprintf("has more than %d alternatives", maxValues)
	}
	q.fresh = true
	for _, one := range alternatives {
		if strings.TrimSpace(one) == "" {
			return "is empty, or one of its alternatives is"
		}
		if problem := s.read(q, one); problem != "" {
			return problem
		}
	}
	return ""
}

func (q *Query) readResult(name, value string) string {
	switch name {
	case "_count":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > MaxCount {
			return fmt.Sprintf("must be from 1 to %d", MaxCount)
		}
		q.Count = n
	case "_sort":
		if value != "_lastUpdated" && value != "-_lastUpdated" {
			return "takes _lastUpdated or -_lastUpdated: the store knows no other order of what it cannot read"
		}
		q.oldest = value == "_lastUpdated"
	case "_page":
		if value == "" {
			return "is empty"
		}
		q.page = value
	}
	return ""
}

// lowEntropy are parameters of R4 that are refused because of what they would give away.
var lowEntropy = set("gender", "status", "active", "deceased", "death-date", "marital-status", "language", "class", "category", "address-state",
	"address-country", "clinical-status", "verification-status", "intent", "priority", "severity")

func set(words ...string) map[string]bool {
	out := map[string]bool{}
	for _, w := range words {
		out[w] = true
	}
	return out
}

func fewOutcomes(name string) string {
	if lowEntropy[name] {
		return ": how often each of its few values occurs would tell which is which"
	}
	return ""
}

// combine checks what parameters need beside them, and that the search has
// something to begin with.
func (q *Query) combine(p *problems, form url.Values) {
	if q.page != "" {
		if len(form) > 1 {
			p.add("_page", "stands alone: it holds the search that it goes on with")
		}
		return
	}
	for name := range form {
		s := specOf(q.Type, name)
		if s == nil || len(s.needs) == 0 || slices.ContainsFunc(s.needs, func(n string) bool { return len(form[n]) > 0 }) {
			continue
		}
		p.add(name, "needs "+strings.Join(s.needs, " or ")+" beside it: "+s.why)
	}
	if len(p.list) == 0 && len(q.ids) == 0 && len(q.owners) == 0 && len(q.values) == 0 && !fhir.Directory(q.Type) {
		p.reason = ReasonTooWide
		p.add("_id", "or another parameter that names what is looked for is needed; _lastUpdated, _sort and _count only narrow and order")
	}
}

// problems collects what is wrong with a search.
type problems struct {
	reason string
	seen   map[string]bool
	list   []errs.Violation
}

func (p *problems) add(name, problem string) {
	if problem == "" {
		return
	}
	if !plainName.MatchString(name) {
		name = "(a parameter whose name is no parameter's)"
	}
	if !p.seen[name+problem] {
		p.seen[name+problem] = true
		p.list = append(p.list, errs.Violation{Field: name, Description: problem})
	}
}

func (p *problems) unsupported(name, problem string) {
	p.reason = ReasonUnsupported
	p.add(name, problem)
}

func (p *problems) refusal(resourceType string) error {
	slices.SortFunc(p.list, func(a, b errs.Violation) int {
		return strings.Compare(a.Field+a.Description, b.Field+b.Description)
	})
	var said []string
	for _, v := range p.list {
		said = append(said, v.Field+" "+v.Description)
	}
	var names []string
	for _, s := range Parameters(resourceType) {
		names = append(names, s.Name)
	}
	err := errs.New(errs.KindInvalid, p.reason, fmt.Sprintf("The search was not run: %s. A search for %s takes %s, and %s.",
		strings.Join(said, "; "), resourceType, strings.Join(names, ", "), strings.Join(Results(), ", ")))
	for _, v := range p.list {
		err = err.WithField(v.Field, v.Description)
	}
	return err
}
