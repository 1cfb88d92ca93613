package fhir_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/fhir/validate"
)

// adolfo is a Patient with much that the view does not show.
const adolfo = `{ "resourceType": "Patient", "id": "63731047-b5a9-4b05-a14b-8cf6507efc98",
  "extension": [ {"url": "http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName", "valueString": "Jone Trantow"} ],
  "identifier": [
    { "system": "https://github.com/synthetichealth/synthea", "value": "50635536" },
    { "type": {"coding": [ {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"} ], "text": "Medical Record Number"}, "system": "http://hospital.example", "value": "MR-1" },
    { "type": {"coding": [ {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "SS"} ]}, "system": "http://hl7.org/fhir/sid/us-ssn", "value": "999-65-9492" },
    { "type": {"coding": [ {"code": "DL"} ]}, "system": "urn:oid:2.16.840.1.113883.4.3.25", "value": "S99991568" },
    { "system": "http://standardhealthrecord.org/fhir/StructureDefinition/passportNumber", "value": "X43747560X" } ],
  "name": [ {"use": "nickname", "given": ["Ado"]}, {"use": "official", "family": "Marquardt", "given": ["Adolfo", "J."], "prefix": ["Mr."]} ],
  "telecom": [ {"system": "phone", "value": "555-826-5697", "use": "home"}, {"extension": []} ],
  "gender": "male", "birthDate": "1949-08-02",
  "address": [ {"extension": [ {"url": "geo"} ], "line": ["103 Schoen Mill Unit 40"], "city": "Wakefield", "state": "Massachusetts", "postalCode": "01880", "country": "US"} ],
  "deceasedDateTime": "2001-02-03", "multipleBirthBoolean": false }`

func TestPatientView(t *testing.T) {
	t.Parallel()
	want := &recordsv1.Patient{
		FamilyName: "Marquardt", GivenNames: []string{"Adolfo", "J."}, BirthDate: "1949-08-02",
		Gender: recordsv1.Gender_GENDER_MALE, Deceased: true,
		Telecoms:  []*recordsv1.Telecom{{System: "phone", Value: "555-826-5697", Use: "home"}},
		Addresses: []*recordsv1.Address{{Lines: []string{"103 Schoen Mill Unit 40"}, City: "Wakefield", State: "Massachusetts", PostalCode: "01880", Country: "US"}},
		NationalIdentifiers: []*recordsv1.Identifier{
			{System: "http://hl7.org/fhir/sid/us-ssn", Value: "999-65-9492", Type: "SS"},
			{System: "urn:oid:2.16.840.1.113883.4.3.25", Value: "S99991568", Type: "DL"},
			{System: "http://standardhealthrecord.org/fhir/StructureDefinition/passportNumber", Value: "X43747560X"},
		},
		Identifiers: []*recordsv1.Identifier{
			{System: "https://github.com/synthetichealth/synthea", Value: "50635536"},
			{System: "http://hospital.example", Value: "MR-1", Type: "MR"},
		},
	}
	require.Empty(t, cmp.Diff(want, fhir.PatientView([]byte(adolfo)), protocmp.Transform()))
}

