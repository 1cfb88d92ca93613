package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/carekeep/carekeep/services/records/internal/fhir/definitions"
)

// parameters are the search parameters, one for each type that has it.
func (s *source) parameters() []definitions.SearchParameter {
	var out []definitions.SearchParameter
	for _, p := range s.search {
		for _, base := range p.Base {
			if p.Expression == "" {
				continue // of text and content, and of special parameters: nothing to look at
			}
			target := slices.Clone(p.Target)
			slices.Sort(target)
			if len(target) >= everyType {
				target = nil // any resource
			}
			out = append(out, definitions.SearchParameter{
				Base: base, Code: p.Code, Type: p.Type, Expression: concerning(base, p.Expression), Target: target,
			})
		}
	}
	slices.SortFunc(out, func(a, b definitions.SearchParameter) int {
		return cmp.Or(cmp.Compare(a.Base, b.Base), cmp.Compare(a.Code, b.Code))
	})
	return out
}

// everyType is how many types a parameter names at least that may refer to any.
const everyType = 100

// concerning keeps the alternatives of a FHIRPath union that look at a type. A
// parameter that several types share has an alternative for each.
func concerning(base, expression string) string {
	var kept []string
	for part := range strings.SplitSeq(expression, " | ") {
		rest, ok := strings.CutPrefix(strings.TrimLeft(strings.TrimSpace(part), "("), base)
		if ok && strings.HasPrefix(rest, ".") {
			kept = append(kept, strings.TrimSpace(part))
		}
	}
	if kept == nil {
		return expression
	}
	return strings.Join(kept, " | ")
}

// memberships is the patient compartment, and the types that have a parameter
// patient, with the parameters followed to the elements.
func (s *source) memberships(parameters []definitions.SearchParameter, types typeSet) ([]definitions.Membership, error) {
	var out []definitions.Membership
	for _, m := range s.patient {
		row := definitions.Membership{Type: m.Code}
		for _, p := range parameters {
			if p.Base != m.Code || p.Code != "patient" && !slices.Contains(m.Param, p.Code) {
				continue
			}
			elements, err := paths(p, types)
			if err != nil {
				return nil, err
			}
			if p.Code == "patient" {
				row.Patient = elements
			}
			if slices.Contains(m.Param, p.Code) {
				row.Params = append(row.Params, definitions.Param{Code: p.Code, Paths: elements})
			}
		}
		if len(row.Params) < len(m.Param) {
			return nil, fmt.Errorf("%s lacks a search parameter of its compartment", m.Code)
		}
		slices.SortFunc(row.Params, func(a, b definitions.Param) int {
			return cmp.Compare(slices.Index(m.Param, a.Code), slices.Index(m.Param, b.Code))
		})
		if row.Params != nil || row.Patient != nil {
			out = append(out, row)
		}
	}
	return out, nil
}

// paths are the elements that a parameter of references looks at, with a mark on lists.
func paths(p definitions.SearchParameter, types typeSet) ([]string, error) {
	var out []string
	for part := range strings.SplitSeq(p.Expression, " | ") {
		expression, _, _ := strings.Cut(part, ".where(resolve() is Patient)")
		names := strings.Split(expression, ".")
		t := types[names[0]]
		for i, name := range names[1:] {
			if t == nil {
				return nil, fmt.Errorf("%s.%s: cannot follow %s", p.Base, p.Code, part)
			}
			el, ok := find(t, name)
			if !ok {
				return nil, fmt.Errorf("%s.%s: %s is no element of %s", p.Base, p.Code, name, t.Name)
			}
			if el.List {
				names[i+1] += "[]"
			}
			t = types[el.Type]
		}
		out = append(out, strings.Join(names[1:], "."))
	}
	return out, nil
}

func find(t *definitions.Type, name string) (definitions.Element, bool) {
	at := slices.IndexFunc(t.Elements, func(e definitions.Element) bool { return e.Name == name })
	if at < 0 {
		return definitions.Element{}, false
	}
	return t.Elements[at], true
}
