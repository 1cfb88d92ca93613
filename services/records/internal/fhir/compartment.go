package fhir

import (
	"strings"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/services/records/internal/fhir/definitions"
)

// Where the store departs from R4's patient compartment.
var (
	// ofNoPatient are types of the compartment that are about several patients or about none.
	ofNoPatient = set("AuditEvent Group Patient Schedule")
	// ofPatient are types outside of the compartment that are about a patient all the same.
	ofPatient = set("Device GuidanceResponse Task")
	// alsoAbout are elements that name the patient where the deciding element does
	// not. Elements that may also name a patient in another part, such as
	// Observation.performer, do not decide whose record it is.
	alsoAbout = map[string][]string{
		"Communication":        {"recipient[]", "sender"},
		"CommunicationRequest": {"recipient[]"},
		"Invoice":              {"recipient"},
		"SupplyRequest":        {"requester"},
	}
)

// subjects holds, for each type that is about a patient, the references that name
// the patient, in gjson's syntax; the first that names one decides. It is the element
// of R4's search parameter patient, or where the type has none the first of its
// compartment.
var subjects = sync.OnceValue(func() map[string][]string {
	out := map[string][]string{}
	for name, m := range definitions.Memberships() {
		if ofNoPatient[name] || len(m.Params) == 0 && !ofPatient[name] {
			continue
		}
		elements := m.Patient
		if elements == nil {
			elements = m.Params[0].Paths
		}
		for _, path := range append(elements[:len(elements):len(elements)], alsoAbout[name]...) {
			out[name] = append(out[name], strings.ReplaceAll(path, "[]", ".#")+".reference")
		}
	}
	return out
})

// Clinical reports whether resources of this type belong to a patient other than
// by being the Patient.
func Clinical(resourceType string) bool { return subjects()[resourceType] != nil }

// Subjects returns the references that may name the patient a resource is about,
// those of one element together, the deciding element first.
func Subjects(resourceType string, doc []byte) [][]string {
	var out [][]string
	for _, path := range subjects()[resourceType] {
		var group []string
		found := gjson.GetBytes(doc, path)
		if found.IsArray() {
			for _, r := range found.Array() {
				group = appendReference(group, r)
			}
		} else {
			group = appendReference(group, found)
		}
		if len(group) > 0 {
			out = append(out, group)
		}
	}
	return out
}

func appendReference(group []string, r gjson.Result) []string {
	if r.Type == gjson.String && r.Str != "" {
		return append(group, r.Str)
	}
	return group
}
