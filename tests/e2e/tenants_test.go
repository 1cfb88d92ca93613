package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
)

// What belongs to another practice answers exactly as what does not exist: over
// REST, with the same status, headers that matter, and body.
func TestDMD06_AnotherPracticesIdsDoNotExist(t *testing.T) {
	charts(t, 1)
	resources := map[string]uuid.UUID{}
	for _, resource := range generator.Resources(generator.Patient(population, 0)) {
		resources[resource.Type] = resource.ID
	}
	patient := "/v1/patients/" + resources["Patient"].String()
	brown, admin := as(t, seed.Brown), as(t, seed.HillsideAdmin)
	smith := "/v1/" + users.Person(seed.Smith).User
	for _, c := range []struct {
		client *api.Client
		path   string
		id     uuid.UUID
	}{
		{brown, patient, resources["Patient"]},
		{brown, patient + "/notes", resources["Patient"]},
		{brown, patient + "/notes/" + resources["DocumentReference"].String(), resources["DocumentReference"]},
		{brown, patient + "/prescriptions", resources["Patient"]},
		{brown, patient + "/appointments", resources["Patient"]},
		{brown, patient + "/careTeam", resources["Patient"]},
		{brown, patient + "/fhir/Observation", resources["Patient"]},
		{brown, "/v1/fhir/Patient/" + resources["Patient"].String(), resources["Patient"]},
		{brown, "/v1/fhir/Condition/" + resources["Condition"].String() + "/_history/1", resources["Condition"]},
		{admin, patient + "/careTeam", resources["Patient"]},
		{admin, smith, uuid.MustParse(users.Person(seed.Smith).User[len("users/"):])},
		{admin, smith + "/staff", uuid.MustParse(users.Person(seed.Smith).User[len("users/"):])},
		{admin, "/v1/" + users.Practices[seed.Riverside], uuid.MustParse(users.Practices[seed.Riverside][len("practices/"):])},
	} {
		t.Run(c.path, func(t *testing.T) {
			foreign, err := c.client.Send(t.Context(), http.MethodGet, c.path, nil)
			require.NoError(t, err)
			random, err := c.client.Send(t.Context(), http.MethodGet, replace(c.path, c.id), nil)
			require.NoError(t, err)
			assert.Equal(t, http.StatusNotFound, foreign.Status, string(foreign.Body))
			assert.Equal(t, random.Status, foreign.Status)
			assert.Equal(t, string(random.Body), string(foreign.Body))
			assert.Equal(t, random.Header.Get("Content-Type"), foreign.Header.Get("Content-Type"))
		})
	}
}

// DH-55: in the same practice, a doctor off the care team gets the same.
func TestDH55_APatientOfAnotherDoctorDoesNotExist(t *testing.T) {
	charts(t, 1)
	id := generator.Patient(population, 0).ID
	jones := as(t, seed.Jones)
	for _, path := range []string{"/v1/patients/" + id.String(), "/v1/fhir/Patient/" + id.String(), "/v1/patients/" + id.String() + "/prescriptions"} {
		foreign, err := jones.Send(t.Context(), http.MethodGet, path, nil)
		require.NoError(t, err)
		random, err := jones.Send(t.Context(), http.MethodGet, replace(path, id), nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusNotFound, foreign.Status)
		assert.Equal(t, string(random.Body), string(foreign.Body))
	}
}

func replace(path string, id uuid.UUID) string {
	return strings.ReplaceAll(path, id.String(), uuid.NewString())
}