// An update changes its fields and no other byte.
func TestPatchPatientKeepsAllElse(t *testing.T) {
	t.Parallel()
	view := &recordsv1.Patient{
		FamilyName: "Märquardt & <Sons>", BirthDate: "1950", Gender: recordsv1.Gender_GENDER_OTHER,
		Telecoms: []*recordsv1.Telecom{{System: "phone", Value: "555-826-5697", Use: "home"}, {System: "email", Value: "a@example.org"}},
		NationalIdentifiers: []*recordsv1.Identifier{
			{System: "http://hl7.org/fhir/sid/us-ssn", Value: "999-65-9492", Type: "SS"},
			{System: "urn:x", Value: "N1", Type: "NI"},
		},
	}
	for name, c := range map[string]struct {
		fields []string
		old    []string
		new    []string
	}{
		"family":    {[]string{"family_name"}, []string{`"family": "Marquardt"`}, []string{`"family": "Märquardt & <Sons>"`}},
		"birth":     {[]string{"birth_date"}, []string{`"1949-08-02"`}, []string{`"1950"`}},
		"gender":    {[]string{"gender"}, []string{`"gender": "male"`}, []string{`"gender": "other"`}},
		"unchanged": {[]string{"telecoms"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := proto.CloneOf(view)
			want := adolfo
			for i := range c.old {
				want = strings.Replace(want, c.old[i], c.new[i], 1)
			}
			if c.old == nil {
				in.Telecoms = in.Telecoms[:1]
			}
			got, err := fhir.PatchPatient([]byte(adolfo), in, c.fields)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
		})
	}
	t.Run("lists keep foreign elements and unchanged ones", func(t *testing.T) {
		t.Parallel()
		got, err := fhir.PatchPatient([]byte(adolfo), view, []string{"telecoms", "national_identifiers"})
		require.NoError(t, err)
		require.True(t, json.Valid(got))
		require.Contains(t, string(got), `{"extension": []}`)
		require.Contains(t, string(got), `{ "system": "https://github.com/synthetichealth/synthea", "value": "50635536" }`)
		require.Contains(t, string(got), `"text": "Medical Record Number"`)
		require.NotContains(t, string(got), "S99991568")
		p := fhir.PatientView(got)
		require.Empty(t, cmp.Diff(view.Telecoms, p.Telecoms, protocmp.Transform()))
		require.Empty(t, cmp.Diff(view.NationalIdentifiers, p.NationalIdentifiers, protocmp.Transform()))
		require.Len(t, p.Identifiers, 2)
	})
	t.Run("clearing leaves no empty elements", func(t *testing.T) {
		t.Parallel()
		got, err := fhir.PatchPatient([]byte(adolfo), &recordsv1.Patient{}, []string{
			"family_name", "given_names", "birth_date", "gender", "addresses", "national_identifiers", "identifiers", "deceased",
		})
		require.NoError(t, err)
		require.True(t, json.Valid(got), string(got))
		for _, gone := range []string{"Marquardt", "Adolfo", "birthDate", "gender", "address", "identifier", "deceased", "[]}", "{}"} {
			if gone != "[]}" { // the foreign telecom has one
				require.NotContains(t, string(got), gone)
			}
		}
		require.Contains(t, string(got), `"prefix": ["Mr."]`)
	})
}

func TestNewPatientRoundTrip(t *testing.T) {
	t.Parallel()
	want := fhir.PatientView([]byte(adolfo))
	id := uuid.New()
	doc, err := fhir.NewPatient(id, want)
	require.NoError(t, err)
	require.Empty(t, validate.Resource("Patient", doc).Issues)
	require.Empty(t, cmp.Diff(want, fhir.PatientView(doc), protocmp.Transform()))
	require.Contains(t, string(doc), id.String())
	// Who died at a known time stays dead at that time.
	kept, err := fhir.PatchPatient([]byte(adolfo), want, []string{"deceased"})
	require.NoError(t, err)
	require.Equal(t, adolfo, string(kept))
}

func TestNewNoteRoundTrip(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 13, 4, 22, 123456000, time.UTC)
	id, patient := uuid.New(), uuid.New()
	doc, err := fhir.NewNote(id, patient, &recordsv1.Note{Title: "Visit", Text: "first line\nsecond “line”"}, now)
	require.NoError(t, err)
	require.Empty(t, validate.Resource(fhir.TypeDocumentReference, doc).Issues)
	require.Equal(t, [][]string{{"Patient/" + patient.String()}}, fhir.Subjects(fhir.TypeDocumentReference, doc))
	want := &recordsv1.Note{Title: "Visit", Text: "first line\nsecond “line”", Status: "current", AuthorTime: timestamppb.New(now)}
	require.Empty(t, cmp.Diff(want, fhir.NoteView(doc), protocmp.Transform()))

	linked := strings.Replace(string(doc), `"attachment":{`, `"attachment":{"url":"http://x","hash":"h","size":3,`, 1)
	doc, err = fhir.PatchNote([]byte(linked), &recordsv1.Note{Text: "new"}, []string{"text", "title"})
	require.NoError(t, err)
	require.NotContains(t, string(doc), `"hash"`)
	require.NotContains(t, string(doc), `"url"`)
	require.Equal(t, "new", fhir.NoteView(doc).Text)
	require.Empty(t, fhir.NoteView(doc).Title)
	_, err = fhir.PatchNote(doc, &recordsv1.Note{}, []string{"status"})
	require.Equal(t, errs.KindInvalid, errs.KindOf(err))
}

