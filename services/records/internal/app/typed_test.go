package app_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func TestNotesPrescriptionsAppointments(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	ctx := h.as(doctor)
	parent := h.patient(doctor).GetName()
	start := timestamppb.New(time.Date(2027, 1, 4, 9, 0, 0, 0, time.UTC))
	end := timestamppb.New(start.AsTime().Add(time.Hour))

	n, err := h.client.CreateNote(ctx, &recordsv1.CreateNoteRequest{Parent: parent, Note: &recordsv1.Note{Title: "Visit", Text: "Cough\nsince Monday.", AuthorTime: start}})
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(n.GetName(), parent+"/notes/"))
	require.Equal(t, []string{"Visit", "Cough\nsince Monday.", "current"}, []string{n.GetTitle(), n.GetText(), n.GetStatus()})
	n, err = h.client.UpdateNote(ctx, &recordsv1.UpdateNoteRequest{
		Note: &recordsv1.Note{Name: n.GetName(), Etag: n.GetEtag(), Status: "superseded"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"status", "title"}},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"", "Cough\nsince Monday.", "superseded"}, []string{n.GetTitle(), n.GetText(), n.GetStatus()})

	p, err := h.client.CreatePrescription(ctx, &recordsv1.CreatePrescriptionRequest{Parent: parent, Prescription: &recordsv1.Prescription{
		Medication: "Amoxicillin", CodeSystem: "http://www.nlm.nih.gov/research/umls/rxnorm", Code: "308182", Dosage: "1-0-1",
	}})
	require.NoError(t, err)
	p.Status = "stopped"
	p, err = h.client.UpdatePrescription(ctx, &recordsv1.UpdatePrescriptionRequest{Prescription: p})
	require.NoError(t, err)
	got, err := h.client.GetPrescription(ctx, &recordsv1.GetPrescriptionRequest{Name: p.GetName()})
	require.NoError(t, err)
	require.Equal(t, p.String(), got.String())
	require.Equal(t, "1-0-1", got.GetDosage())

	a, err := h.client.CreateAppointment(ctx, &recordsv1.CreateAppointmentRequest{Parent: parent, Appointment: &recordsv1.Appointment{
		StartTime: start, EndTime: end, Practitioner: "users/" + doctor.User.String(), Reason: "Cough",
	}})
	require.NoError(t, err)
	require.Equal(t, "booked", a.GetStatus())
	require.Equal(t, "users/"+doctor.User.String(), a.GetPractitioner())
	a, err = h.client.UpdateAppointment(ctx, &recordsv1.UpdateAppointmentRequest{Appointment: &recordsv1.Appointment{
		Name: a.GetName(), Etag: a.GetEtag(), Status: "fulfilled",
	}})
	require.NoError(t, err)
	require.Equal(t, end.AsTime(), a.GetEndTime().AsTime())

	// What a typed client makes is FHIR to a raw one.
	doc, err := h.client.GetResource(ctx, &recordsv1.GetResourceRequest{Type: "DocumentReference", Id: n.GetName()[len(parent)+len("/notes/"):]})
	require.NoError(t, err)
	require.Contains(t, string(doc.GetData()), base64.StdEncoding.EncodeToString([]byte("Cough\nsince Monday.")))
	require.Contains(t, string(doc.GetData()), `"subject":{"reference":"Patient/`+parent[len("patients/"):]+`"}`)

	for name, call := range map[string]func() error{
		"note": func() error {
			_, err := h.client.DeleteNote(ctx, &recordsv1.DeleteNoteRequest{Name: n.GetName(), Etag: n.GetEtag()})
			return err
		},
		"prescription": func() error {
			_, err := h.client.DeletePrescription(ctx, &recordsv1.DeletePrescriptionRequest{Name: p.GetName()})
			return err
		},
		"appointment": func() error {
			_, err := h.client.DeleteAppointment(ctx, &recordsv1.DeleteAppointmentRequest{Name: a.GetName()})
			return err
		},
	} {
		require.NoError(t, call(), name)
		require.Equal(t, codes.NotFound, status.Code(call()), name)
	}
}

// A resource answers only under its own patient and its own collection.
func TestNamesMustFit(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	a, b := h.file(doctor), h.file(doctor)
	for _, name := range []string{
		b.patient + "/notes/" + a.noteID,
		a.patient + "/notes/" + a.prescription[len(a.patient)+len("/prescriptions/"):],
		a.patient + "/notes/" + a.patientID,
	} {
		_, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: name})
		require.Equal(t, codes.NotFound, status.Code(err), name)
	}
	for _, name := range []string{"", "patients/1", a.patient, strings.ToUpper(a.note), a.note + "/x"} {
		_, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: name})
		require.Equal(t, codes.InvalidArgument, status.Code(err), name)
	}
}

