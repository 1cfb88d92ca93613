package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// The same doctor sees less of the same chart for PAYMENT and OPERATIONS, in single
// reads, lists and raw FHIR, and changes nothing that the purpose hides.
func TestDMD05_DX09_APurposeNarrowsWhatIsSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	for purpose, sees := range map[accessv1.Purpose]struct{ text, medicine, nationalID, raw bool }{
		accessv1.Purpose_PURPOSE_TREATMENT:  {true, true, true, true},
		accessv1.Purpose_PURPOSE_INDIVIDUAL: {true, true, true, true},
		accessv1.Purpose_PURPOSE_PAYMENT:    {false, true, true, false},
		accessv1.Purpose_PURPOSE_OPERATIONS: {false, false, false, false},
	} {
		who := *doctor
		who.Purpose = purpose
		ctx := h.as(&who)
		note, err := h.client.GetNote(ctx, &recordsv1.GetNoteRequest{Name: f.note})
		require.NoError(t, err)
		require.Equal(t, sees.text, note.GetText() != "", purpose)
		notes, err := h.client.ListNotes(ctx, &recordsv1.ListNotesRequest{Parent: f.patient})
		require.NoError(t, err)
		require.Equal(t, sees.text, notes.GetNotes()[0].GetText() != "", purpose)
		medicine, err := h.client.GetPrescription(ctx, &recordsv1.GetPrescriptionRequest{Name: f.prescription})
		require.NoError(t, err)
		require.Equal(t, sees.medicine, medicine.GetMedication() != "", purpose)
		patients, err := h.client.ListPatients(ctx, &recordsv1.ListPatientsRequest{})
		require.NoError(t, err)
		require.Equal(t, sees.nationalID, len(patients.GetPatients()[0].GetNationalIdentifiers()) > 0, purpose)

		want := codes.PermissionDenied
		if sees.raw {
			want = codes.OK
		}
		_, err = h.client.GetResource(ctx, &recordsv1.GetResourceRequest{Type: "Patient", Id: lastPart(f.patient)})
		require.Equal(t, want, status.Code(err), purpose)
		_, err = h.client.GetResourceVersion(ctx, &recordsv1.GetResourceVersionRequest{Type: "Patient", Id: lastPart(f.patient), Version: 1})
		require.Equal(t, want, status.Code(err), purpose)
		_, err = h.client.ListResources(ctx, &recordsv1.ListResourcesRequest{Parent: f.patient, Type: "DocumentReference"})
		require.Equal(t, want, status.Code(err), purpose)

		written := h.fhir(&who, "POST", "/DocumentReference", `{"resourceType":"DocumentReference"}`)
		require.Equal(t, !sees.raw, written.reason() == "TYPE_NOT_FOR_PURPOSE", written.body)

		_, err = h.client.UpdateNote(ctx, &recordsv1.UpdateNoteRequest{
			Note:       &recordsv1.Note{Name: f.note, Etag: note.GetEtag(), Text: "overwritten"},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"text"}},
		})
		if sees.text {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, "FIELD_NOT_FOR_PURPOSE", errs.ReasonOf(err))
	}
}