func TestNoteViewOfForeignDocuments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ doc, title, text string }{
		"scan":        {`{"content":[{"attachment":{"contentType":"image/png","data":"AAAA"}}],"description":"Scan"}`, "Scan", ""},
		"no base64":   {`{"content":[{"attachment":{"contentType":"text/plain","data":"%"}}],"type":{"text":"Letter"}}`, "Letter", ""},
		"no UTF-8":    {`{"content":[{"attachment":{"contentType":"text/plain","data":"/w=="}}]}`, "", ""},
		"rich text":   {`{"content":[{"attachment":{"contentType":"text/html","data":"PGI+"}}]}`, "", "<b>"},
		"other shape": {`{"content":"x","date":7,"status":[]}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := fhir.NoteView([]byte(c.doc))
			require.Equal(t, c.title, n.Title)
			require.Equal(t, c.text, n.Text)
		})
	}
}

func TestPrescriptionRoundTrip(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	in := &recordsv1.Prescription{Medication: "Amoxicillin 500 mg", CodeSystem: "http://www.nlm.nih.gov/research/umls/rxnorm", Code: "308182", Dosage: "1–0–1"}
	doc, err := fhir.NewPrescription(uuid.New(), uuid.New(), in, now)
	require.NoError(t, err)
	require.Empty(t, validate.Resource(fhir.TypeMedicationRequest, doc).Issues)
	want := proto.CloneOf(in)
	want.Status, want.AuthorTime = "active", timestamppb.New(now)
	require.Empty(t, cmp.Diff(want, fhir.PrescriptionView(doc), protocmp.Transform()))

	doc, err = fhir.PatchPrescription(doc, &recordsv1.Prescription{Status: "stopped"}, []string{"status", "dosage", "author_time"})
	require.NoError(t, err)
	require.NotContains(t, string(doc), "dosageInstruction")
	require.Equal(t, "stopped", fhir.PrescriptionView(doc).Status)
	_, err = fhir.PatchPrescription(doc, &recordsv1.Prescription{}, []string{"medication", "code", "code_system"})
	require.Equal(t, errs.KindInvalid, errs.KindOf(err))
	_, err = fhir.NewPrescription(uuid.New(), uuid.New(), &recordsv1.Prescription{Dosage: "x"}, now)
	require.Equal(t, errs.KindInvalid, errs.KindOf(err))

	byReference := `{"resourceType":"MedicationRequest","medicationReference":{"reference":"Medication/1","display":"Aspirin"}}`
	require.Equal(t, "Aspirin", fhir.PrescriptionView([]byte(byReference)).Medication)
	doc, err = fhir.PatchPrescription([]byte(byReference), in, []string{"medication"})
	require.NoError(t, err)
	require.NotContains(t, string(doc), "medicationReference")
}

func TestAppointmentRoundTrip(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	doctor, patient := uuid.New(), uuid.New()
	in := &recordsv1.Appointment{
		StartTime: timestamppb.New(start), EndTime: timestamppb.New(start.Add(time.Hour)),
		Practitioner: "users/" + doctor.String(), Reason: "Cough",
	}
	doc, err := fhir.NewAppointment(uuid.New(), patient, in)
	require.NoError(t, err)
	require.Empty(t, validate.Resource(fhir.TypeAppointment, doc).Issues)
	require.Equal(t, [][]string{{"Patient/" + patient.String()}}, fhir.Subjects(fhir.TypeAppointment, doc))
	want := proto.CloneOf(in)
	want.Status = "booked"
	require.Empty(t, cmp.Diff(want, fhir.AppointmentView(doc), protocmp.Transform()))

	other := "users/" + uuid.NewString()
	doc, err = fhir.PatchAppointment(doc, &recordsv1.Appointment{Practitioner: other}, []string{"practitioner", "reason"})
	require.NoError(t, err)
	got := fhir.AppointmentView(doc)
	require.Equal(t, other, got.Practitioner)
	require.Empty(t, got.Reason)
	require.NotContains(t, string(doc), doctor.String())
	doc, err = fhir.PatchAppointment(doc, &recordsv1.Appointment{}, []string{"practitioner"})
	require.NoError(t, err)
	require.Contains(t, string(doc), patient.String())

	for name, bad := range map[string]*recordsv1.Appointment{
		"no end":          {StartTime: timestamppb.New(start)},
		"ends first":      {StartTime: timestamppb.New(start), EndTime: timestamppb.New(start.Add(-time.Hour))},
		"booked, no time": {Status: "booked"},
		"no user":         {Practitioner: "users/dr.smith"},
	} {
		_, err := fhir.NewAppointment(uuid.New(), patient, bad)
		require.Equal(t, errs.KindInvalid, errs.KindOf(err), name)
	}
	proposed, err := fhir.NewAppointment(uuid.New(), patient, &recordsv1.Appointment{})
	require.NoError(t, err)
	require.Equal(t, "proposed", fhir.AppointmentView(proposed).Status)
}

func TestFields(t *testing.T) {
	t.Parallel()
	view := &recordsv1.Note{Name: "patients/x/notes/y", Etag: "v1", Title: "t"}
	for _, c := range []struct{ mask, want []string }{
		{nil, []string{"title"}},
		{[]string{"title", "text", "etag", "name", "title"}, []string{"title", "text"}},
		{[]string{"*"}, []string{"title", "text", "author_time", "status"}},
	} {
		got, err := fhir.Fields(view, c.mask)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	for _, bad := range []string{"titel", "title.x", "", "author_time.seconds"} {
		_, err := fhir.Fields(view, []string{bad})
		require.Equal(t, "UPDATE_MASK_INVALID", errs.ReasonOf(err), bad)
	}
}

func TestPatientChecks(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]*recordsv1.Patient{
		"no day":                  {BirthDate: "2025-02-30"},
		"empty name":              {GivenNames: []string{"A", ""}},
		"national in identifiers": {Identifiers: []*recordsv1.Identifier{{System: "http://hl7.org/fhir/sid/us-ssn", Value: "1"}}},
		"other in national":       {NationalIdentifiers: []*recordsv1.Identifier{{System: "urn:x", Value: "1", Type: "MR"}}},
	} {
		_, err := fhir.NewPatient(uuid.New(), bad)
		require.Equal(t, errs.KindInvalid, errs.KindOf(err), name)
	}
}

// Documents of any shape are viewed and patched without a panic, and stay JSON.
func FuzzViews(f *testing.F) {
	f.Add([]byte(adolfo))
	f.Add([]byte(`{"name":{"0":{"family":7}},"telecom":"x","identifier":[1,null,{"type":{"coding":{}}}],"content":[],"participant":[null]}`))
	f.Add([]byte(`{"content":[{"attachment":[]}],"dosageInstruction":[[]],"medicationCodeableConcept":"","reasonCode":{}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if !json.Valid(doc) || doc[0] != '{' {
			return
		}
		now := time.Unix(0, 0).UTC()
		check := func(out []byte, err error) {
			if err == nil && !json.Valid(out) {
				t.Fatalf("a patch broke the JSON: %q", out)
			}
		}
		p, n, m, a := fhir.PatientView(doc), fhir.NoteView(doc), fhir.PrescriptionView(doc), fhir.AppointmentView(doc)
		all := func(v proto.Message) []string { out, _ := fhir.Fields(v, []string{"*"}); return out }
		check(fhir.PatchPatient(doc, p, all(p)))
		check(fhir.PatchNote(doc, n, all(n)))
		check(fhir.PatchPrescription(doc, m, all(m)))
		check(fhir.PatchAppointment(doc, a, all(a)))
		check(fhir.PatchPatient(doc, &recordsv1.Patient{}, all(p)))
		check(fhir.NewNote(uuid.Nil, uuid.Nil, n, now))
	})
}