func TestUpdateRefusals(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	for name, c := range map[string]struct {
		note   *recordsv1.Note
		mask   []string
		reason string
	}{
		"no etag":           {&recordsv1.Note{Text: "x"}, nil, "ETAG_REQUIRED"},
		"stale etag":        {&recordsv1.Note{Text: "x", Etag: "v7"}, nil, "ETAG_STALE"},
		"no etag at all":    {&recordsv1.Note{Text: "x", Etag: "seven"}, nil, "ETAG_INVALID"},
		"padded etag":       {&recordsv1.Note{Text: "x", Etag: "v01"}, nil, "ETAG_INVALID"},
		"unknown path":      {&recordsv1.Note{Text: "x", Etag: "v1"}, []string{"txt"}, "UPDATE_MASK_INVALID"},
		"nothing to change": {&recordsv1.Note{Etag: "v1"}, nil, "UPDATE_EMPTY"},
		"only output":       {&recordsv1.Note{Etag: "v1"}, []string{"update_time"}, "UPDATE_EMPTY"},
		"no status":         {&recordsv1.Note{Etag: "v1"}, []string{"status"}, "FIELD_INVALID"},
	} {
		c.note.Name = f.note
		_, err := h.client.UpdateNote(h.as(doctor), &recordsv1.UpdateNoteRequest{Note: c.note, UpdateMask: &fieldmaskpb.FieldMask{Paths: c.mask}})
		require.Equal(t, c.reason, errs.ReasonOf(err), name)
	}
	_, err := h.client.DeleteNote(h.as(doctor), &recordsv1.DeleteNoteRequest{Name: f.note, Etag: "v2"})
	require.Equal(t, "ETAG_STALE", errs.ReasonOf(err))
	h.unharmed(doctor, f)
}

// Of many writers with the same etag one wins, and nothing is lost or doubled.
func TestConcurrentUpdates(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	ctx := h.as(doctor)
	var wait sync.WaitGroup
	results := make([]error, 16)
	for i := range results {
		wait.Go(func() {
			_, results[i] = h.client.UpdateNote(ctx, &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Etag: "v1", Text: fmt.Sprint(i)}})
		})
	}
	wait.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else {
			require.Equal(t, "ETAG_STALE", errs.ReasonOf(err))
		}
	}
	require.Equal(t, 1, won)
	h.requireEvidenceForAll()
}

// A repeated create returns what the first one made; the same id for another
// request is refused.
func TestCreatesAreIdempotent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	ctx := h.as(doctor)
	request := &recordsv1.CreatePatientRequest{Patient: somebody(), RequestId: uuid.NewString()}
	var wait sync.WaitGroup
	names := make([]string, 8)
	for i := range names {
		wait.Go(func() {
			p, err := h.client.CreatePatient(ctx, request)
			if err == nil {
				names[i] = p.GetName()
			} else {
				names[i] = err.Error()
			}
		})
	}
	wait.Wait()
	for _, name := range names {
		require.Equal(t, names[0], name)
	}
	require.Regexp(t, "^patients/", names[0])
	list, err := h.client.ListPatients(ctx, &recordsv1.ListPatientsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetPatients(), 1)

	note := &recordsv1.CreateNoteRequest{Parent: names[0], Note: &recordsv1.Note{Text: "x"}, RequestId: uuid.NewString()}
	one, err := h.client.CreateNote(ctx, note)
	require.NoError(t, err)
	two, err := h.client.CreateNote(ctx, note)
	require.NoError(t, err)
	require.Equal(t, one.String(), two.String())
	note.Note.Text = "y"
	_, err = h.client.CreateNote(ctx, note)
	require.Equal(t, "REQUEST_ID_REUSED", errs.ReasonOf(err))
	_, err = h.client.CreatePrescription(ctx, &recordsv1.CreatePrescriptionRequest{Parent: names[0], RequestId: note.GetRequestId(), Prescription: &recordsv1.Prescription{Medication: "x"}})
	require.Equal(t, "REQUEST_ID_REUSED", errs.ReasonOf(err))
	// Another user's request ids are another matter.
	other := h.doctor()
	p, err := h.client.CreatePatient(h.as(other), request)
	require.NoError(t, err)
	require.NotEqual(t, names[0], p.GetName())
	h.requireEvidenceForAll()
}

