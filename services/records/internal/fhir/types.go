// Package fhir knows as much of FHIR R4 as the store needs: which resource types
// exist, which patient a resource belongs to, and the typed views Patient, Note,
// Prescription and Appointment over the stored JSON. It is no validator of profiles and
// stores nothing.
package fhir

import "strings"

// The types that the API also offers as typed messages.
const (
	TypePatient           = "Patient"
	TypeDocumentReference = "DocumentReference"
	TypeMedicationRequest = "MedicationRequest"
	TypeAppointment       = "Appointment"
)

// Known reports whether FHIR R4 (4.0.1) has a resource of this type.
func Known(resourceType string) bool { return known[resourceType] }

// Directory reports whether resources of this type describe the practice's world
// (people who treat, places, medicines) and never a patient.
func Directory(resourceType string) bool { return directory[resourceType] }

var known = set(`
	Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent
	Basic Binary BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam CatalogEntry
	ChargeItem ChargeItemDefinition Claim ClaimResponse ClinicalImpression CodeSystem Communication
	CommunicationRequest CompartmentDefinition Composition ConceptMap Condition Consent Contract Coverage
	CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue Device DeviceDefinition DeviceMetric
	DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference EffectEvidenceSynthesis
	Encounter Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition Evidence EvidenceVariable
	ExampleScenario ExplanationOfBenefit FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse
	HealthcareService ImagingStudy Immunization ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide
	InsurancePlan Invoice Library Linkage List Location Measure MeasureReport Media Medication
	MedicationAdministration MedicationDispense MedicationKnowledge MedicationRequest MedicationStatement
	MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication MedicinalProductIndication
	MedicinalProductIngredient MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged
	MedicinalProductPharmaceutical MedicinalProductUndesirableEffect MessageDefinition MessageHeader
	MolecularSequence NamingSystem NutritionOrder Observation ObservationDefinition OperationDefinition
	OperationOutcome Organization OrganizationAffiliation Parameters Patient PaymentNotice PaymentReconciliation
	Person PlanDefinition Practitioner PractitionerRole Procedure Provenance Questionnaire QuestionnaireResponse
	RelatedPerson RequestGroup ResearchDefinition ResearchElementDefinition ResearchStudy ResearchSubject
	RiskAssessment RiskEvidenceSynthesis Schedule SearchParameter ServiceRequest Slot Specimen SpecimenDefinition
	StructureDefinition StructureMap Subscription Substance SubstanceNucleicAcid SubstancePolymer SubstanceProtein
	SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification SupplyDelivery SupplyRequest Task
	TerminologyCapabilities TestReport TestScript ValueSet VerificationResult VisionPrescription`)

var directory = set(`Endpoint HealthcareService InsurancePlan Location Medication MedicationKnowledge Organization
	OrganizationAffiliation Practitioner PractitionerRole Substance`)

func set(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}
