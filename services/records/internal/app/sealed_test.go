package app_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/carekeep/carekeep/deploy/local/generator"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	devtransit "github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
)

// canaries are values of a generated patient that must stand nowhere in the clear.
func canaries(f generator.Facts) []string {
	return []string{
		f.FamilyName + `", "given`, f.GivenNames[0] + `"]`, f.SSN, strings.ReplaceAll(f.SSN, "-", ""), f.MRN, f.Phone,
		f.AddressLine, f.NoteTitle, f.NoteText, base64.StdEncoding.EncodeToString([]byte(f.NoteText))[:40], f.Medications[0],
		`"birthDate": "` + f.BirthDate, "resourceType",
	}
}

// used is a house in which everything was done with one generated patient: import,
// read, search, change, delete.
func used(t *testing.T) (*house, *user, generator.Facts) {
	t.Helper()
	h := newHouse(t)
	doctor := h.doctor()
	f := generator.Patient(4711, 3)
	var bundle bytes.Buffer
	require.NoError(t, generator.Bundle(&bundle, generator.Options{Seed: 4711, Patients: 1, First: 3}))
	got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, &bundle)
	require.NoError(t, err)
	require.EqualValues(t, generator.PerPatient, got.result.GetCreated())
	ctx, name := h.as(doctor), "patients/"+f.ID.String()
	for _, q := range []*recordsv1.SearchPatientsRequest{
		{Query: &recordsv1.SearchPatientsRequest_Identifier{Identifier: &recordsv1.Identifier{System: generator.SSNSystem, Value: f.SSN}}},
		{Query: &recordsv1.SearchPatientsRequest_Phone{Phone: f.Phone}},
		{Query: &recordsv1.SearchPatientsRequest_Name{Name: &recordsv1.NameQuery{FamilyName: f.FamilyName, GivenName: f.GivenNames[0], BirthDate: f.BirthDate}}},
	} {
		found, err := h.client.SearchPatients(ctx, q)
		require.NoError(t, err)
		require.Len(t, found.GetPatients(), 1)
		require.Equal(t, name, found.GetPatients()[0].GetName())
	}
	note, err := h.client.GetNote(ctx, &recordsv1.GetNoteRequest{Name: name + "/notes/" + f.Note.String()})
	require.NoError(t, err)
	require.Equal(t, f.NoteText, note.GetText())
	note.Title = f.NoteTitle + "!"
	_, err = h.client.UpdateNote(ctx, &recordsv1.UpdateNoteRequest{Note: note})
	require.NoError(t, err)
	p, err := h.client.GetPatient(ctx, &recordsv1.GetPatientRequest{Name: name})
	require.NoError(t, err)
	require.Equal(t, f.AddressLine, p.GetAddresses()[0].GetLines()[0])
	p.Deceased = true
	_, err = h.client.UpdatePatient(ctx, &recordsv1.UpdatePatientRequest{Patient: p})
	require.NoError(t, err)
	_, err = h.client.DeleteAppointment(ctx, &recordsv1.DeleteAppointmentRequest{Name: name + "/appointments/" + f.Appointment.String()})
	require.NoError(t, err)
	return h, doctor, f
}

// stores are all bytes that a house has on disk: the files of its tables and indexes and the
// write-ahead log; and its own log.
func (h *house) stores() map[string][]byte {
	h.t.Helper()
	stores := map[string][]byte{"log": []byte(h.log.String())}
	h.sql("CHECKPOINT")
	for _, row := range h.sql(`SELECT c.oid::regclass::text, pg_relation_filepath(c.oid) FROM pg_class c
		WHERE c.relkind IN ('r', 'i', 't') AND pg_relation_filepath(c.oid) IS NOT NULL AND c.oid >= 16384`) {
		stores["file of "+row[0].(string)] = h.sql("SELECT pg_read_binary_file($1)", row[1])[0][0].([]byte)
	}
	// A checkpoint of another test renames segments while they are read: the log counts
	// when each segment of a listing was there.
	segments := [][]any{{"", nil}}
	for slices.ContainsFunc(segments, func(row []any) bool { return row[1] == nil }) {
		segments = h.sql("SELECT name, pg_read_binary_file('pg_wal/' || name, 0, size, true) FROM pg_ls_waldir()")
	}
	for _, row := range segments {
		stores["WAL "+row[0].(string)] = row[1].([]byte)
	}
	return stores
}

