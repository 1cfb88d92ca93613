package app_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
)

// Every RPC leaves an event with user, time, address, patient and outcome; lists and
// searches one for each patient shown.
func TestDH16_EveryAccessIsLogged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	started := time.Now().Add(-time.Second)
	for _, a := range accesses() {
		target := h.file(doctor)
		events := h.since(func() {
			_, err := a.call(h.as(doctor), h.client, target)
			require.NoError(t, err, a.name)
		})
		require.NotEmpty(t, events, a.name)
		for _, e := range events {
			require.Equal(t, doctor.User.String(), e.GetUserId(), a.name)
			require.Equal(t, doctor.Username, e.GetUsername(), a.name)
			require.Equal(t, doctor.Session.String(), e.GetSessionId(), a.name)
			require.Equal(t, h.practice.String(), e.GetPracticeId(), a.name)
			require.Equal(t, "192.0.2.7", e.GetAddress(), a.name)
			require.Equal(t, target.patientID, e.GetPatientId(), a.name)
			require.Equal(t, "/carekeep.records.v1.RecordsService/"+a.name, e.GetMethod())
			require.Equal(t, accessv1.Service_SERVICE_RECORDS, e.GetService())
			require.Equal(t, accessv1.Service_SERVICE_GATEWAY, e.GetCaller())
			require.Equal(t, accessv1.Purpose_PURPOSE_TREATMENT, e.GetPurpose())
			require.Equal(t, auditv1.Outcome_OUTCOME_OK, e.GetOutcome(), a.name)
			require.WithinRange(t, e.GetEventTime().AsTime(), started, time.Now().Add(time.Second))
		}
	}
}

func TestDH16_ListsAndSearchesLeaveOneEventAPatient(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	var patients []string
	for range 3 {
		patients = append(patients, h.patient(doctor).GetName()[len("patients/"):])
	}
	named := func(events []*auditv1.Event) (out []string) {
		for _, e := range events {
			out = append(out, e.GetPatientId())
		}
		return out
	}
	events := h.since(func() {
		_, err := h.client.ListPatients(h.as(doctor), &recordsv1.ListPatientsRequest{PageSize: 2})
		require.NoError(t, err)
	})
	require.Equal(t, patients[:2], named(events), "the third is not on the page")
	events = h.since(func() {
		_, err := h.client.SearchPatients(h.as(doctor), &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Phone{Phone: "(555) 826 5697"}})
		require.NoError(t, err)
	})
	require.ElementsMatch(t, patients, named(events))
	events = h.since(func() {
		found, err := h.client.SearchPatients(h.as(h.doctor()), &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Phone{Phone: "(555) 826 5697"}})
		require.NoError(t, err)
		require.Empty(t, found.GetPatients())
	})
	require.Equal(t, []string{""}, named(events), "a search that finds nothing is logged too")
}

// If events cannot be written no data leaves, and nothing is changed.
func TestDH16_NoEvidenceNoAccess(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	h.tamper("REVOKE INSERT ON outbox FROM records_app")
	for _, a := range accesses() {
		m, err := a.call(h.as(doctor), h.client, f)
		require.Equal(t, codes.Unavailable, status.Code(err), "%s answered %v", a.name, m)
		require.Equal(t, "AUDIT_UNAVAILABLE", errs.ReasonOf(err), a.name)
	}
	h.tamper("GRANT INSERT ON outbox TO records_app")
	h.unharmed(doctor, f)
}

