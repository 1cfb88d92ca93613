package app_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// scrubbed runs a scrub and returns its report with the critical events that it left.
func (h *house) scrubbed(u *user) (job *recordsv1.KeyJob, critical []*auditv1.Event) {
	h.t.Helper()
	for _, e := range h.since(func() {
		j, err := h.keys.ScrubStore(h.as(u), &recordsv1.ScrubStoreRequest{})
		job = h.finished(u, j, err)
	}) {
		if e.GetRisk() == auditv1.Risk_RISK_CRITICAL {
			require.Equal(h.t, auditv1.Outcome_OUTCOME_FAILED, e.GetOutcome())
			require.EqualValues(h.t, codes.DataLoss, e.GetCode())
			require.Equal(h.t, h.practice.String(), e.GetPracticeId())
			critical = append(critical, e)
		}
	}
	return job, critical
}

// flips change one byte, or one value, in each column that a document depends on. reads are the reads
// that must end with DATA_LOSS; where there are none the row cannot be found any more under its name, and the
// scrub alone tells. restart: the key may not be in memory.
func flips(f, other file) []struct {
	name, sql string
	reads     []string
	restart   bool
} {
	note, patient := "'"+f.noteID+"'", "'"+f.patientID+"'"
	every := []string{"get", "list", "raw", "update"}
	entry := "ctid = (SELECT ctid FROM resource_index WHERE patient_id = " + patient + " ORDER BY token LIMIT 1)"
	return []struct {
		name, sql string
		reads     []string
		restart   bool
	}{
		{name: "format byte", sql: "UPDATE documents SET sealed = set_byte(sealed, 0, 2) WHERE id = " + note, reads: every},
		{name: "ciphertext", sql: "UPDATE documents SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 128) WHERE id = " + note, reads: every},
		{name: "tag", sql: "UPDATE documents SET sealed = set_byte(sealed, length(sealed)-1, get_byte(sealed, length(sealed)-1) # 1) WHERE id = " + note, reads: every},
		{name: "version", sql: "UPDATE documents SET version = version + 1 WHERE id = " + note, reads: []string{"get", "list", "raw"}},
		{name: "key id, of nothing", sql: "UPDATE documents SET key_id = gen_random_uuid() WHERE id = " + note, reads: every},
		{name: "key id, of another patient", sql: "UPDATE documents SET key_id = (SELECT key_id FROM patients WHERE patient_id = '" + other.patientID + "') WHERE id = " + note, reads: every},
		{name: "patient, another", sql: "UPDATE documents SET patient_id = '" + other.patientID + "' WHERE id = " + note, reads: []string{"raw"}},
		{name: "patient, nobody", sql: "UPDATE documents SET patient_id = gen_random_uuid() WHERE id = " + note},
		{name: "type", sql: "UPDATE documents SET type = 'Observation' WHERE id = " + note},
		{name: "id", sql: "UPDATE documents SET id = gen_random_uuid() WHERE id = " + note},
		{name: "deleted", sql: "UPDATE documents SET deleted = true WHERE id = " + note},
		{name: "digest", sql: "UPDATE documents SET digest = set_byte(digest, 0, get_byte(digest, 0) # 1) WHERE id = " + note},
		{name: "former version", sql: "UPDATE document_history SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE id = " + note, reads: []string{"former"}},
		{name: "former version's key id", sql: "UPDATE document_history SET key_id = gen_random_uuid() WHERE id = " + note, reads: []string{"former"}},
		{
			name: "wrapped key", sql: "UPDATE data_keys SET wrapped = overlay(wrapped placing CASE substr(wrapped, 30, 1) WHEN 'A' THEN 'B' ELSE 'A' END from 30) WHERE patient_id = " + patient,
			reads: append([]string{"former"}, every...), restart: true,
		},
		{
			name: "index key", sql: "UPDATE practice_keys SET wrapped = overlay(wrapped placing CASE substr(wrapped, 30, 1) WHEN 'A' THEN 'B' ELSE 'A' END from 30)",
			reads: []string{"search"}, restart: true,
		},
		{name: "patient's key id", sql: "UPDATE patients SET key_id = gen_random_uuid() WHERE patient_id = " + patient, reads: []string{"create"}},
		{name: "index token", sql: "UPDATE resource_index SET token = set_byte(token, 0, get_byte(token, 0) # 1) WHERE " + entry},
		{name: "index generation", sql: "UPDATE resource_index SET generation = generation + 1 WHERE " + entry},
		{name: "index id", sql: "UPDATE resource_index SET index_id = index_id + 1 WHERE " + entry},
		{name: "index type", sql: "UPDATE resource_index SET type = 'Person' WHERE " + entry},
		{name: "index patient", sql: "UPDATE resource_index SET patient_id = gen_random_uuid() WHERE " + entry},
		{name: "index entry of nobody", sql: "INSERT INTO resource_index SELECT practice_id, generation, token, type, gen_random_uuid(), patient_id, index_id FROM resource_index LIMIT 1"},
		{name: "index entry gone", sql: "DELETE FROM resource_index WHERE " + entry},
	}
}

