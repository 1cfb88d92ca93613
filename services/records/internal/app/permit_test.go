package app_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/errs"
)

// administrator holds what auth's template gives for charts, and more.
func (h *house) administrator(more ...accessv1.Permission) *user {
	return h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, access.NewPermissions(append(more,
		accessv1.Permission_PERMISSION_PATIENTS_IMPORT, accessv1.Permission_PERMISSION_PATIENTS_SCOPE_PRACTICE)...))
}

// importFor imports in the name of one user for a doctor.
func (h *house) importFor(u, doctor *user, resources ...string) imported {
	h.t.Helper()
	got, err := h.importBundle(h.as(u), &recordsv1.ImportOptions{Doctor: "users/" + doctor.User.String()}, strings.NewReader(bundleOf(resources...)))
	require.NoError(h.t, err)
	return got
}

// denials are the denied resources among events, as patient/resource, with their reasons.
func denials(events []*auditv1.Event) map[string]string {
	out := map[string]string{}
	for _, e := range events {
		if e.GetOutcome() == auditv1.Outcome_OUTCOME_DENIED {
			out[e.GetPatientId()+"/"+e.GetResource()] = e.GetReason()
		}
	}
	return out
}

// forged is a chart as somebody might import it over the one that is stored.
func forged(f file) []string {
	subject := `"subject":{"reference":"Patient/` + f.patientID + `"}`
	return []string{
		`{"resourceType":"Patient","id":"` + f.patientID + `","name":[{"family":"Mallory"}]}`,
		`{"resourceType":"DocumentReference","status":"current","content":[{"attachment":{"title":"t"}}],"id":"` + f.noteID + `",` + subject + `}`,
		`{"resourceType":"MedicationRequest","status":"active","intent":"order","medicationCodeableConcept":{"text":"x"},"id":"` + lastPart(f.prescription) + `",` + subject + `}`,
		`{"resourceType":"Appointment","status":"booked","id":"` + lastPart(f.appointment) + `",
			"participant":[{"actor":{"reference":"Patient/` + f.patientID + `"},"status":"accepted"}]}`,
	}
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// The scope of the practice lets an administrator bring charts in. It does not let
// one who holds no clinical permission overwrite what a doctor wrote, or bring back what
// a doctor deleted; each attempt is a denial that names patient and resource.
func TestImportByAnAdministratorChangesNothingThatIsStored(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin := h.doctor(), h.administrator()
	f := h.file(doctor)
	c := uuid.NewString()
	h.importInto(doctor, f, condition(c, "Patient/"+f.patientID))
	deleted := h.file(doctor)
	_, err := h.client.DeleteNote(h.as(doctor), &recordsv1.DeleteNoteRequest{Name: deleted.note})
	require.NoError(t, err)

	var got imported
	added := condition(uuid.NewString(), "Patient/"+f.patientID)
	entries := append(forged(f), strings.Replace(condition(c, "Patient/"+f.patientID), `"subject"`, `"recordedDate":"2026","subject"`, 1), added)
	events := h.since(func() { got = h.importFor(admin, doctor, entries...) })
	const refused = "ENTRY_NOT_PERMITTED"
	require.Equal(t, map[int64]string{0: refused, 1: refused, 2: refused, 3: refused, 4: refused}, reasons(got))
	require.Equal(t, [4]int64{1, 0, 0, 5}, totals(got.result), "what is new goes in")
	require.Equal(t, map[string]string{
		f.patientID + "/":                             refused,
		f.patientID + f.note[len(f.patient):]:         refused,
		f.patientID + f.prescription[len(f.patient):]: refused,
		f.patientID + f.appointment[len(f.patient):]:  refused,
		f.patientID + "/Condition/" + c:               refused,
	}, denials(events))
	for _, p := range got.problems {
		require.NotContains(t, p.GetMessage(), f.patientID)
	}
	h.unharmed(doctor, f)

	events = h.since(func() { got = h.importFor(admin, doctor, forged(deleted)[:2]...) })
	require.Equal(t, map[int64]string{0: refused, 1: refused}, reasons(got))
	require.Contains(t, denials(events), deleted.patientID+deleted.note[len(deleted.patient):])
	_, err = h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: deleted.note})
	require.Equal(t, codes.NotFound, status.Code(err), "it stays deleted")

	// The doctor may, by the care team.
	require.Equal(t, [4]int64{1, 1, 0, 0}, totals(h.mustImport(doctor, bundleOf(forged(deleted)[:2]...)).result))
}

