// Package fhir knows as much of FHIR R4 as the store needs: which resource types
// exist, which patient a resource belongs to, and the typed views Patient, Note,
// Prescription and Appointment over the stored JSON. It is no validator of profiles and
// stores nothing.
package fhir

import (
	"strings"

	"github.com/carekeep/carekeep/services/records/internal/fhir/definitions"
)

// The types that the API also offers as typed messages.
const (
	TypePatient           = "Patient"
	TypeDocumentReference = "DocumentReference"
	TypeMedicationRequest = "MedicationRequest"
	TypeAppointment       = "Appointment"
)

// Known reports whether FHIR R4 (4.0.1) has a resource of this type.
func Known(resourceType string) bool { return definitions.IsResource(resourceType) }

// Directory reports whether resources of this type describe the practice's world
// (people who treat, places, medicines) and never a patient.
func Directory(resourceType string) bool { return directory[resourceType] }

var directory = set(`Endpoint HealthcareService InsurancePlan Location Medication MedicationKnowledge Organization
	OrganizationAffiliation Practitioner PractitionerRole Substance`)

func set(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}
