package app_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
)

// file is the chart of one patient with one resource of each typed kind.
type file struct {
	patient, note, prescription, appointment string
	patientID, noteID                        string
}

func (h *house) file(u *user) file {
	h.t.Helper()
	ctx := h.as(u)
	p := h.patient(u)
	f := file{patient: p.GetName(), patientID: p.GetName()[len("patients/"):]}
	n, err := h.client.CreateNote(ctx, &recordsv1.CreateNoteRequest{Parent: f.patient, Note: &recordsv1.Note{Title: "Visit", Text: "Cough."}})
	require.NoError(h.t, err)
	m, err := h.client.CreatePrescription(ctx, &recordsv1.CreatePrescriptionRequest{Parent: f.patient, Prescription: &recordsv1.Prescription{Medication: "Amoxicillin"}})
	require.NoError(h.t, err)
	a, err := h.client.CreateAppointment(ctx, &recordsv1.CreateAppointmentRequest{Parent: f.patient, Appointment: &recordsv1.Appointment{Reason: "Cough"}})
	require.NoError(h.t, err)
	f.note, f.prescription, f.appointment = n.GetName(), m.GetName(), a.GetName()
	f.noteID = f.note[len(f.patient)+len("/notes/"):]
	return f
}

// nowhere is a file of ids that nobody has.
func nowhere() file {
	f := file{patient: "patients/" + uuid.NewString(), noteID: uuid.NewString()}
	f.patientID = f.patient[len("patients/"):]
	f.note = f.patient + "/notes/" + f.noteID
	f.prescription = f.patient + "/prescriptions/" + uuid.NewString()
	f.appointment = f.patient + "/appointments/" + uuid.NewString()
	return f
}

type attempt struct {
	name string
	call func(context.Context, recordsv1.RecordsServiceClient, file) (proto.Message, error)
}

// accesses are all RPCs that name a patient or a patient's resource.
func accesses() []attempt {
	type c = recordsv1.RecordsServiceClient
	on := func(name string, call func(context.Context, c, file) (proto.Message, error)) attempt {
		return attempt{name, call}
	}
	doctor := "users/" + uuid.NewString()
	return []attempt{
		on("GetPatient", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.GetPatient(ctx, &recordsv1.GetPatientRequest{Name: f.patient})
		}),
		on("UpdatePatient", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.UpdatePatient(ctx, &recordsv1.UpdatePatientRequest{Patient: &recordsv1.Patient{Name: f.patient, FamilyName: "X", Etag: "v1"}})
		}),
		on("DeletePatient", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.DeletePatient(ctx, &recordsv1.DeletePatientRequest{Name: f.patient})
		}),
		on("GetNote", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.GetNote(ctx, &recordsv1.GetNoteRequest{Name: f.note})
		}),
		on("ListNotes", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.ListNotes(ctx, &recordsv1.ListNotesRequest{Parent: f.patient})
		}),
		on("CreateNote", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.CreateNote(ctx, &recordsv1.CreateNoteRequest{Parent: f.patient, Note: &recordsv1.Note{Text: "x"}})
		}),
		on("UpdateNote", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.UpdateNote(ctx, &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Text: "x", Etag: "v1"}})
		}),
		on("DeleteNote", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.DeleteNote(ctx, &recordsv1.DeleteNoteRequest{Name: f.note})
		}),
		on("GetPrescription", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.GetPrescription(ctx, &recordsv1.GetPrescriptionRequest{Name: f.prescription})
		}),
		on("ListPrescriptions", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.ListPrescriptions(ctx, &recordsv1.ListPrescriptionsRequest{Parent: f.patient})
		}),
		on("CreatePrescription", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.CreatePrescription(ctx, &recordsv1.CreatePrescriptionRequest{Parent: f.patient, Prescription: &recordsv1.Prescription{Medication: "x"}})
		}),
		on("UpdatePrescription", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.UpdatePrescription(ctx, &recordsv1.UpdatePrescriptionRequest{Prescription: &recordsv1.Prescription{Name: f.prescription, Dosage: "x", Etag: "v1"}})
		}),
		on("DeletePrescription", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.DeletePrescription(ctx, &recordsv1.DeletePrescriptionRequest{Name: f.prescription})
		}),
		on("GetAppointment", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.GetAppointment(ctx, &recordsv1.GetAppointmentRequest{Name: f.appointment})
		}),
		on("ListAppointments", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.ListAppointments(ctx, &recordsv1.ListAppointmentsRequest{Parent: f.patient})
		}),
		on("CreateAppointment", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.CreateAppointment(ctx, &recordsv1.CreateAppointmentRequest{Parent: f.patient, Appointment: &recordsv1.Appointment{
				StartTime: timestamppb.Now(), EndTime: timestamppb.New(time.Now().Add(time.Hour)),
			}})
		}),
		on("UpdateAppointment", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.UpdateAppointment(ctx, &recordsv1.UpdateAppointmentRequest{Appointment: &recordsv1.Appointment{Name: f.appointment, Reason: "x", Etag: "v1"}})
		}),
		on("DeleteAppointment", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.DeleteAppointment(ctx, &recordsv1.DeleteAppointmentRequest{Name: f.appointment})
		}),
		on("GetCareTeam", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.GetCareTeam(ctx, &recordsv1.GetCareTeamRequest{Name: f.patient + "/careTeam"})
		}),
		on("AddCareTeamMember", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.AddCareTeamMember(ctx, &recordsv1.AddCareTeamMemberRequest{Name: f.patient + "/careTeam", User: doctor})
		}),
		on("RemoveCareTeamMember", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.RemoveCareTeamMember(ctx, &recordsv1.RemoveCareTeamMemberRequest{Name: f.patient + "/careTeam", User: doctor})
		}),
		on("GetResource", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.GetResource(ctx, &recordsv1.GetResourceRequest{Type: "DocumentReference", Id: f.noteID})
		}),
		on("GetResourceVersion", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.GetResourceVersion(ctx, &recordsv1.GetResourceVersionRequest{Type: "DocumentReference", Id: f.noteID, Version: 1})
		}),
		on("ListResources", func(ctx context.Context, c c, f file) (proto.Message, error) {
			return c.ListResources(ctx, &recordsv1.ListResourcesRequest{Parent: f.patient, Type: "DocumentReference"})
		}),
	}
}

