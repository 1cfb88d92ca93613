package index

import (
	"strings"

	"github.com/tidwall/gjson"
)

// ofPatients is what an index of patients takes its values from.
func ofPatients(f func(gjson.Result) [][]string) map[string]func(gjson.Result) [][]string {
	return map[string]func(gjson.Result) [][]string{"Patient": f}
}

// identifierTypes are the types whose identifiers are indexed: people, places, and what
// carries a number that somebody reads from a letter.
var identifierTypes = strings.Fields(`Patient RelatedPerson Practitioner Organization Location Encounter Coverage
	ServiceRequest DiagnosticReport DocumentReference Appointment`)

func identifiers(pick func(system, value string) []string) map[string]func(gjson.Result) [][]string {
	out := map[string]func(gjson.Result) [][]string{}
	for _, t := range identifierTypes {
		out[t] = func(doc gjson.Result) (values [][]string) {
			for _, path := range []string{"identifier", "masterIdentifier"} { // the second is DocumentReference's
				each(doc.Get(path), func(r gjson.Result) {
					if value := text(r.Get("value")); value != "" {
						values = append(values, pick(text(r.Get("system")), value))
					}
				})
			}
			return values
		}
	}
	return out
}

func systemAndValue(system, value string) []string { return []string{system, value} }
func valueOnly(_, value string) []string           { return []string{value} }

// A number for text messages is one by which somebody is found, too.
func phones(doc gjson.Result) [][]string { return telecoms(doc, "phone", "sms") }
func emails(doc gjson.Result) [][]string { return telecoms(doc, "email") }

func telecoms(doc gjson.Result, systems ...string) (values [][]string) {
	each(doc.Get("telecom"), func(r gjson.Result) {
		for _, s := range systems {
			if text(r.Get("system")) == s {
				values = append(values, []string{text(r.Get("value"))})
			}
		}
	})
	return values
}

// names are the family and given names of a patient, each once.
func names(doc gjson.Result) (families, givens []string) {
	add := func(list []string, r gjson.Result) []string {
		name := text(r)
		for _, had := range list {
			if had == name {
				return list
			}
		}
		if name == "" || len(list) == maxNames {
			return list
		}
		return append(list, name)
	}
	each(doc.Get("name"), func(r gjson.Result) {
		families = add(families, r.Get("family"))
		each(r.Get("given"), func(g gjson.Result) { givens = add(givens, g) })
	})
	return families, givens
}

// maxNames bounds how many family and how many given names count.
const maxNames = 8

func familiesBorn(doc gjson.Result) (values [][]string) {
	families, _ := names(doc)
	for _, f := range families {
		values = append(values, []string{f, text(doc.Get("birthDate"))})
	}
	return values
}

// Every family name goes with every given name, for FHIR's parameters ask for each
// by itself, whichever HumanName it stands in.
func namesBorn(doc gjson.Result) (values [][]string) {
	families, givens := names(doc)
	for _, f := range families {
		for _, g := range givens {
			values = append(values, []string{f, g, text(doc.Get("birthDate"))})
		}
	}
	return values
}

func soundsBorn(doc gjson.Result) (values [][]string) {
	families, givens := names(doc)
	for _, n := range append(families, givens...) {
		values = append(values, []string{n, text(doc.Get("birthDate"))})
	}
	return values
}

// codes are the elements that a type's parameter for codes means.
var codes = map[string]func(gjson.Result) [][]string{
	"AllergyIntolerance": codings("code", "reaction.#.substance"),
	"Condition":          codings("code"),
	"DiagnosticReport":   codings("code"),
	"Immunization":       codings("vaccineCode"),
	"MedicationRequest":  codings("medicationCodeableConcept"),
	"Observation":        codings("code"),
	"Procedure":          codings("code"),
	"ServiceRequest":     codings("code"),
}

func codings(paths ...string) func(gjson.Result) [][]string {
	return func(doc gjson.Result) (values [][]string) {
		for _, path := range paths {
			each(doc.Get(path), func(concept gjson.Result) {
				each(concept.Get("coding"), func(r gjson.Result) {
					if c := text(r.Get("code")); c != "" {
						values = append(values, []string{text(r.Get("system")), c})
					}
				})
			})
		}
		return values
	}
}

// encounterDay is the day of a visit that begins and ends on it, as it is written.
// An open or longer period lies in no day (R4 3.1.1.4.5: "eq" takes periods that the day contains).
func encounterDay(doc gjson.Result) [][]string {
	start, end := text(doc.Get("period.start")), text(doc.Get("period.end"))
	const length = len("2006-01-02")
	if len(start) < length || len(end) < length || start[:length] != end[:length] {
		return nil
	}
	return [][]string{{start[:length]}}
}

// each visits the elements of a list, or the one value that is no list.
func each(r gjson.Result, visit func(gjson.Result)) {
	if !r.Exists() {
		return
	}
	if !r.IsArray() {
		visit(r)
		return
	}
	r.ForEach(func(_, item gjson.Result) bool {
		visit(item)
		return true
	})
}

func text(r gjson.Result) string {
	if r.Type != gjson.String {
		return ""
	}
	return r.Str
}