// Nothing of a patient stands in the clear in the tables, the files behind them, the
// write-ahead log, the outbox or the service's log.
func TestDH03_DC02_NoPlaintextAtRest(t *testing.T) {
	t.Parallel()
	h, _, f := used(t)
	stores := h.stores()
	// The search finds what is there in the clear: ids.
	require.True(t, bytes.Contains(stores["file of documents"], f.Note[:]))
	require.True(t, bytes.Contains(stores["file of resource_index"], h.practice[:]))
	walHasID := false
	for name, content := range stores {
		walHasID = walHasID || strings.HasPrefix(name, "WAL") && bytes.Contains(content, f.Note[:])
		for _, canary := range canaries(f) {
			require.False(t, bytes.Contains(content, []byte(canary)), "%q stands in %s", canary, name)
		}
	}
	require.True(t, walHasID)
}

// National identifiers, address and notes are ciphertext before they reach the database, and
// no other column holds anything of them: every value of every column is looked at.
func TestDH20_NoClearColumn(t *testing.T) {
	t.Parallel()
	h, _, f := used(t)
	job, err := h.keys.ScrubStore(h.as(h.admin()), &recordsv1.ScrubStoreRequest{})
	h.finished(h.admin(), job, err)
	columns := map[string]string{}
	for _, row := range h.sql(`SELECT table_name || '.' || column_name, data_type FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name NOT LIKE 'goose%'`) {
		columns[row[0].(string)] = row[1].(string)
	}
	// Whatever could hold words is listed here with what it may hold.
	for column, kind := range columns {
		switch kind {
		case "uuid", "bigint", "integer", "smallint", "boolean", "timestamp with time zone":
			continue
		}
		table, name, _ := strings.Cut(column, ".")
		for _, row := range h.sql(fmt.Sprintf("SELECT %s FROM %s", name, table)) {
			if row[0] == nil {
				continue
			}
			text := fmt.Sprintf("%s", row[0])
			switch name {
			case "region":
				require.Regexp(t, `^[A-Z]{2}$`, text, column)
			case "at_type": // of the document that a build of the index has come to
				require.Regexp(t, `^([A-Z][A-Za-z]+)?$`, text, column)
			case "type":
				require.Regexp(t, `^[A-Z][A-Za-z]+$`, text, column)
			case "wrapped":
				require.Regexp(t, `^vault:v1:[A-Za-z0-9+/=]+$`, text, column)
			case "kind", "state":
				require.Regexp(t, `^[A-Z]+$`, text, column)
			case "place":
				require.Regexp(t, `^map\[((phase|version):%!s\(float64=[0-9e+]+\) ?|(patient|id):[0-9a-f-]{36} ?|type:[A-Za-z]+ ?)*\]$`, text, column)
			case "sealed", "digest", "token", "payload":
			default:
				t.Fatalf("a column that this test does not know: %s", column)
			}
			for _, canary := range append(canaries(f), f.FamilyName, f.GivenNames[0], f.City, f.BirthDate) {
				if len(canary) > 5 {
					require.NotContains(t, text, canary, column)
				}
			}
		}
	}
}