// collections are the RPCs that name no patient; what they show is tested apart. (ListOwners has no caller:
// auth alone may ask it, for one practice; TestDH50_OneRecordMakesAnOwner.)
var collections = []string{"ListPatients", "CreatePatient", "SearchPatients", "ImportBundle", "ListOwners"}

// A doctor off the care team gets from every RPC, byte for byte, what a random id
// gets; only the audit log knows the difference.
func TestDH55_StrangerSeesWhatARandomIDShows(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, stranger := h.doctor(), h.doctor()
	theirs := h.file(doctor)
	for _, a := range accesses() {
		var atTheirs, atRandom error
		events := h.since(func() {
			_, atTheirs = a.call(h.as(stranger), h.client, theirs)
			_, atRandom = a.call(h.as(stranger), h.client, nowhere())
		})
		require.Equal(t, codes.NotFound, status.Code(atTheirs), a.name)
		require.True(t, proto.Equal(status.Convert(atRandom).Proto(), status.Convert(atTheirs).Proto()), a.name)
		require.Len(t, events, 2, a.name)
		require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, events[0].GetOutcome(), a.name)
		require.Equal(t, "NOT_ON_CARE_TEAM", events[0].GetReason(), a.name)
		require.Equal(t, theirs.patientID, events[0].GetPatientId(), a.name)
		require.Equal(t, stranger.User.String(), events[0].GetUserId(), a.name)
		require.Equal(t, auditv1.Outcome_OUTCOME_FAILED, events[1].GetOutcome(), a.name)
		require.Equal(t, "UNKNOWN", events[1].GetReason(), a.name)
	}
	h.unharmed(doctor, theirs)
}

