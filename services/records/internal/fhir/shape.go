package fhir

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// required holds elements that R4 demands (min = 1) of the types that practices
// exchange most; "[x]" stands for a choice of types.
var required = map[string][]string{
	"AllergyIntolerance":   {"patient"},
	"Appointment":          {"status", "participant"},
	"CarePlan":             {"status", "intent", "subject"},
	"Claim":                {"status", "type", "use", "patient", "created", "provider", "priority", "insurance"},
	"Condition":            {"subject"},
	"Coverage":             {"status", "beneficiary", "payor"},
	"DiagnosticReport":     {"status", "code"},
	"DocumentReference":    {"status", "content"},
	"Encounter":            {"status", "class"},
	"ExplanationOfBenefit": {"status", "type", "use", "patient", "created", "insurer", "provider", "outcome", "insurance"},
	"Goal":                 {"lifecycleStatus", "description", "subject"},
	"ImagingStudy":         {"status", "subject"},
	"Immunization":         {"status", "vaccineCode", "patient", "occurrence[x]"},
	"MedicationRequest":    {"status", "intent", "subject", "medication[x]"},
	"Observation":          {"status", "code"},
	"Procedure":            {"status", "subject"},
	"ServiceRequest":       {"status", "intent", "subject"},
}

// lists and objects are elements that have one shape in every type that has them
// and that the store reads itself.
var (
	lists = set(`extension modifierExtension contained name:Patient telecom:Patient address:Patient identifier:Patient
		participant:Appointment content:DocumentReference`)
	objects = set(`meta text patient class:Encounter subject:Encounter subject:Observation subject:Condition subject:Procedure
		subject:MedicationRequest subject:DocumentReference subject:DiagnosticReport`)
)

// Malformed says what is wrong with the shape of a resource in words that hold
// none of its values; empty where nothing is.
func Malformed(resourceType string, doc []byte) string {
	missing := append([]string(nil), required[resourceType]...)
	problem := ""
	gjson.ParseBytes(doc).ForEach(func(key, value gjson.Result) bool {
		name := key.Str
		for i, want := range missing {
			if want == name || strings.HasSuffix(want, "[x]") && strings.HasPrefix(name, want[:len(want)-3]) {
				missing = append(missing[:i], missing[i+1:]...)
				break
			}
		}
		problem = misshapen(resourceType, name, value)
		return problem == ""
	})
	if problem == "" && len(missing) > 0 {
		problem = fmt.Sprintf("%s lacks the element %q, which R4 requires", resourceType, missing[0])
	}
	return problem
}

func misshapen(resourceType, name string, value gjson.Result) string {
	switch {
	case value.Type == gjson.Null:
		return "an element is null; leave it out instead"
	case (lists[name] || lists[name+":"+resourceType]) && !value.IsArray():
		return fmt.Sprintf("%s.%s must be a list", resourceType, name)
	case (objects[name] || objects[name+":"+resourceType]) && !value.IsObject():
		return fmt.Sprintf("%s.%s must be an object", resourceType, name)
	case resourceType != TypePatient:
		return ""
	case name == "birthDate" && (value.Type != gjson.String || !validDate(value.Str)):
		return "Patient.birthDate must be YYYY, YYYY-MM or YYYY-MM-DD"
	case name == "gender" && genders[value.String()] == 0:
		return "Patient.gender must be male, female, other or unknown"
	}
	return ""
}
