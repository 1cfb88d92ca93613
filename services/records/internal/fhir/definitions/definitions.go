// Package definitions holds what FHIR R4 (4.0.1) itself says of its types, of the
// patient compartment and of search: HL7's definitions, which are in the public
// domain (CC0), reduced by package gen to the parts that carekeep uses. What carekeep makes
// of them is not its business.
package definitions

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"iter"
	"maps"
	"sync"
)

// Type is a resource type, a data type, or a backbone element. The latter is
// named by its path, such as Appointment.participant.
type Type struct {
	Name     string    `json:"name"`
	Resource bool      `json:"resource,omitempty"`
	Elements []Element `json:"elements"`

	byName map[string]*Element
}

// Element returns an element of the type by its name in JSON, such as
// valueQuantity; nil where there is none.
func (t *Type) Element(name string) *Element { return t.byName[name] }

// Element is an element of a type as JSON writes it: of a choice of types, each is
// an Element.
type Element struct {
	Name string `json:"name"`
	// Type is the name of a Type or of a primitive; Resource stands for any resource.
	Type string `json:"type"`
	// Min is 1 where R4 requires the element, or one of its choice.
	Min  int      `json:"min,omitempty"`
	List bool     `json:"list,omitempty"`
	Enum []string `json:"enum,omitempty"` // the only codes there are
	// Choice is the element's name without its type, such as value; empty where
	// there is no choice.
	Choice string `json:"choice,omitempty"`
}

// AnyResource is the type of elements that hold a resource of any type.
const AnyResource = "Resource"

// Primitive reports whether a type is written as a JSON string, number or boolean.
func Primitive(name string) bool { return name != "" && name[0] >= 'a' && name[0] <= 'z' }

// Membership says by which elements a resource of a type refers to patients.
// Paths leave the type out and mark lists: participant[].actor.
type Membership struct {
	Type string `json:"type"`
	// Params are the search parameters that make it part of a patient's
	// compartment (R4 CompartmentDefinition/patient), in R4's order. Empty where R4 counts
	// the type to no compartment.
	Params []Param `json:"params,omitempty"`
	// Patient are the elements of the type's parameter patient, which names whom the
	// resource is about.
	Patient []string `json:"patient,omitempty"`
}

// Param is a search parameter, and the elements it looks at.
type Param struct {
	Code  string   `json:"code"`
	Paths []string `json:"paths"`
}

// SearchParameter is a search parameter of one resource type.
type SearchParameter struct {
	Base       string   `json:"base"` // a resource type; Resource and DomainResource stand for all
	Code       string   `json:"code"`
	Type       string   `json:"type"`
	Expression string   `json:"expression"`       // FHIRPath, only the parts that concern Base
	Target     []string `json:"target,omitempty"` // of type reference: the types that it may name
}

var (
	//go:embed types.json
	typesJSON []byte
	//go:embed compartment.json
	compartmentJSON []byte
	//go:embed search.json
	searchJSON []byte
)

// Lookup returns a type by its name; nil where R4 has none.
func Lookup(name string) *Type { return types()[name] }

// All returns every type, in no order.
func All() iter.Seq[*Type] { return maps.Values(types()) }

// IsResource reports whether R4 has a resource of this type.
func IsResource(name string) bool {
	t := Lookup(name)
	return t != nil && t.Resource
}

// Memberships returns the types that refer to patients.
func Memberships() map[string]Membership { return memberships() }

// Search returns the search parameters of a resource type, with those that every
// type has.
func Search(resourceType string) []SearchParameter {
	var out []SearchParameter
	for _, base := range []string{"Resource", "DomainResource", resourceType} {
		out = append(out, search()[base]...)
	}
	return out
}

var types = sync.OnceValue(func() map[string]*Type {
	list := lines[*Type](typesJSON)
	out := make(map[string]*Type, len(list))
	for _, t := range list {
		t.byName = make(map[string]*Element, len(t.Elements))
		for i := range t.Elements {
			t.byName[t.Elements[i].Name] = &t.Elements[i]
		}
		out[t.Name] = t
	}
	return out
})

var memberships = sync.OnceValue(func() map[string]Membership {
	out := map[string]Membership{}
	for _, m := range lines[Membership](compartmentJSON) {
		out[m.Type] = m
	}
	return out
})

var search = sync.OnceValue(func() map[string][]SearchParameter {
	out := map[string][]SearchParameter{}
	for _, p := range lines[SearchParameter](searchJSON) {
		out[p.Base] = append(out[p.Base], p)
	}
	return out
})

// lines reads a file of package gen: one JSON value a line.
func lines[T any](file []byte) []T {
	var out []T
	for line := range bytes.Lines(file) {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			panic("definitions: " + err.Error()) // the file is part of the program
		}
		out = append(out, v)
	}
	return out
}
