package search

import (
	"slices"
	"strings"

	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/index"
)

// Parameter is a search parameter that works, for the CapabilityStatement and for
// the text of refusals.
type Parameter struct {
	Name string
	// Type is FHIR's: token, string, date or reference.
	Type string
	// Documentation says what of R4's definition holds here.
	Documentation string
}

// Parameters returns what a search for a type supports, by name. Types of which
// there is no search have none.
func Parameters(resourceType string) []Parameter {
	if !Searchable(resourceType) {
		return nil
	}
	var out []Parameter
	for _, s := range specs {
		if s.of(resourceType) {
			out = append(out, s.Parameter)
		}
	}
	slices.SortFunc(out, func(a, b Parameter) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Searchable reports whether resources of a type can be searched for: those that
// belong to patients, and the practice's directory.
func Searchable(resourceType string) bool {
	return resourceType == fhir.TypePatient || fhir.Clinical(resourceType) || fhir.Directory(resourceType)
}

// Results are the parameters that shape the answer, for any type.
func Results() []string { return []string{"_count", "_page", "_sort"} }

// spec is a parameter and how it is read.
type spec struct {
	Parameter
	of   func(resourceType string) bool
	read func(q *Query, value string) string // "" or what is wrong
	// needs are parameters one of which has to stand beside this one.
	needs []string
	why   string
}

const (
	whole = "The whole value, case, accents and punctuation aside; not its beginning, for equality is all that a blind index knows. No modifiers."
	alone = "a value with few outcomes is not indexed alone"
)

var specs = []*spec{
	{Parameter: Parameter{"_id", "token", "The logical id."}, of: Searchable, read: (*Query).readID},
	{
		Parameter: Parameter{"_lastUpdated", "date", "Prefixes eq, gt, ge, lt, le, sa, eb; a time without a zone is UTC. Beside another parameter."},
		of:        Searchable, read: (*Query).readUpdated,
	},
	{
		Parameter: Parameter{"patient", "reference", "Patient/{id} or {id}: whose chart the resource is in."},
		of:        func(t string) bool { return slices.Contains(withPatient, t) }, read: (*Query).readPatient,
	},
	{
		Parameter: Parameter{"subject", "reference", "Patient/{id} or {id}: whose chart the resource is in."},
		of:        func(t string) bool { return slices.Contains(withSubject, t) }, read: (*Query).readPatient,
	},
	{
		Parameter: Parameter{"identifier", "token", "system|value, |value or value; the value without case and punctuation."},
		of:        index.IdentifierSystem.Holds, read: (*Query).readIdentifier,
	},
	{
		Parameter: Parameter{"phone", "token", "A phone number in any spelling, without its extension; the practice's country where it names none."},
		of:        index.PhoneNumber.Holds, read: values("phone", anyValue),
	},
	{Parameter: Parameter{"email", "token", "An email address, case aside."}, of: index.EmailAddress.Holds, read: values("email", anyValue)},
	{
		Parameter: Parameter{"family", "string", whole + " Only with birthdate."},
		of:        index.NameBirthDate.Holds, read: values("family", anyValue), needs: []string{"birthdate"}, why: alone,
	},
	{
		Parameter: Parameter{"given", "string", whole + " Only with family and birthdate."},
		of:        index.NameBirthDate.Holds, read: values("given", anyValue), needs: []string{"family"}, why: alone,
	},
	{
		Parameter: Parameter{"phonetic", "string", "The American Soundex of a family or given name, where the practice has switched it on. Only with birthdate."},
		of:        index.SoundBirthDate.Holds, read: values("phonetic", anyValue), needs: []string{"birthdate"}, why: alone,
	},
	{
		Parameter: Parameter{"birthdate", "date", "A full date, eq only. Only with family or phonetic."},
		of:        index.NameBirthDate.Holds, read: values("birthdate", equalDate), needs: []string{"family", "phonetic"}, why: alone,
	},
	codeSpec("code", func(t string) bool { return t != "Immunization" }),
	codeSpec("vaccine-code", func(t string) bool { return t == "Immunization" }),
	{
		Parameter: Parameter{"date", "date", "A full date, eq only: visits that begin and end on it, as the resource writes it. Only with patient or subject."},
		of:        index.PatientDay.Holds, read: values("date", equalDate), needs: []string{"patient", "subject"},
		why: "dates are indexed within one patient only",
	},
}

func codeSpec(name string, of func(string) bool) *spec {
	return &spec{
		Parameter: Parameter{name, "token", "system|code, both exact. Only with patient or subject."},
		of:        func(t string) bool { return index.PatientCode.Holds(t) && of(t) },
		read:      (*Query).readCode, needs: []string{"patient", "subject"},
		why: "how often a code occurs in a practice tells which it is, so codes are indexed within one patient only",
	}
}

// withPatient and withSubject are the types that have R4's parameter of this name
// and whose chart is decided by just the element that the parameter is about.
var (
	withPatient = strings.Fields(`AllergyIntolerance Appointment CarePlan CareTeam ChargeItem Claim ClaimResponse ClinicalImpression
		Composition Condition Consent Coverage DetectedIssue Device DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest
		DocumentReference Encounter EpisodeOfCare ExplanationOfBenefit FamilyMemberHistory Flag Goal ImagingStudy Immunization
		ImmunizationEvaluation ImmunizationRecommendation List Media MedicationAdministration MedicationDispense MedicationRequest
		MedicationStatement NutritionOrder Observation Procedure QuestionnaireResponse RelatedPerson RiskAssessment ServiceRequest Specimen
		SupplyDelivery Task VisionPrescription`)
	withSubject = strings.Fields(`AdverseEvent CarePlan CareTeam ChargeItem ClinicalImpression Composition Condition DeviceRequest
		DiagnosticReport DocumentManifest DocumentReference Encounter Flag Goal ImagingStudy List Media MedicationAdministration
		MedicationDispense MedicationRequest MedicationStatement Observation Procedure QuestionnaireResponse RiskAssessment
		ServiceRequest Specimen`)
)

func specOf(resourceType, name string) *spec {
	for _, s := range specs {
		if s.Name == name && s.of(resourceType) {
			return s
		}
	}
	return nil
}
