package fhir

import "github.com/tidwall/gjson"

// subjects holds, for each type of the patient compartment (R4
// CompartmentDefinition/patient), the elements that name the patient whom the
// resource is about, in gjson's syntax; the first that names one decides.
// Elements that may also name a patient in another part, such as
// Observation.performer, do not decide whose record it is.
var subjects = map[string][]string{
	"Account":                     {"subject.#.reference"},
	"AdverseEvent":                {"subject.reference"},
	"AllergyIntolerance":          {"patient.reference"},
	"Appointment":                 {"participant.#.actor.reference"},
	"AppointmentResponse":         {"actor.reference"},
	"Basic":                       {"subject.reference"},
	"BodyStructure":               {"patient.reference"},
	"CarePlan":                    {"subject.reference"},
	"CareTeam":                    {"subject.reference"},
	"ChargeItem":                  {"subject.reference"},
	"Claim":                       {"patient.reference"},
	"ClaimResponse":               {"patient.reference"},
	"ClinicalImpression":          {"subject.reference"},
	"Communication":               {"subject.reference", "recipient.#.reference", "sender.reference"},
	"CommunicationRequest":        {"subject.reference", "recipient.#.reference"},
	"Composition":                 {"subject.reference"},
	"Condition":                   {"subject.reference"},
	"Consent":                     {"patient.reference"},
	"Coverage":                    {"beneficiary.reference"},
	"CoverageEligibilityRequest":  {"patient.reference"},
	"CoverageEligibilityResponse": {"patient.reference"},
	"DetectedIssue":               {"patient.reference"},
	"Device":                      {"patient.reference"},
	"DeviceRequest":               {"subject.reference"},
	"DeviceUseStatement":          {"subject.reference"},
	"DiagnosticReport":            {"subject.reference"},
	"DocumentManifest":            {"subject.reference"},
	"DocumentReference":           {"subject.reference"},
	"Encounter":                   {"subject.reference"},
	"EnrollmentRequest":           {"candidate.reference"},
	"EpisodeOfCare":               {"patient.reference"},
	"ExplanationOfBenefit":        {"patient.reference"},
	"FamilyMemberHistory":         {"patient.reference"},
	"Flag":                        {"subject.reference"},
	"Goal":                        {"subject.reference"},
	"GuidanceResponse":            {"subject.reference"},
	"ImagingStudy":                {"subject.reference"},
	"Immunization":                {"patient.reference"},
	"ImmunizationEvaluation":      {"patient.reference"},
	"ImmunizationRecommendation":  {"patient.reference"},
	"Invoice":                     {"subject.reference", "recipient.reference"},
	"List":                        {"subject.reference"},
	"MeasureReport":               {"subject.reference"},
	"Media":                       {"subject.reference"},
	"MedicationAdministration":    {"subject.reference"},
	"MedicationDispense":          {"subject.reference"},
	"MedicationRequest":           {"subject.reference"},
	"MedicationStatement":         {"subject.reference"},
	"MolecularSequence":           {"patient.reference"},
	"NutritionOrder":              {"patient.reference"},
	"Observation":                 {"subject.reference"},
	"Person":                      {"link.#.target.reference"},
	"Procedure":                   {"subject.reference"},
	"Provenance":                  {"target.#.reference"},
	"QuestionnaireResponse":       {"subject.reference"},
	"RelatedPerson":               {"patient.reference"},
	"RequestGroup":                {"subject.reference"},
	"ResearchSubject":             {"individual.reference"},
	"RiskAssessment":              {"subject.reference"},
	"ServiceRequest":              {"subject.reference"},
	"Specimen":                    {"subject.reference"},
	"SupplyDelivery":              {"patient.reference"},
	"SupplyRequest":               {"deliverTo.reference", "requester.reference"},
	"Task":                        {"for.reference"},
	"VisionPrescription":          {"patient.reference"},
}

// Clinical reports whether resources of this type belong to a patient other than
// by being the Patient.
func Clinical(resourceType string) bool { return subjects[resourceType] != nil }

// Subjects returns the references that may name the patient a resource is about,
// those of one element together, the deciding element first.
func Subjects(resourceType string, doc []byte) [][]string {
	var out [][]string
	for _, path := range subjects[resourceType] {
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
