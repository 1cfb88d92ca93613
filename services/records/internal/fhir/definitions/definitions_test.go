package definitions_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/records/internal/fhir/definitions"
)

// What HL7's pages say, looked up by hand.
func TestDefinitions(t *testing.T) {
	t.Parallel()
	appointment := definitions.Lookup("Appointment")
	require.True(t, appointment.Resource)
	require.Equal(t, &definitions.Element{Name: "participant", Type: "Appointment.participant", Min: 1, List: true}, appointment.Element("participant"))
	require.Equal(t, []string{"accepted", "declined", "tentative", "needs-action"}, definitions.Lookup("Appointment.participant").Element("status").Enum)
	require.Nil(t, appointment.Element("colour"))

	request := definitions.Lookup("MedicationRequest")
	require.Nil(t, request.Element("medication"))
	require.Equal(t, &definitions.Element{Name: "medicationReference", Type: "Reference", Min: 1, Choice: "medication"}, request.Element("medicationReference"))
	require.Equal(t, "Questionnaire.item", definitions.Lookup("Questionnaire.item").Element("item").Type)
	require.Equal(t, definitions.AnyResource, appointment.Element("contained").Type)
	require.Equal(t, "xhtml", definitions.Lookup("Narrative").Element("div").Type)

	require.True(t, definitions.IsResource("Binary"))
	for _, none := range []string{"", "Resource", "DomainResource", "Element", "Project", "Appointment.participant"} {
		require.False(t, definitions.IsResource(none), none)
	}
	// Medplum's additions stay out.
	require.Nil(t, definitions.Lookup("Meta").Element("project"))
	require.Nil(t, definitions.Lookup("Reference").Element("resource"))
}

// Every type that an element names is there, and every resource can hold what
// R4 says all resources hold.
func TestTypesAreComplete(t *testing.T) {
	t.Parallel()
	resources := 0
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] || name == definitions.AnyResource || definitions.Primitive(name) {
			return
		}
		seen[name] = true
		typ := definitions.Lookup(name)
		require.NotNil(t, typ, name)
		for _, e := range typ.Elements {
			visit(e.Type)
		}
	}
	for name := range definitions.Memberships() {
		typ := definitions.Lookup(name)
		require.True(t, typ.Resource, name)
		require.NotNil(t, typ.Element("contained"), name)
		require.NotNil(t, typ.Element("modifierExtension"), name)
		visit(name)
		resources++
	}
	require.Greater(t, resources, 60)
}

func TestSearchParameters(t *testing.T) {
	t.Parallel()
	got := map[string]definitions.SearchParameter{}
	for _, p := range definitions.Search("Observation") {
		got[p.Code] = p
	}
	require.Equal(t, definitions.SearchParameter{
		Base: "Observation", Code: "patient", Type: "reference", Expression: "Observation.subject.where(resolve() is Patient)", Target: []string{"Group", "Patient"},
	}, got["patient"])
	require.Equal(t, "Resource.meta.lastUpdated", got["_lastUpdated"].Expression)
	require.Equal(t, "token", got["code"].Type)
	require.Equal(t, []definitions.Param{{Code: "subject", Paths: []string{"subject"}}, {Code: "performer", Paths: []string{"performer[]"}}},
		definitions.Memberships()["Observation"].Params)
}