// importInto imports into the chart of a patient who is there already.
func (h *house) importInto(u *user, f file, resources ...string) imported {
	h.t.Helper()
	got, err := h.importBundle(h.as(u), &recordsv1.ImportOptions{Patient: f.patient}, strings.NewReader(bundleOf(resources...)))
	require.NoError(h.t, err)
	require.Empty(h.t, got.problems)
	return got
}

// Whoever made an import may send it again, though not with other content.
func TestImportOfAnAdministratorCanBeSentAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin := h.doctor(), h.administrator()
	p, c := uuid.NewString(), uuid.NewString()
	entries := []string{patientDoc(p), condition(c, "Patient/"+p), `{"resourceType":"Organization","id":"` + uuid.NewString() + `"}`}
	require.Equal(t, [4]int64{3, 0, 0, 0}, totals(h.importFor(admin, doctor, entries...).result))
	events := h.since(func() {
		require.Equal(t, [4]int64{0, 0, 3, 0}, totals(h.importFor(admin, doctor, entries...).result))
	})
	require.Empty(t, denials(events))
	// Not even in the same bundle does a resource change for one who could not change it later.
	got := h.importFor(admin, doctor, patientDoc(p), condition(c, "Patient/"+p), strings.Replace(condition(c, "Patient/"+p), `}`, `} `, 1))
	require.Equal(t, map[int64]string{2: "ENTRY_NOT_PERMITTED"}, reasons(got))
	require.Equal(t, [4]int64{0, 0, 2, 1}, totals(got.result))
	// The practice's directory is nobody's chart.
	entries[2] = strings.Replace(entries[2], `}`, `,"name":"New"}`, 1)
	require.Equal(t, [4]int64{0, 1, 2, 0}, totals(h.importFor(admin, doctor, entries...).result))
}

// Each update permission opens its own type to an import, and no other.
func TestImportChangesATypeByItsUpdatePermission(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	for i, p := range []accessv1.Permission{
		accessv1.Permission_PERMISSION_PATIENTS_UPDATE, accessv1.Permission_PERMISSION_NOTES_UPDATE,
		accessv1.Permission_PERMISSION_PRESCRIPTIONS_UPDATE, accessv1.Permission_PERMISSION_APPOINTMENTS_UPDATE,
	} {
		f := h.file(doctor)
		got := h.importFor(h.administrator(p), doctor, forged(f)...)
		require.Equal(t, [4]int64{0, 1, 0, 3}, totals(got.result), p)
		require.NotContains(t, reasons(got), int64(i), p)
	}
}

// One user cannot take all the places: others still import meanwhile.
func TestOneUserRunsTwoImportsAtMost(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, other := h.doctor(), h.doctor()
	empty := func(ctx context.Context) error {
		_, err := h.importBundle(ctx, &recordsv1.ImportOptions{}, strings.NewReader(bundleOf()))
		return err
	}
	done := make(chan error, 2)
	var open []io.Closer
	for range cap(done) {
		in, out := io.Pipe()
		open = append(open, out)
		go func() {
			_, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, in)
			done <- err
		}()
		_, err := io.WriteString(out, bundleOf(patientDoc(uuid.NewString()))+strings.Repeat(" ", 128<<10))
		require.NoError(t, err)
	}
	// An import that has its place leaves an event before it reads its bundle.
	require.Eventually(t, func() bool {
		running := 0
		for _, e := range h.events() {
			if e.GetAction() == accessv1.Action_ACTION_IMPORT {
				running++
			}
		}
		return running == cap(done)
	}, patience, tick)
	err := empty(h.as(doctor))
	require.Equal(t, "IMPORTS_BUSY", errs.ReasonOf(err))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.NoError(t, empty(h.as(other)), "another user's import runs")
	for _, o := range open {
		require.NoError(t, o.Close())
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.Eventually(t, func() bool { return empty(h.as(doctor)) == nil }, patience, tick, "the places are free again")
}
