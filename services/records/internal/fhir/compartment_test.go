package fhir

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Which element decides whose record a resource is: the types whose rule is not
// simply R4's parameter patient, and one that is.
func TestDecidingElements(t *testing.T) {
	t.Parallel()
	for resourceType, want := range map[string][]string{
		"Observation":          {"subject.reference"},
		"Account":              {"subject.#.reference"},
		"AdverseEvent":         {"subject.reference"},
		"Appointment":          {"participant.#.actor.reference"},
		"Communication":        {"subject.reference", "recipient.#.reference", "sender.reference"},
		"CommunicationRequest": {"subject.reference", "recipient.#.reference"},
		"Coverage":             {"beneficiary.reference"},
		"Device":               {"patient.reference"},
		"EnrollmentRequest":    {"candidate.reference"},
		"GuidanceResponse":     {"subject.reference"},
		"Invoice":              {"subject.reference", "recipient.reference"},
		"Person":               {"link.#.target.reference"},
		"Provenance":           {"target.#.reference"},
		"ResearchSubject":      {"individual.reference"},
		"SupplyRequest":        {"deliverTo.reference", "requester.reference"},
		"Task":                 {"for.reference"},
		"AuditEvent":           nil,
		"Contract":             nil,
		"Group":                nil,
		"Patient":              nil,
		"Practitioner":         nil,
		"Schedule":             nil,
	} {
		require.Equal(t, want, subjects()[resourceType], resourceType)
		require.Equal(t, want != nil, Clinical(resourceType), resourceType)
	}
	require.Len(t, subjects(), 65)
}