func TestLists(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	ctx := h.as(doctor)
	f := h.file(doctor)
	var want []string
	for i := range 7 {
		n, err := h.client.CreateNote(ctx, &recordsv1.CreateNoteRequest{Parent: f.patient, Note: &recordsv1.Note{Text: fmt.Sprint(i)}})
		require.NoError(t, err)
		want = append([]string{n.GetName()}, want...)
	}
	want = append(want, f.note)
	var got []string
	pages, token := 0, ""
	for first := true; first || token != ""; first = false {
		page, err := h.client.ListNotes(ctx, &recordsv1.ListNotesRequest{Parent: f.patient, PageSize: 3, PageToken: token})
		require.NoError(t, err)
		for _, n := range page.GetNotes() {
			got = append(got, n.GetName())
		}
		token = page.GetNextPageToken()
		pages++
		if pages == 1 {
			for _, bad := range []string{"x", token + "A", token[1:], "AAAA"} {
				_, err := h.client.ListNotes(ctx, &recordsv1.ListNotesRequest{Parent: f.patient, PageToken: bad})
				require.Equal(t, "PAGE_TOKEN_INVALID", errs.ReasonOf(err), bad)
			}
			_, err = h.client.ListPrescriptions(ctx, &recordsv1.ListPrescriptionsRequest{Parent: f.patient, PageToken: token})
			require.Equal(t, "PAGE_TOKEN_INVALID", errs.ReasonOf(err), "a token of another list")
		}
	}
	require.Equal(t, want, got, "newest first, each once")
	require.Equal(t, 3, pages)
}

func TestListOfPatientsPages(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two := h.doctor(), h.doctor()
	staff := h.receptionist(one, two)
	want := map[string]bool{}
	for i := range 9 {
		p := h.patient([]*user{one, two}[i%2])
		want[p.GetName()] = true
		if i%3 == 0 { // on both teams, and still listed once
			_, err := h.client.AddCareTeamMember(h.as([]*user{one, two}[i%2]), &recordsv1.AddCareTeamMemberRequest{
				Name: p.GetName() + "/careTeam", User: "users/" + []*user{two, one}[i%2].User.String(),
			})
			require.NoError(t, err)
		}
	}
	token := ""
	for first := true; first || token != ""; first = false {
		page, err := h.client.ListPatients(h.as(staff), &recordsv1.ListPatientsRequest{PageSize: 2, PageToken: token})
		require.NoError(t, err)
		for _, p := range page.GetPatients() {
			require.True(t, want[p.GetName()], "twice, or not theirs")
			delete(want, p.GetName())
		}
		token = page.GetNextPageToken()
	}
	require.Empty(t, want)
}

// A page of large documents ends before the message becomes too large for gRPC.
func TestPagesOfLargeDocuments(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	p := h.patient(doctor)
	for range 6 {
		_, err := h.client.CreateNote(h.as(doctor), &recordsv1.CreateNoteRequest{Parent: p.GetName(), Note: &recordsv1.Note{Text: strings.Repeat("x", 1_000_000)}})
		require.NoError(t, err)
	}
	seen, token := 0, ""
	for first := true; first || token != ""; first = false {
		page, err := h.client.ListNotes(h.as(doctor), &recordsv1.ListNotesRequest{Parent: p.GetName(), PageToken: token})
		require.NoError(t, err)
		require.NotEmpty(t, page.GetNotes())
		seen += len(page.GetNotes())
		token = page.GetNextPageToken()
	}
	require.Equal(t, 6, seen)
}