// Changes bear the server's time in UTC, whatever the client claims, and the digests of
// the document before and after.
func TestDH36_ChangesBearServerTimeAndDigests(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	p := h.patient(doctor)
	ctx := h.as(doctor)
	forged := timestamppb.New(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))
	before := time.Now().UTC().Truncate(time.Microsecond)
	made, err := h.client.CreateNote(ctx, &recordsv1.CreateNoteRequest{Parent: p.GetName(), Note: &recordsv1.Note{
		Text: "one", CreateTime: forged, UpdateTime: forged, AuthorTime: forged,
	}})
	require.NoError(t, err)
	inBetween := func(ts *timestamppb.Timestamp) { require.WithinRange(t, ts.AsTime(), before, time.Now()) }
	inBetween(made.GetCreateTime())
	inBetween(made.GetUpdateTime())
	require.Equal(t, forged.AsTime(), made.GetAuthorTime().AsTime(), "what the author says is content")

	made.Text, made.UpdateTime = "two", forged
	var changed *recordsv1.Note
	events := h.since(func() {
		changed, err = h.client.UpdateNote(ctx, &recordsv1.UpdateNoteRequest{Note: made, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"text", "update_time", "create_time"}}})
		require.NoError(t, err)
		_, err = h.client.DeleteNote(ctx, &recordsv1.DeleteNoteRequest{Name: made.GetName()})
		require.NoError(t, err)
	})
	require.Equal(t, made.GetCreateTime().AsTime(), changed.GetCreateTime().AsTime())
	require.True(t, changed.GetUpdateTime().AsTime().After(made.GetCreateTime().AsTime()))
	inBetween(changed.GetUpdateTime())

	// The digests are those of the stored documents under the practice's index key, and nobody without it can make them.
	wrapped := h.sql("SELECT wrapped FROM practice_keys")[0][0].(string)
	vault, err := street.vault.Client("records")
	require.NoError(t, err)
	raw, err := vault.Decrypt(context.Background(), envelope.KeyName(h.practice), []string{wrapped})
	require.NoError(t, err)
	index, err := envelope.NewIndex(raw[0])
	require.NoError(t, err)
	id := made.GetName()[len(p.GetName())+len("/notes/"):]
	version := func(n int64) []byte {
		doc, err := h.client.GetResourceVersion(ctx, &recordsv1.GetResourceVersionRequest{Type: "DocumentReference", Id: id, Version: n})
		require.NoError(t, err)
		return index.Digest(doc.GetData())
	}
	require.Len(t, events, 2)
	update, deletion := events[0], events[1]
	require.Equal(t, version(1), update.GetBeforeDigest())
	require.Equal(t, version(2), update.GetAfterDigest())
	require.EqualValues(t, 2, update.GetResourceVersion())
	require.Equal(t, "notes/"+id, update.GetResource())
	require.Equal(t, version(2), deletion.GetBeforeDigest())
	require.Empty(t, deletion.GetAfterDigest())
	require.EqualValues(t, 3, deletion.GetResourceVersion())
	inBetween(update.GetEventTime())
}

// A receptionist has no way to prescriptions: not typed, not raw, not in lists, not in
// the history, not by import, not as part of another resource.
func TestDC04_ReceptionistSeesNoPrescriptions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	receptionist := h.receptionist(doctor)
	ctx := h.as(receptionist)
	id := f.prescription[len(f.patient)+len("/prescriptions/"):]
	for _, a := range accesses() {
		switch a.name {
		case "GetPrescription", "ListPrescriptions", "CreatePrescription", "UpdatePrescription", "DeletePrescription",
			"GetNote", "ListNotes", "CreateNote", "UpdateNote", "DeleteNote", "DeletePatient":
			events := h.since(func() {
				_, err := a.call(ctx, h.client, f)
				require.Equal(t, codes.PermissionDenied, status.Code(err), a.name)
			})
			require.Len(t, events, 1)
			require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, events[0].GetOutcome(), a.name)
		case "GetPatient", "GetAppointment", "ListAppointments":
			_, err := a.call(ctx, h.client, f)
			require.NoError(t, err, a.name)
		}
	}
	for _, kind := range []string{"MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration"} {
		_, err := h.client.GetResource(ctx, &recordsv1.GetResourceRequest{Type: kind, Id: id})
		require.Equal(t, codes.PermissionDenied, status.Code(err), kind)
		_, err = h.client.GetResourceVersion(ctx, &recordsv1.GetResourceVersionRequest{Type: kind, Id: id, Version: 1})
		require.Equal(t, codes.PermissionDenied, status.Code(err), kind)
		_, err = h.client.ListResources(ctx, &recordsv1.ListResourcesRequest{Parent: f.patient, Type: kind})
		require.Equal(t, codes.PermissionDenied, status.Code(err), kind)
	}
	// Bills, encounters and plans speak of medicines too.
	for _, kind := range []string{"Claim", "ExplanationOfBenefit", "Encounter", "CarePlan", "Observation", "Provenance", "Patient", "Appointment"} {
		_, err := h.client.ListResources(ctx, &recordsv1.ListResourcesRequest{Parent: f.patient, Type: kind})
		require.Equal(t, codes.PermissionDenied, status.Code(err), kind)
	}
}