// unharmed checks that nothing of what others tried has happened.
func (h *house) unharmed(u *user, f file) {
	h.t.Helper()
	for _, a := range accesses() {
		switch a.name {
		case "GetPatient", "GetNote", "GetPrescription", "GetAppointment":
			m, err := a.call(h.as(u), h.client, f)
			require.NoError(h.t, err, a.name)
			etag := m.ProtoReflect().Get(m.ProtoReflect().Descriptor().Fields().ByName("etag")).String()
			require.Equal(h.t, "v1", etag, a.name)
		case "GetCareTeam":
			m, err := a.call(h.as(u), h.client, f)
			require.NoError(h.t, err)
			require.Equal(h.t, []string{"users/" + u.User.String()}, m.(*recordsv1.CareTeam).GetUsers())
		case "ListNotes":
			m, err := a.call(h.as(u), h.client, f)
			require.NoError(h.t, err)
			require.Len(h.t, m.(*recordsv1.ListNotesResponse).GetNotes(), 1)
		}
	}
}

// Two practices, every RPC: neither sees, changes or finds anything of the other, not
// even with all permissions and the scope of the whole practice.
func TestDMD06_DC14_PracticesAreIsolatedInEveryRPC(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ours := h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, everything())
	ourFile := h.file(ours)
	h.practice = uuid.New()
	theirs := h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, everything())
	theirFile := h.file(theirs)
	// Even the same user id in two practices is two users.
	twin := *theirs
	twin.User = ours.User

	for _, pair := range []struct {
		who  *user
		what file
	}{{ours, theirFile}, {theirs, ourFile}, {&twin, ourFile}} {
		for _, a := range accesses() {
			_, foreign := a.call(h.as(pair.who), h.client, pair.what)
			_, random := a.call(h.as(pair.who), h.client, nowhere())
			require.Equal(t, codes.NotFound, status.Code(foreign), a.name)
			require.True(t, proto.Equal(status.Convert(random).Proto(), status.Convert(foreign).Proto()), a.name)
		}
	}
	h.unharmed(ours, ourFile)
	h.unharmed(theirs, theirFile)

	list, err := h.client.ListPatients(h.as(theirs), &recordsv1.ListPatientsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetPatients(), 1)
	require.Equal(t, theirFile.patient, list.GetPatients()[0].GetName())
	found, err := h.client.SearchPatients(h.as(theirs), &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Phone{Phone: "555-826-5697"}})
	require.NoError(t, err)
	require.Len(t, found.GetPatients(), 1)
	require.Equal(t, theirFile.patient, found.GetPatients()[0].GetName())

	// The same patient imported into both practices is two patients.
	doc := `{"resourceType":"Patient","id":"` + ourFile.patientID + `","name":[{"family":"Twin"}]}`
	got := h.mustImport(theirs, bundleOf(doc))
	require.Empty(t, got.problems)
	require.EqualValues(t, 1, got.result.GetCreated())
	h.unharmed(ours, ourFile)
}

// The database itself keeps practices apart: a query that forgets the practice, or
// names another one, sees and changes nothing, whatever its WHERE clause says.
func TestDMD06_DC14_DatabaseBlocksABadQuery(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.file(h.doctor())
	tables := []string{"practice_keys", "data_keys", "patients", "documents", "document_history", "index_generations", "resource_index", "care_team", "requests",
		"glass_users", "glass_openings", "referrals", "watch_lists", "freezes", "uploads", "document_pieces", "makers", "purge_runs"}
	ctx := context.Background()
	for _, role := range []struct{ certificate, role string }{{"records", "records_app"}, {"records-migrate", "records_owner"}} {
		conn, err := postgres.ForTest(t).Conn(ctx, role.certificate, role.role, h.database)
		require.NoError(t, err)
		defer func() { _ = conn.Close(ctx) }()
		for _, table := range tables {
			if table == "freezes" && role.role == "records_owner" {
				continue // the job's function runs as the owner, for all practices
			}
			_, err := conn.Exec(ctx, "SELECT FROM "+table)
			require.Error(t, err, "%s without a practice", table)
			require.Zero(t, countAs(t, conn, uuid.New(), table), "%s in another practice", table)
			require.Zero(t, countAs(t, conn, uuid.Nil, table), "%s in no practice", table)
		}
		require.Equal(t, 4, countAs(t, conn, h.practice, "documents"))
		_, err = conn.Exec(ctx, "SELECT set_config('carekeep.practice', $1, false)", h.practice.String())
		require.NoError(t, err)
		_, err = conn.Exec(ctx, "INSERT INTO care_team VALUES ($1, $2, $2, now())", uuid.New(), uuid.New())
		require.ErrorContains(t, err, "row-level security")
	}
	// The tests above are worth nothing if a table has been forgotten.
	var forgotten []string
	for _, row := range h.sql(`SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
		AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY 1`) {
		forgotten = append(forgotten, row[0].(string))
	}
	require.Equal(t, []string{"goose_outbox", "goose_records", "outbox"}, forgotten)
}