func TestSearch(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	p := h.patient(doctor)
	find := func(ctx context.Context, r *recordsv1.SearchPatientsRequest) []string {
		t.Helper()
		found, err := h.client.SearchPatients(ctx, r)
		require.NoError(t, err)
		var out []string
		for _, p := range found.GetPatients() {
			out = append(out, p.GetName())
		}
		return out
	}
	identifier := func(system, value string) *recordsv1.SearchPatientsRequest {
		return &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Identifier{Identifier: &recordsv1.Identifier{System: system, Value: value}}}
	}
	phone := func(n string) *recordsv1.SearchPatientsRequest {
		return &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Phone{Phone: n}}
	}
	name := func(family, given, birth string) *recordsv1.SearchPatientsRequest {
		return &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Name{Name: &recordsv1.NameQuery{FamilyName: family, GivenName: given, BirthDate: birth}}}
	}
	ssn := "http://hl7.org/fhir/sid/us-ssn"
	for _, hit := range []*recordsv1.SearchPatientsRequest{
		identifier(ssn, "999-65-9492"), identifier(ssn, "999659492"), identifier("http://hospital.example", "mr 1"),
		phone("+1 (555) 826-5697"), name("MARQUARDT", "Ádolfo", "1949-08-02"),
	} {
		require.Equal(t, []string{p.GetName()}, find(h.as(doctor), hit), hit.String())
		require.Empty(t, find(h.as(h.doctor()), hit), "a stranger finds nothing")
	}
	for _, miss := range []*recordsv1.SearchPatientsRequest{
		identifier("urn:other", "999-65-9492"), identifier(ssn, "999-65-9493"), phone("555-826-5698"), name("Marquardt", "Adolfo", "1949-08-03"),
	} {
		require.Empty(t, find(h.as(doctor), miss))
	}
	_, err := h.client.SearchPatients(h.as(doctor), phone("12 34 5"))
	require.Equal(t, "QUERY_INVALID", errs.ReasonOf(err))

	// The index follows the document.
	p.Telecoms[0].Value = "555-000-1111"
	changed, err := h.client.UpdatePatient(h.as(doctor), &recordsv1.UpdatePatientRequest{Patient: p, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"telecoms"}}})
	require.NoError(t, err)
	require.Empty(t, find(h.as(doctor), phone("555-826-5697")))
	require.Len(t, find(h.as(doctor), phone("555-000-1111")), 1)
	require.Len(t, find(h.as(doctor), identifier(ssn, "999-65-9492")), 1)
	h.mustImport(doctor, bundleOf(`{"resourceType":"Patient","id":"`+p.GetName()[len("patients/"):]+`","telecom":[{"system":"phone","value":"555-222-3333"}]}`))
	require.Empty(t, find(h.as(doctor), identifier(ssn, "999-65-9492")))
	require.Len(t, find(h.as(doctor), phone("555-222-3333")), 1)
	_, err = h.client.DeletePatient(h.as(doctor), &recordsv1.DeletePatientRequest{Name: changed.GetName()})
	require.NoError(t, err)
	require.Empty(t, h.sql("SELECT FROM resource_index"))
}

func TestCareTeam(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two := h.doctor(), h.doctor()
	f := h.file(one)
	name := f.patient + "/careTeam"
	see := func(u *user) codes.Code {
		_, err := h.client.GetNote(h.as(u), &recordsv1.GetNoteRequest{Name: f.note})
		return status.Code(err)
	}
	require.Equal(t, codes.NotFound, see(two))
	for range 2 { // adding twice changes nothing more
		team, err := h.client.AddCareTeamMember(h.as(one), &recordsv1.AddCareTeamMemberRequest{Name: name, User: "users/" + two.User.String()})
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"users/" + one.User.String(), "users/" + two.User.String()}, team.GetUsers())
	}
	require.Equal(t, codes.OK, see(two))
	// Who leaves a team still sees what it is then.
	team, err := h.client.RemoveCareTeamMember(h.as(one), &recordsv1.RemoveCareTeamMemberRequest{Name: name, User: "users/" + one.User.String()})
	require.NoError(t, err)
	require.Equal(t, []string{"users/" + two.User.String()}, team.GetUsers())
	require.Equal(t, codes.NotFound, see(one))
	events := h.since(func() {
		_, err = h.client.AddCareTeamMember(h.as(two), &recordsv1.AddCareTeamMemberRequest{Name: name, User: "users/" + one.User.String()})
		require.NoError(t, err)
	})
	require.Equal(t, "careTeam/"+one.User.String(), events[0].GetResource())
}

func TestRawTypesMustBeKnown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, err := h.client.GetResource(h.as(h.doctor()), &recordsv1.GetResourceRequest{Type: "Martian", Id: uuid.NewString()})
	require.Equal(t, "TYPE_UNKNOWN", errs.ReasonOf(err))
}

// The directory is the practice's: every caller with the permission reads it, and
// another practice has its own.
func TestDirectory(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := uuid.NewString()
	h.mustImport(h.doctor(), bundleOf(`{"resourceType":"Practitioner","id":"`+id+`"}`))
	read := func(u *user) codes.Code {
		_, err := h.client.GetResource(h.as(u), &recordsv1.GetResourceRequest{Type: "Practitioner", Id: id})
		return status.Code(err)
	}
	require.Equal(t, codes.OK, read(h.doctor()))
	require.Equal(t, codes.PermissionDenied, read(h.receptionist()))
	h.practice = uuid.New()
	require.Equal(t, codes.NotFound, read(h.doctor()))
}
