package validate

import (
	"slices"
	"strings"
	"sync"

	"github.com/carekeep/carekeep/services/records/internal/cards"
	"github.com/carekeep/carekeep/services/records/internal/fhir/definitions"
)

// typ is a type as the check wants it.
type typ struct {
	name     string
	resource bool
	fields   map[string]*field
	required []string // what an issue calls each element that must be there
}

// field is a key that an object may have: an element, or the extensions of a primitive one.
type field struct {
	name      string // of the element
	list      bool
	extension bool // of a primitive: the key with an underscore
	any       bool // a resource of any type
	of        *typ // nil for primitives
	primitive *primitive
	codes     []string
	choice    string
	need      int // index in required, -1 if the element may be left out
	card      cardRule
}

// cardRule says how card numbers are looked for in an element.
type cardRule int

const (
	noCards cardRule = iota
	inText
	inGroups
	inPhones
)

func (r cardRule) finds(text string) bool {
	switch r {
	case inText:
		return cards.In(text, cards.Any)
	case inGroups:
		return cards.In(text, cards.Grouped)
	case inPhones:
		return cards.In(text, cards.Telephone)
	}
	return false
}

// Elements of type string whose business is a long number. A card number counts in
// them only where it is written in groups, as on a card.
var numbered = map[string]cardRule{
	"Identifier.value":                      inGroups,
	"ContactPoint.value":                    inPhones,
	"Coverage.subscriberId":                 inGroups,
	"Coverage.dependent":                    inGroups,
	"Coverage.class.value":                  inGroups,
	"Device.distinctIdentifier":             inGroups,
	"Device.lotNumber":                      inGroups,
	"Device.serialNumber":                   inGroups,
	"Device.udiCarrier.carrierHRF":          inGroups,
	"Device.udiCarrier.deviceIdentifier":    inGroups,
	"Reference.reference":                   inGroups,
	"Medication.batch.lotNumber":            inGroups,
	"Immunization.lotNumber":                inGroups,
	"MolecularSequence.observedSeq":         noCards,
	"SampledData.data":                      noCards, // a list of measured values
	"Element.id":                            noCards,
	"SubstanceNucleicAcid.subunit.sequence": noCards,
}

// rule is how card numbers are looked for in an element of a type.
func rule(t string, e definitions.Element) cardRule {
	if r, ok := numbered[t+"."+e.Name]; ok {
		return r
	}
	switch e.Type {
	case "string", "markdown", "xhtml", "decimal":
		if e.Name == "id" {
			return noCards
		}
		return inText
	case "code", "uri", "url", "canonical":
		if e.Enum != nil {
			return noCards
		}
		return inGroups
	}
	return noCards
}

// types are all types by name, made from R4's definitions when the first is needed.
var types = sync.OnceValue(func() map[string]*typ {
	out := map[string]*typ{}
	for d := range definitions.All() {
		out[d.Name] = &typ{name: d.Name, resource: d.Resource, fields: map[string]*field{}}
	}
	for d := range definitions.All() {
		t := out[d.Name]
		for _, e := range d.Elements {
			t.add(e, out)
		}
	}
	return out
})

func (t *typ) add(e definitions.Element, all map[string]*typ) {
	f := &field{
		name: e.Name, list: e.List, any: e.Type == definitions.AnyResource, of: all[e.Type],
		codes: e.Enum, choice: e.Choice, need: -1, card: rule(t.name, e),
	}
	if e.Min > 0 {
		name := e.Name
		if e.Choice != "" {
			name = e.Choice + "[x]"
		}
		if f.need = slices.Index(t.required, name); f.need < 0 {
			f.need = len(t.required)
			t.required = append(t.required, name)
		}
	}
	t.fields[e.Name] = f
	if f.of != nil || f.any {
		return
	}
	f.primitive = primitives[e.Type]
	if f.primitive == nil {
		panic("validate: no check for " + e.Type)
	}
	if e.Name == "id" || e.Type == "xhtml" {
		return
	}
	beside := *f
	beside.extension, beside.primitive, beside.of, beside.codes = true, nil, all["Element"], nil
	t.fields["_"+e.Name] = &beside
}

// words are the names of all elements.
var words = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for _, t := range types() {
		for name := range t.fields {
			out[strings.TrimPrefix(name, "_")] = true
		}
	}
	return out
})
