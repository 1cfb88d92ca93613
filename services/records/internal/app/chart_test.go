package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

func somebody() *recordsv1.Patient {
	return &recordsv1.Patient{
		FamilyName: "Marquardt", GivenNames: []string{"Adolfo"}, BirthDate: "1949-08-02", Gender: recordsv1.Gender_GENDER_MALE,
		Telecoms:            []*recordsv1.Telecom{{System: "phone", Value: "555-826-5697", Use: "home"}},
		Addresses:           []*recordsv1.Address{{Lines: []string{"103 Schoen Mill"}, City: "Wakefield"}},
		NationalIdentifiers: []*recordsv1.Identifier{{System: "http://hl7.org/fhir/sid/us-ssn", Value: "999-65-9492", Type: "SS"}},
		Identifiers:         []*recordsv1.Identifier{{System: "http://hospital.example", Value: "MR-1", Type: "MR"}},
	}
}

func (h *house) patient(u *user) *recordsv1.Patient {
	h.t.Helper()
	p, err := h.client.CreatePatient(h.as(u), &recordsv1.CreatePatientRequest{Patient: somebody()})
	require.NoError(h.t, err)
	return p
}

func TestPatientLife(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	var made *recordsv1.Patient
	events := h.since(func() { made = h.patient(doctor) })
	require.Regexp(t, `^patients/[0-9a-f-]{36}$`, made.GetName())
	require.Equal(t, "Marquardt", made.GetFamilyName())
	var actions []accessv1.Action
	for _, e := range events {
		actions = append(actions, e.GetAction())
	}
	// The practice's own two keys, the unwrap of its index key, the patient's key, the patient.
	require.Equal(t, []accessv1.Action{
		accessv1.Action_ACTION_KEY_CREATE, accessv1.Action_ACTION_KEY_CREATE, accessv1.Action_ACTION_KEY_UNWRAP,
		accessv1.Action_ACTION_KEY_CREATE, accessv1.Action_ACTION_CREATE,
	}, actions)

	got, err := h.client.GetPatient(h.as(doctor), &recordsv1.GetPatientRequest{Name: made.GetName()})
	require.NoError(t, err)
	require.Equal(t, made.String(), got.String())

	got.FamilyName = "Meyer"
	changed, err := h.client.UpdatePatient(h.as(doctor), &recordsv1.UpdatePatientRequest{Patient: got})
	require.NoError(t, err)
	require.Equal(t, "Meyer", changed.GetFamilyName())
	require.NotEqual(t, got.GetEtag(), changed.GetEtag())
	_, err = h.client.UpdatePatient(h.as(doctor), &recordsv1.UpdatePatientRequest{Patient: got})
	require.Equal(t, codes.Aborted, status.Code(err))

	list, err := h.client.ListPatients(h.as(doctor), &recordsv1.ListPatientsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetPatients(), 1)

	id := made.GetName()[len("patients/"):]
	for version, name := range map[int64]string{1: "Marquardt", 2: "Meyer"} {
		old, err := h.client.GetResourceVersion(h.as(doctor), &recordsv1.GetResourceVersionRequest{Type: "Patient", Id: id, Version: version})
		require.NoError(t, err)
		require.Contains(t, string(old.GetData()), name)
	}
	_, err = h.client.DeletePatient(h.as(doctor), &recordsv1.DeletePatientRequest{Name: made.GetName(), Etag: got.GetEtag()})
	require.Equal(t, codes.Aborted, status.Code(err))
	_, err = h.client.DeletePatient(h.as(doctor), &recordsv1.DeletePatientRequest{Name: made.GetName(), Etag: changed.GetEtag()})
	require.NoError(t, err)
	_, err = h.client.GetPatient(h.as(doctor), &recordsv1.GetPatientRequest{Name: made.GetName()})
	require.Equal(t, codes.NotFound, status.Code(err))
	list, err = h.client.ListPatients(h.as(doctor), &recordsv1.ListPatientsRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetPatients())

	for version := range int64(3) {
		_, err = h.client.GetResourceVersion(h.as(doctor), &recordsv1.GetResourceVersionRequest{Type: "Patient", Id: id, Version: version + 1})
		require.Equal(t, codes.NotFound, status.Code(err), version+1)
	}
}