// A stored document in which one byte was changed, in the ciphertext or in anything
// that it is bound to, is not shown, and raises a critical event.
func TestDH17_TamperedDocumentsAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	a, b := h.file(doctor), h.file(doctor)
	second, err := h.client.CreateNote(h.as(doctor), &recordsv1.CreateNoteRequest{Parent: a.patient, Note: &recordsv1.Note{Text: "Fever."}})
	require.NoError(t, err)
	secondID := second.GetName()[len(a.patient)+len("/notes/"):]
	_, err = h.client.UpdateNote(h.as(doctor), &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: second.GetName(), Etag: "v1", Text: "High fever."}})
	require.NoError(t, err)

	for name, tamper := range map[string]string{
		"one byte of ciphertext": "UPDATE documents SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE id = '" + a.noteID + "'",
		"the last byte (tag)":    "UPDATE documents SET sealed = set_byte(sealed, length(sealed)-1, get_byte(sealed, length(sealed)-1) # 128) WHERE id = '" + a.noteID + "'",
		"the format":             "UPDATE documents SET sealed = set_byte(sealed, 0, 2) WHERE id = '" + a.noteID + "'",
		"cut off":                "UPDATE documents SET sealed = substr(sealed, 1, 20) WHERE id = '" + a.noteID + "'",
		"emptied":                "UPDATE documents SET sealed = '' WHERE id = '" + a.noteID + "'",
		"the version":            "UPDATE documents SET version = 7 WHERE id = '" + a.noteID + "'",
		"another note's content": "UPDATE documents SET sealed = (SELECT sealed FROM documents WHERE id = '" + secondID + "') WHERE id = '" + a.noteID + "'",
		"another patient's content, with its key": "UPDATE documents SET sealed = s.sealed, key_id = s.key_id FROM (SELECT sealed, key_id FROM documents WHERE id = '" + b.noteID + "') s WHERE id = '" + a.noteID + "'",
	} {
		t.Run(name, func(t *testing.T) {
			restore := h.sql("SELECT version, key_id, sealed FROM documents WHERE id = $1", a.noteID)[0]
			h.tamper(tamper)
			events := h.since(func() {
				_, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: a.note})
				h.requireBroken(t, err)
			})
			requireCritical(t, events, a.patientID)
			events = h.since(func() {
				_, err := h.client.ListNotes(h.as(doctor), &recordsv1.ListNotesRequest{Parent: a.patient})
				h.requireBroken(t, err)
			})
			requireCritical(t, events, a.patientID)
			h.tamper("UPDATE documents SET version = $1, key_id = $2, sealed = $3 WHERE id = $4", append(restore, a.noteID)...)
			_, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: a.note})
			require.NoError(t, err)
		})
	}
	t.Run("an older version put back under the new number", func(t *testing.T) {
		h.tamper("UPDATE documents SET sealed = (SELECT sealed FROM document_history WHERE id = documents.id AND version = 1) WHERE id = $1", secondID)
		_, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: second.GetName()})
		h.requireBroken(t, err)
	})
	t.Run("a document moved into another patient's chart", func(t *testing.T) {
		h.tamper("UPDATE documents SET patient_id = $1 WHERE id = $2", b.patientID, a.noteID)
		_, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: b.patient + "/notes/" + a.noteID})
		h.requireBroken(t, err)
	})
}

// tamper changes the tables behind the service's back, without a trigger seeing it.
func (h *house) tamper(statement string, args ...any) {
	h.t.Helper()
	conn, err := h.db.AdminConn(context.Background(), h.database)
	require.NoError(h.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(context.Background(), "SET session_replication_role = replica")
	require.NoError(h.t, err)
	_, err = conn.Exec(context.Background(), statement, args...)
	require.NoError(h.t, err)
}

func (h *house) requireBroken(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, codes.DataLoss, status.Code(err))
	require.Equal(t, "SEAL_BROKEN", errs.ReasonOf(err))
}

func requireCritical(t *testing.T, events []*auditv1.Event, patient string) {
	t.Helper()
	for _, e := range events {
		if e.GetRisk() == auditv1.Risk_RISK_CRITICAL {
			require.Equal(t, "SEAL_BROKEN", e.GetReason())
			require.Equal(t, auditv1.Outcome_OUTCOME_FAILED, e.GetOutcome())
			require.Equal(t, patient, e.GetPatientId())
			require.Contains(t, e.GetResource(), "notes/")
			return
		}
	}
	require.Fail(t, "no critical event", "%v", events)
}

// Only the records identity unwraps data keys, and each unwrap leaves an event
// before the key is used; a key that is in memory leaves none.
func TestDTD22_EveryUnwrapIsRecorded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	read := func() []*auditv1.Event {
		return h.since(func() {
			_, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
			require.NoError(t, err)
		})
	}
	require.Len(t, read(), 1, "the key is in memory since it was made")
	h.restart()
	events := read()
	require.Len(t, events, 2)
	require.Equal(t, accessv1.Action_ACTION_READ, events[0].GetAction())
	unwrap := events[1]
	require.Equal(t, accessv1.Action_ACTION_KEY_UNWRAP, unwrap.GetAction())
	require.Equal(t, f.patientID, unwrap.GetPatientId())
	require.Equal(t, doctor.User.String(), unwrap.GetUserId())
	keyID := h.sql("SELECT key_id FROM patients WHERE patient_id = $1", f.patientID)[0][0].(uuid.UUID)
	require.Equal(t, "keys/"+keyID.String(), unwrap.GetResource())
	require.Len(t, read(), 1)

	wrapped := h.sql("SELECT wrapped FROM data_keys WHERE key_id = $1", keyID.String())[0][0].(string)
	for _, other := range []string{"gateway", "auth", "audit", "backup", "ctl"} {
		client, err := street.vault.Client(other)
		require.NoError(t, err)
		_, err = client.Decrypt(context.Background(), envelope.KeyName(h.practice), []string{wrapped})
		require.Error(t, err, other)
		require.NotEqual(t, errs.KindUnavailable, errs.KindOf(err), other)
	}
	client, err := street.vault.Client("records")
	require.NoError(t, err)
	_, err = client.Decrypt(context.Background(), envelope.KeyName(h.practice), []string{wrapped})
	require.NoError(t, err)
}

