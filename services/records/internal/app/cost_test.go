package app_test

import (
	"bytes"
	"net/url"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/generator"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// tuples sums what has been read of the tables, by index or by scan. Sessions tell
// what they read when they end at the latest, so the house restarts.
func (h *house) tuples() int64 {
	h.t.Helper()
	h.restart()
	return h.sql(`SELECT sum(coalesce(idx_tup_fetch, 0) + seq_tup_read)::bigint FROM pg_stat_user_tables
		WHERE relname IN ('patients', 'data_keys', 'care_team', 'documents', 'document_history', 'resource_index', 'appointment_cells', 'referrals', 'glass_openings')`)[0][0].(int64)
}

// An operation on one patient reads rows of that patient, in a practice whose tables the
// database has no statistics of, as after a first import: it would take them for small.
func TestCostDoesNotGrowWithThePractice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, table := range h.sql("SELECT format('%I', relname) FROM pg_stat_user_tables") {
		h.tamper("ALTER TABLE " + table[0].(string) + " SET (autovacuum_enabled = false)")
	}
	t.Cleanup(h.idle()) // its sweep reads through the practice
	const patients, seed = 400, 9
	doctor := h.doctor()
	var bundle bytes.Buffer
	require.NoError(t, generator.Bundle(&bundle, generator.Options{Seed: seed, Patients: patients}))
	_, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, &bundle)
	require.NoError(t, err)
	facts := generator.Patient(seed, 17)
	id := facts.ID.String()
	note := facts.Note.String()
	ctx := h.as(doctor)
	ok := func(a fhirAnswer) { require.Less(t, a.status, 300, a.body) }
	for _, op := range []struct {
		name string
		do   func()
	}{
		{"read", func() { ok(h.fhir(doctor, "GET", "/Patient/"+id, "")) }},
		{"vread", func() { ok(h.fhir(doctor, "GET", "/Patient/"+id+"/_history/1", "")) }},
		{"history", func() { ok(h.fhir(doctor, "GET", "/Patient/"+id+"/_history", "")) }},
		{"update", func() {
			ok(h.fhir(doctor, "PATCH", "/Patient/"+id, `[{"op":"add","path":"/active","value":true}]`, "If-Match", h.fhir(doctor, "GET", "/Patient/"+id, "").header.Get("ETag"), "Content-Type", "application/json-patch+json"))
		}},
		{"search", func() { ok(h.search(doctor, "Patient", "identifier="+url.QueryEscape(facts.SSN))) }},
		{"search by code", func() { ok(h.search(doctor, "Observation", "patient="+id+"&_count=10")) }},
		{"everything", func() { ok(h.fhir(doctor, "GET", "/Patient/"+id+"/$everything", "")) }},
		{"typed read", func() {
			_, err := h.client.GetNote(ctx, &recordsv1.GetNoteRequest{Name: "patients/" + id + "/notes/" + note})
			require.NoError(t, err)
		}},
		{"typed list", func() {
			_, err := h.client.ListNotes(ctx, &recordsv1.ListNotesRequest{Parent: "patients/" + id})
			require.NoError(t, err)
		}},
		{"typed create", func() {
			_, err := h.client.CreateNote(ctx, &recordsv1.CreateNoteRequest{Parent: "patients/" + id, Note: &recordsv1.Note{Title: "Visit", Text: "Cough."}})
			require.NoError(t, err)
		}},
		{"list of patients", func() {
			_, err := h.client.ListPatients(ctx, &recordsv1.ListPatientsRequest{PageSize: 5})
			require.NoError(t, err)
		}},
		{"import", func() { h.mustImport(doctor, bundleOf(patientDoc(uuid.NewString()))) }},
	} {
		ctx = h.as(doctor)
		before := h.tuples()
		op.do()
		read := h.tuples() - before
		t.Logf("%-18s reads %4d rows", op.name, read)
		require.Less(t, read, int64(patients/2), op.name)
	}
}
