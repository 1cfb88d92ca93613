package app_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// The request names the type that accepting it changes, so the type is asked about: what is no FHIR resource of a chart
// is not amended, and what the caller may not change raw is not changed this way.
func TestAmendmentsChangeOnlyWhatTheCallerMayChange(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, desk := h.doctor(), h.desk()
	id, observation := uuid.NewString(), uuid.NewString()
	content := func(value string) string {
		return `{"resourceType":"Observation","id":"` + observation + `","status":"final","subject":{"reference":"Patient/` + id + `"},"code":{"text":"Knee"},"valueString":"` + value + `"}`
	}
	require.Empty(t, h.mustImport(doctor, bundleOf(`{"resourceType":"Patient","id":"`+id+`"}`, content("right"))).problems)
	patient := "patients/" + id
	verified := func(about string) *recordsv1.RightsRequest {
		r := asked(t, h.as(doctor), desk, patient, &recordsv1.RightsRequest{
			Kind: recordsv1.RightsKind_RIGHTS_KIND_AMENDMENT, Law: recordsv1.RightsLaw_RIGHTS_LAW_HIPAA, TimeZone: "America/Chicago", Resource: about,
		})
		r, err := desk.VerifyRequester(h.as(doctor), &recordsv1.VerifyRequesterRequest{Name: r.GetName(), Verification: twoMethods})
		require.NoError(t, err)
		return r
	}
	refused := func(reason string, u *user, r *recordsv1.RightsRequest, content string) {
		t.Helper()
		events := h.since(func() {
			_, err := desk.AcceptAmendment(h.as(u), &recordsv1.AcceptAmendmentRequest{Name: r.GetName(), Etag: "v1", Content: []byte(content)})
			refusedAs(t, reason, err)
		})
		require.Len(t, events, 1)
		require.NotEqual(t, auditv1.Outcome_OUTCOME_OK, events[0].GetOutcome())
		require.Equal(t, reason, events[0].GetReason())
	}

	// A file's document holds its key: whoever rewrote it would have lost the file, or put another in its place.
	scanned := scan(1000)
	d, err := h.upload(h.as(doctor), &recordsv1.UploadDocumentOptions{Parent: patient, FileName: "x.pdf", MediaType: "application/pdf"}, scanned)
	require.NoError(t, err)
	file := lastPart(d.GetName())
	refused("TYPE_NOT_AMENDED", doctor, verified("StoredFile/"+file), `{"resourceType":"StoredFile"}`)
	for _, other := range []string{"WorkingHours", "Organization", "Nonsense"} {
		refused("TYPE_NOT_AMENDED", doctor, verified(other+"/"+uuid.NewString()), `{"resourceType":"`+other+`"}`)
	}
	got, err := h.fetch(h.as(doctor), d.GetName())
	require.NoError(t, err)
	require.Equal(t, scanned, got)

	knee := verified("Observation/" + observation)
	blind := *doctor
	blind.Permissions.Remove(accessv1.Permission_PERMISSION_OBSERVATIONS_READ)
	refused("TYPE_NOT_PERMITTED", &blind, knee, content("left"))
	static := *doctor
	static.Permissions.Remove(accessv1.Permission_PERMISSION_PATIENTS_UPDATE)
	refused("TYPE_NOT_PERMITTED", &static, verified("Patient/"+id), `{"resourceType":"Patient","id":"`+id+`"}`)
	for _, purpose := range []accessv1.Purpose{accessv1.Purpose_PURPOSE_PAYMENT, accessv1.Purpose_PURPOSE_OPERATIONS} {
		other := *doctor
		other.Purpose = purpose
		refused("TYPE_NOT_FOR_PURPOSE", &other, knee, content("left"))
	}
	stored, err := h.client.GetResource(h.as(doctor), &recordsv1.GetResourceRequest{Type: "Observation", Id: observation})
	require.NoError(t, err)
	require.Equal(t, content("right"), string(stored.GetData()))
	knee, err = desk.AcceptAmendment(h.as(doctor), &recordsv1.AcceptAmendmentRequest{Name: knee.GetName(), Etag: "v1", Content: []byte(content("left"))})
	require.NoError(t, err)
	require.EqualValues(t, 2, knee.GetAmendedVersion())
}