// What each role sees of a patient and an appointment is exactly this.
func TestDMD05_MinimumNecessaryFields(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	receptionist := h.receptionist(doctor)
	nurse := h.receptionist(doctor)
	nurse.Permissions.Remove(accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ)
	nurse.Permissions.Add(accessv1.Permission_PERMISSION_APPOINTMENTS_REASON_READ)

	always := []string{"birth_date", "create_time", "etag", "family_name", "gender", "given_names", "identifiers", "name", "update_time"}
	for role, c := range map[string]struct {
		who    *user
		more   []string
		reason string
	}{
		"doctor":             {doctor, []string{"addresses", "national_identifiers", "telecoms"}, "Cough"},
		"receptionist":       {receptionist, []string{"addresses", "telecoms"}, ""},
		"nurse, no contacts": {nurse, nil, "Cough"},
	} {
		p, err := h.client.GetPatient(h.as(c.who), &recordsv1.GetPatientRequest{Name: f.patient})
		require.NoError(t, err)
		require.ElementsMatch(t, append(c.more, always...), setFields(p), role)
		list, err := h.client.ListPatients(h.as(c.who), &recordsv1.ListPatientsRequest{})
		require.NoError(t, err)
		require.ElementsMatch(t, append(c.more, always...), setFields(list.GetPatients()[0]), role)
		a, err := h.client.GetAppointment(h.as(c.who), &recordsv1.GetAppointmentRequest{Name: f.appointment})
		require.NoError(t, err)
		require.Equal(t, c.reason, a.GetReason(), role)
	}

	// Who may not see a field may not overwrite it either; what he changes keeps it.
	hidden, err := h.client.GetPatient(h.as(receptionist), &recordsv1.GetPatientRequest{Name: f.patient})
	require.NoError(t, err)
	hidden.FamilyName = "Meyer"
	_, err = h.client.UpdatePatient(h.as(receptionist), &recordsv1.UpdatePatientRequest{Patient: hidden,
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"family_name", "national_identifiers"}}})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = h.client.UpdatePatient(h.as(receptionist), &recordsv1.UpdatePatientRequest{Patient: hidden})
	require.NoError(t, err)
	p, err := h.client.GetPatient(h.as(doctor), &recordsv1.GetPatientRequest{Name: f.patient})
	require.NoError(t, err)
	require.Equal(t, "Meyer", p.GetFamilyName())
	require.Equal(t, "999-65-9492", p.GetNationalIdentifiers()[0].GetValue())
}

func setFields(m proto.Message) (out []string) {
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if m.ProtoReflect().Has(fields.Get(i)) {
			out = append(out, string(fields.Get(i).Name()))
		}
	}
	return out
}

// Staff see the patients of the doctors they act for, and lose them with the assignment.
func TestStaffSeeTheirDoctorsPatients(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two := h.doctor(), h.doctor()
	hers, his := h.patient(one), h.patient(two)
	staff := h.receptionist(one)
	names := func() (out []string) {
		list, err := h.client.ListPatients(h.as(staff), &recordsv1.ListPatientsRequest{})
		require.NoError(t, err)
		for _, p := range list.GetPatients() {
			out = append(out, p.GetName())
		}
		return out
	}
	require.Equal(t, []string{hers.GetName()}, names())
	staff.ActsFor = append(staff.ActsFor, two.User)
	require.ElementsMatch(t, []string{hers.GetName(), his.GetName()}, names())
	staff.ActsFor = nil
	require.Empty(t, names())
	_, err := h.client.GetPatient(h.as(staff), &recordsv1.GetPatientRequest{Name: hers.GetName()})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = h.client.CreatePatient(h.as(staff), &recordsv1.CreatePatientRequest{Patient: somebody()})
	require.Equal(t, "NO_DOCTOR", errs.ReasonOf(err))

	admin := h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
	list, err := h.client.ListPatients(h.as(admin), &recordsv1.ListPatientsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetPatients(), 2, "the scope of the practice opens all")
}

// The lines that privacy officers read.
func TestEventLines(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, stranger := h.doctor(), h.doctor()
	f := h.file(doctor)
	events := h.since(func() {
		_, _ = h.client.GetPatient(h.as(doctor), &recordsv1.GetPatientRequest{Name: f.patient})
		_, _ = h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
		_, _ = h.client.GetPatient(h.as(stranger), &recordsv1.GetPatientRequest{Name: f.patient})
		_, _ = h.client.GetPatient(h.as(stranger), &recordsv1.GetPatientRequest{Name: "patients/" + uuid.NewString()})
	})
	var lines []string
	for _, e := range events {
		lines = append(lines, evidence.Line(e)[len("13:04:22 "):])
	}
	require.Len(t, lines, 4)
	require.Equal(t, "READ "+doctor.Username+"→patient/"+f.patientID+" [OK]", lines[0])
	require.Equal(t, "READ "+doctor.Username+"→patient/"+f.patientID+"/notes/"+f.noteID+" [OK]", lines[1])
	require.Equal(t, "READ "+stranger.Username+"→patient/"+f.patientID+" [DENIED]", lines[2])
	require.Contains(t, lines[3], "[FAILED]")
}