func countAs(t *testing.T, conn *pgx.Conn, practice uuid.UUID, table string) (n int) {
	t.Helper()
	_, err := conn.Exec(context.Background(), "SELECT set_config('carekeep.practice', $1, false)", practice.String())
	require.NoError(t, err)
	require.NoError(t, conn.QueryRow(context.Background(), "SELECT count(*) FROM "+table).Scan(&n))
	_, err = conn.Exec(context.Background(), "RESET carekeep.practice")
	require.NoError(t, err)
	return n
}

// The service's role can neither rewrite nor delete what was, and not look into the key
// tables' columns it has no business with.
func TestHistoryIsBeyondTheServicesReach(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	conn, err := postgres.ForTest(t).Conn(ctx, "records", "records_app", h.database)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	h.file(h.doctor())
	_, err = conn.Exec(ctx, "SELECT set_config('carekeep.practice', $1, false)", h.practice.String())
	require.NoError(t, err)
	for _, statement := range []string{
		"UPDATE document_history SET sealed = ''", "DELETE FROM document_history", "TRUNCATE document_history",
		"INSERT INTO document_history SELECT * FROM document_history", "DELETE FROM documents", "UPDATE documents SET patient_id = id",
		"UPDATE documents SET created_at = now()", "DELETE FROM patients", "DELETE FROM data_keys", "UPDATE data_keys SET wrapped = ''",
		"UPDATE practice_keys SET wrapped = ''", "UPDATE care_team SET user_id = patient_id", "UPDATE outbox SET payload = ''",
		"DROP TABLE care_team", "ALTER TABLE documents NO FORCE ROW LEVEL SECURITY", "CREATE TABLE mine (id int)", "SET ROLE records_owner",
	} {
		_, err := conn.Exec(ctx, statement)
		require.ErrorContains(t, err, "42501", statement)
	}
	// A document cannot change without leaving a version behind.
	_, err = conn.Exec(ctx, "UPDATE documents SET sealed = ''")
	require.ErrorContains(t, err, "one version to the next")
}

// An import changes nothing in a chart that is closed to the caller, draws nothing out of
// it, and leaves a denial about its patient for each attempt. It does tell that an id is
// taken, to who knows that very id: the README says why.
func TestImportLeavesClosedChartsAloneAndRecordsEachAttempt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, stranger := h.doctor(), h.doctor()
	f := h.file(doctor)
	fresh := uuid.NewString()
	var got imported
	events := h.since(func() {
		got = h.mustImport(stranger, bundleOf(
			`{"resourceType":"Patient","id":"`+f.patientID+`","name":[{"family":"Mallory"}]}`,
			`{"resourceType":"Observation","status":"final","code":{"text":"c"},"id":"`+uuid.NewString()+`","subject":{"reference":"Patient/`+f.patientID+`"}}`,
			`{"resourceType":"Patient","id":"`+fresh+`"}`,
			// A resource of another patient's chart cannot be drawn over into one's own.
			`{"resourceType":"DocumentReference","status":"current","content":[{"attachment":{"title":"t"}}],"id":"`+f.noteID+`","subject":{"reference":"Patient/`+fresh+`"}}`,
		))
	})
	var reasons []string
	for _, p := range got.problems {
		reasons = append(reasons, p.GetReason())
		require.NotContains(t, p.GetMessage(), f.patientID)
	}
	require.Equal(t, []string{"ENTRY_PATIENT_UNAVAILABLE", "ENTRY_PATIENT_UNAVAILABLE", "ENTRY_OTHER_PATIENT"}, reasons)
	require.EqualValues(t, 1, got.result.GetCreated())
	h.unharmed(doctor, f)
	require.Equal(t, map[string]string{
		f.patientID + "/":                  "ENTRY_PATIENT_UNAVAILABLE",
		f.patientID + "/notes/" + f.noteID: "ENTRY_OTHER_PATIENT",
	}, denials(events))
}