// Whatever is flipped in the store, a read that meets it ends with DATA_LOSS and a critical event, and the
// scrub finds it in any case; an untouched store has nothing to report.
func TestDTD18_AnyFlippedByteIsFoundOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin := h.doctor(), h.admin()
	f, other := h.file(doctor), h.file(doctor)
	_, err := h.client.UpdateNote(h.as(doctor), &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Etag: "v1", Text: "Fever."}})
	require.NoError(t, err)
	reads := map[string]func(context.Context) error{
		"get": func(c context.Context) error {
			_, err := h.client.GetNote(c, &recordsv1.GetNoteRequest{Name: f.note})
			return err
		},
		"list": func(c context.Context) error {
			_, err := h.client.ListNotes(c, &recordsv1.ListNotesRequest{Parent: f.patient})
			return err
		},
		"raw": func(c context.Context) error {
			_, err := h.client.GetResource(c, &recordsv1.GetResourceRequest{Type: "DocumentReference", Id: f.noteID})
			return err
		},
		"former": func(c context.Context) error {
			_, err := h.client.GetResourceVersion(c, &recordsv1.GetResourceVersionRequest{Type: "DocumentReference", Id: f.noteID, Version: 1})
			return err
		},
		"update": func(c context.Context) error {
			_, err := h.client.UpdateNote(c, &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Etag: "v2", Text: "x"}})
			return err
		},
		"create": func(c context.Context) error {
			_, err := h.client.CreateNote(c, &recordsv1.CreateNoteRequest{Parent: f.patient, Note: &recordsv1.Note{Text: "x"}})
			return err
		},
		"search": func(c context.Context) error {
			_, err := h.client.SearchPatients(c, &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Phone{Phone: "555-826-5697"}})
			return err
		},
	}
	job, critical := h.scrubbed(admin)
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, job.GetState(), "%v", critical)
	require.EqualValues(t, 8+1+3, job.GetDone(), "documents, a former version and keys")
	require.Empty(t, critical)

	tables := []string{"documents", "document_history", "data_keys", "practice_keys", "patients", "resource_index"}
	for _, table := range tables {
		h.tamper("CREATE TABLE kept_" + table + " AS TABLE " + table)
	}
	for _, flip := range flips(f, other) {
		h.tamper(flip.sql)
		if flip.restart {
			h.restart()
		}
		for _, name := range flip.reads {
			events := h.since(func() {
				err := reads[name](h.as(doctor))
				require.Equal(t, codes.DataLoss, status.Code(err), "%s, %s: %v", flip.name, name, err)
			})
			found := false
			for _, e := range events {
				found = found || e.GetRisk() == auditv1.Risk_RISK_CRITICAL
			}
			require.True(t, found, "%s, %s leaves no critical event", flip.name, name)
		}
		job, critical := h.scrubbed(admin)
		require.Equal(t, recordsv1.KeyJob_STATE_BROKEN, job.GetState(), flip.name)
		require.Positive(t, job.GetBroken(), flip.name)
		require.NotEmpty(t, critical, flip.name)
		for _, table := range tables {
			h.tamper("TRUNCATE " + table)
			h.tamper("INSERT INTO " + table + " TABLE kept_" + table)
		}
		if flip.restart {
			h.restart()
		}
	}
	for _, table := range tables {
		h.tamper("DROP TABLE kept_" + table)
	}
	job, _ = h.scrubbed(admin)
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, job.GetState())

	// A document that is moved into another practice is found there.
	h.practice = uuid.New()
	theirs := h.admin()
	h.file(h.user(theirs.Role, everything()))
	h.tamper("UPDATE documents SET practice_id = $1 WHERE id = $2", h.practice, f.noteID)
	job, _ = h.scrubbed(theirs)
	require.EqualValues(t, 1, job.GetBroken())
}