// Who has the database and everything on its disk, but not the key service, opens
// nothing: with the very same service, certificates and rows, and another Vault.
func TestDTD23_DatabaseAloneOpensNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	thief := devtransit.ForTest(t, postgres.ForTest(t).CA())
	client, err := thief.Client("records")
	require.NoError(t, err)
	require.NoError(t, client.CreateKey(context.Background(), envelope.KeyName(h.practice), "aes256-gcm96"))

	h.stop()
	h.settings.Transit.Address = thief.Address()
	h.start()
	for _, a := range accesses() {
		switch a.name {
		case "GetPatient", "GetNote", "ListNotes", "GetPrescription", "GetAppointment", "GetResource", "GetResourceVersion", "ListResources", "UpdateNote":
			m, err := a.call(h.as(doctor), h.client, f)
			require.Equal(t, codes.DataLoss, status.Code(err), "%s answered %v", a.name, m)
		}
	}
	_, err = h.client.SearchPatients(h.as(doctor), &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Phone{Phone: "555-826-5697"}})
	require.Equal(t, codes.DataLoss, status.Code(err))
	var unwraps int
	for _, e := range h.events() {
		if e.GetAction() == accessv1.Action_ACTION_KEY_UNWRAP && e.GetOutcome() == auditv1.Outcome_OUTCOME_FAILED {
			require.Equal(t, auditv1.Risk_RISK_CRITICAL, e.GetRisk())
			unwraps++
		}
	}
	require.NotZero(t, unwraps, "the attempts are recorded")

	// Without any Vault the answer is UNAVAILABLE, not data.
	thief.Kill()
	h.restart()
	_, err = h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.Equal(t, codes.Unavailable, status.Code(err))
}

// A data key seals at most 2^31 documents (rules.md 2.7, SP 800-38D).
func TestUsedUpKeySealsNoMore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	count := func() int64 {
		return h.sql("SELECT seals FROM data_keys WHERE patient_id = $1", f.patientID)[0][0].(int64)
	}
	require.EqualValues(t, 4, count(), "a patient and three resources")
	h.tamper("UPDATE data_keys SET seals = 2147483647 WHERE patient_id = $1", f.patientID)
	create := func() error {
		_, err := h.client.CreateNote(h.as(doctor), &recordsv1.CreateNoteRequest{Parent: f.patient, Note: &recordsv1.Note{Text: "x"}})
		return err
	}
	require.NoError(t, create())
	require.EqualValues(t, 1<<31, count())
	require.Equal(t, "KEY_EXHAUSTED", errs.ReasonOf(create()))
	_, err := h.client.UpdateNote(h.as(doctor), &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Etag: "v1", Text: "x"}})
	require.Equal(t, "KEY_EXHAUSTED", errs.ReasonOf(err))
	got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{Patient: f.patient}, strings.NewReader(bundleOf(
		`{"resourceType":"Condition","id":"`+uuid.NewString()+`","subject":{"reference":"Patient/`+f.patientID+`"}}`)))
	require.NoError(t, err)
	require.Equal(t, "ENTRY_KEY_EXHAUSTED", got.problems[0].GetReason())
	_, err = h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.NoError(t, err, "what is sealed still opens")

	// Also when many come at once.
	h.tamper("UPDATE data_keys SET seals = 2147483645 WHERE patient_id = $1", f.patientID)
	var wait sync.WaitGroup
	results := make([]error, 12)
	ctx := h.as(doctor)
	for i := range results {
		wait.Go(func() {
			_, results[i] = h.client.CreateNote(ctx, &recordsv1.CreateNoteRequest{Parent: f.patient, Note: &recordsv1.Note{Text: "x"}})
		})
	}
	wait.Wait()
	made := 0
	for _, err := range results {
		if err == nil {
			made++
		} else {
			require.Contains(t, []string{"KEY_EXHAUSTED", "CHANGED_MEANWHILE"}, errs.ReasonOf(err))
		}
	}
	require.Equal(t, 3, made)
	require.EqualValues(t, 1<<31, count())
}