// What is sealed and is no document is opened by the scrub as well: one byte flipped in any such table, or a key
// that is not there, is found, and the event names the row.
func TestDH17_DTD18_ScrubOpensWhatIsNoDocument(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin, officer := h.doctor(), h.admin(), h.officer()
	f := h.file(doctor)
	granted(t, h.as(doctor), h.desk(), f.patient)
	_, err := h.access.BreakGlass(h.as(h.designated()), breakGlass(f))
	require.NoError(t, err)
	_, err = h.referrals().CreateReferral(h.as(doctor), refer(f, h.doctor()))
	require.NoError(t, err)
	life := recordsv1.NewLifecycleServiceClient(h.conn)
	for _, patient := range []string{f.patient, ""} { // "" is the whole practice
		_, err = life.PlaceLegalHold(h.as(officer), &recordsv1.PlaceLegalHoldRequest{Patient: patient, Matter: "Smith v. Jones", Reason: recordsv1.LegalHoldReason_LEGAL_HOLD_REASON_LITIGATION})
		require.NoError(t, err)
	}
	_, err = h.marks().SetVip(h.as(officer), &recordsv1.SetVipRequest{Name: f.patient, Vip: true})
	require.NoError(t, err)
	rights := len(h.sql("SELECT FROM rights_rows"))
	require.Positive(t, rights)
	job, critical := h.scrubbed(admin)
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, job.GetState(), "%v", critical)
	require.EqualValues(t, 4+2+rights+5, job.GetDone(), "documents, keys, rights rows; an opening, a referral, two holds, the marks")
	require.Equal(t, job.GetTotal(), job.GetDone())

	for _, flip := range []struct{ table, column, where, collection string }{
		{"legal_holds", "sealed", "patient_id = '" + f.patientID + "'", "legalHolds/"},
		{"legal_holds", "sealed", "patient_id = '" + uuid.Nil.String() + "'", "legalHolds/"},
		{"glass_openings", "reason", "true", "glassOpenings/"},
		{"referrals", "reason", "true", "referrals/"},
		{"rights_rows", "sealed", "version = 1", "rightsRequests/"},
		{"rights_rows", "digest", "version = 1", "rightsRequests/"},
		{"watch_lists", "sealed", "true", "watchLists/"},
	} {
		name := flip.table + "." + flip.column
		for _, change := range []string{
			flip.column + " = set_byte(" + flip.column + ", 20, get_byte(" + flip.column + ", 20) # 1)",
			"key_id = gen_random_uuid()",
		} {
			h.tamper("CREATE TABLE kept AS TABLE " + flip.table)
			h.tamper("UPDATE " + flip.table + " SET " + change + " WHERE " + flip.where)
			job, critical = h.scrubbed(admin)
			require.Equal(t, recordsv1.KeyJob_STATE_BROKEN, job.GetState(), name)
			require.EqualValues(t, 1, job.GetBroken(), name)
			require.Len(t, critical, 1, name)
			require.Contains(t, critical[0].GetResource(), flip.collection, name)
			h.tamper("TRUNCATE " + flip.table)
			h.tamper("INSERT INTO " + flip.table + " TABLE kept")
			h.tamper("DROP TABLE kept")
		}
	}
}
