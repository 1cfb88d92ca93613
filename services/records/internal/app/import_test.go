package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/deploy/local/generator"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/devkit/samples"
	"github.com/carekeep/carekeep/libs/errs"
)

func patientDoc(id string) string { return `{"resourceType":"Patient","id":"` + id + `"}` }

func condition(id, subject string) string {
	return `{"resourceType":"Condition","id":"` + id + `","subject":{"reference":"` + subject + `"}}`
}

// reasons of an import's problems, by the index of the entry.
func reasons(got imported) map[int64]string {
	out := map[int64]string{}
	for _, p := range got.problems {
		out[p.GetIndex()] = p.GetReason()
	}
	return out
}

func totals(p *recordsv1.ImportProgress) [4]int64 {
	return [4]int64{p.GetCreated(), p.GetUpdated(), p.GetUnchanged(), p.GetRefused()}
}

// The 24 sample patients go in, come back byte for byte, and a second import changes nothing.
func TestImportOfSamplePatients(t *testing.T) {
	t.Parallel()
	bundles := samples.Bundles(t)
	h := newHouse(t)
	doctor := h.doctor()
	for i, raw := range bundles {
		h.roundTrip(doctor, string(raw))
		if i == 3 && testing.Short() {
			return
		}
	}
}

func TestImportOfGeneratedPatients(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var b bytes.Buffer
	require.NoError(t, generator.Bundle(&b, generator.Options{Seed: 7, Patients: 20}))
	h.roundTrip(h.doctor(), b.String())
}

// roundTrip imports a bundle, checks every resource and its event, and imports again.
func (h *house) roundTrip(u *user, bundle string) {
	h.t.Helper()
	var b struct {
		Entry []struct{ Resource json.RawMessage }
	}
	require.NoError(h.t, json.Unmarshal([]byte(bundle), &b))
	var got imported
	events := h.since(func() { got = h.mustImport(u, bundle) })
	require.Empty(h.t, got.problems)
	n := int64(len(b.Entry))
	require.Equal(h.t, n, got.result.GetCreated()+got.result.GetUnchanged()+got.result.GetUpdated())
	told := map[string]bool{}
	for _, e := range events {
		if e.GetAction() == accessv1.Action_ACTION_IMPORT && e.GetResourceVersion() > 0 {
			told[e.GetPatientId()+"/"+e.GetResource()] = true
			require.Len(h.t, e.GetAfterDigest(), 32)
		}
	}
	require.EqualValues(h.t, got.result.GetCreated(), len(told), "an event for every resource that was stored")
	for _, e := range b.Entry {
		var head struct{ ResourceType, ID string }
		require.NoError(h.t, json.Unmarshal(e.Resource, &head))
		doc, err := h.client.GetResource(h.as(u), &recordsv1.GetResourceRequest{Type: head.ResourceType, Id: head.ID})
		require.NoError(h.t, err)
		require.Equal(h.t, "application/fhir+json", doc.GetContentType())
		require.Equal(h.t, string(e.Resource), string(doc.GetData()))
	}
	again := h.mustImport(u, bundle)
	require.Equal(h.t, [4]int64{0, 0, n, 0}, totals(again.result))
}

// A good entry goes in, whatever stands around it; each bad one is named with its reason.
func TestImportReportsBadEntries(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p, obs := uuid.NewString(), uuid.NewString()
	entries := []struct{ resource, reason string }{
		0:  {patientDoc(p), ""},
		1:  {`{"resourceType":"Martian","id":"1"}`, "ENTRY_TYPE_UNKNOWN"},
		2:  {`{"id":"1"}`, "ENTRY_TYPE_UNKNOWN"},
		3:  {`{"resourceType":"Bundle","id":"1"}`, "ENTRY_TYPE_UNSUPPORTED"},
		4:  {condition("a b", "Patient/"+p), "ENTRY_ID_INVALID"},
		5:  {`{"resourceType":"Condition","subject":{"reference":"Patient/` + p + `"}}`, "ENTRY_ID_INVALID"},
		6:  {condition(uuid.NewString(), "Patient/"+uuid.NewString()), "ENTRY_OTHER_PATIENT"},
		7:  {condition(uuid.NewString(), "Group/1"), "ENTRY_OTHER_PATIENT"},
		8:  {`{"resourceType":"Condition","id":"c"}`, "ENTRY_MALFORMED"},
		9:  {`{"resourceType":"Observation","id":"` + obs + `","status":"final","subject":{"reference":"Patient/` + p + `"}}`, "ENTRY_MALFORMED"},
		10: {`{"resourceType":"Patient","id":"x","birthDate":"1.1.1970"}`, "ENTRY_MALFORMED"},
		11: {`{"resourceType":"Condition","id":"d","id":"e","subject":{"reference":"Patient/` + p + `"}}`, "ENTRY_MALFORMED"},
		12: {`{"resourceType":"Organization","id":"o"}`, ""},
		13: {condition(obs, "Patient/"+p), ""},
		14: {strings.Replace(condition(uuid.NewString(), "#c"), `"subject"`, `"contained":[{"resourceType":"Patient","id":"c"}],"subject"`, 1), "ENTRY_OTHER_PATIENT"},
		15: {`{"resourceType":"Condition","id":"f","subject":{"reference":"Patient/` + p + `"},"note":"` + "\xff" + `"}`, "ENTRY_INVALID_UTF8"},
		16: {condition(uuid.NewString(), "Patient/"+p), ""},
	}
	var resources []string
	want := map[int64]string{}
	for i, e := range entries {
		resources = append(resources, e.resource)
		if e.reason != "" {
			want[int64(i)] = e.reason
		}
	}
	got := h.mustImport(h.doctor(), bundleOf(resources...))
	require.Equal(t, want, reasons(got))
	require.Equal(t, [4]int64{4, 0, 0, int64(len(want))}, totals(got.result))
	for _, p := range got.problems {
		require.NotEmpty(t, p.GetMessage())
		require.NotContains(t, p.GetMessage(), "Martian")
		require.NotContains(t, p.GetMessage(), "1970")
	}
}

// All the ways in which a bundle may name its patient.
func TestImportResolvesReferences(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id, alias := uuid.NewString(), uuid.NewString()
	entry := func(fullURL, resource string) string {
		return fmt.Sprintf(`{"fullUrl":%q,"resource":%s}`, fullURL, resource)
	}
	c := func(subject string) string {
		return entry("urn:uuid:"+uuid.NewString(), condition(uuid.NewString(), subject))
	}
	bundle := `{"resourceType":"Bundle","type":"collection","entry":[` + strings.Join([]string{
		c("urn:uuid:" + alias), // waits for its Patient
		entry("urn:uuid:"+alias, patientDoc(id)),
		c("Patient/" + id), c("Patient/" + id + "/_history/1"), c("urn:uuid:" + id), c("URN:UUID:" + strings.ToUpper(alias)),
		c("https://anywhere.example/fhir/Patient/" + id),
		entry("https://hospital.example/fhir/Patient/MRN-1", patientDoc("MRN-1")),
		c("Patient/MRN-1"), c("https://hospital.example/fhir/Patient/MRN-1"), c("https://hospital.example/fhir/Patient/MRN-1/_history/3"),
		c("https://elsewhere.example/fhir/Patient/MRN-1"), // another server's patient of the same number
	}, ",") + `]}`
	doctor := h.doctor()
	got := h.mustImport(doctor, bundle)
	require.Equal(t, map[int64]string{11: "ENTRY_OTHER_PATIENT"}, reasons(got))
	list, err := h.client.ListResources(h.as(doctor), &recordsv1.ListResourcesRequest{Parent: "patients/" + id, Type: "Condition"})
	require.NoError(t, err)
	require.Len(t, list.GetResources(), 6)

	// An id that may be a medical record number shows nowhere but inside the document.
	patients, err := h.client.ListPatients(h.as(doctor), &recordsv1.ListPatientsRequest{})
	require.NoError(t, err)
	require.Len(t, patients.GetPatients(), 2)
	for _, p := range patients.GetPatients() {
		if p.GetName() != "patients/"+id {
			require.Equal(t, uuid.Version(8), uuid.MustParse(p.GetName()[len("patients/"):]).Version())
			list, err := h.client.ListResources(h.as(doctor), &recordsv1.ListResourcesRequest{Parent: p.GetName(), Type: "Condition"})
			require.NoError(t, err)
			require.Len(t, list.GetResources(), 3)
		}
	}
	for _, e := range h.events() {
		require.NotContains(t, e.String(), "MRN-1")
	}
	again := h.mustImport(doctor, bundle)
	require.Equal(t, [4]int64{0, 0, 11, 1}, totals(again.result))
}

// Two Patients cannot share a name, or references to it would be anybody's.
func TestImportRefusesSharedNames(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two, alias := uuid.NewString(), uuid.NewString(), uuid.NewString()
	entry := func(fullURL, id string) string {
		return fmt.Sprintf(`{"fullUrl":%q,"resource":%s}`, fullURL, patientDoc(id))
	}
	got := h.mustImport(h.doctor(), `{"resourceType":"Bundle","type":"batch","entry":[`+strings.Join([]string{
		entry("urn:uuid:"+alias, one), entry("urn:uuid:"+alias, two), entry("urn:uuid:"+one, two), entry("urn:uuid:"+two, alias),
		entry("https://h.example/Patient/1", uuid.NewString()), entry("https://h.example/Patient/1", uuid.NewString()),
	}, ",")+`]}`)
	require.Equal(t, map[int64]string{1: "ENTRY_MALFORMED", 2: "ENTRY_MALFORMED", 3: "ENTRY_MALFORMED", 5: "ENTRY_MALFORMED"}, reasons(got))
}

// Entries before their Patient wait, as many as fit; the others are named.
func TestImportBoundsWhatWaits(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.Imports.EarlyBytes = 1000 })
	id := uuid.NewString()
	var early []string
	for range 20 {
		early = append(early, condition(uuid.NewString(), "Patient/"+id))
	}
	got := h.mustImport(h.doctor(), bundleOf(append(early, patientDoc(id))...))
	require.Contains(t, reasons(got), int64(19))
	for index, reason := range reasons(got) {
		require.Equal(t, "ENTRY_TOO_EARLY", reason, index)
	}
	require.EqualValues(t, 21, got.result.GetCreated()+got.result.GetRefused())
	require.Greater(t, got.result.GetCreated(), int64(3))
}

func TestImportKeepsToItsPatient(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	other := uuid.NewString()
	got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{Patient: f.patient}, strings.NewReader(bundleOf(
		condition(uuid.NewString(), "Patient/"+f.patientID), patientDoc(other), condition(uuid.NewString(), "Patient/"+other),
		`{"resourceType":"Practitioner","id":"dr"}`)))
	require.NoError(t, err)
	require.Equal(t, map[int64]string{1: "ENTRY_OTHER_PATIENT", 2: "ENTRY_OTHER_PATIENT"}, reasons(got))
	require.EqualValues(t, 2, got.result.GetCreated())

	// A patient who does not exist, or is not the caller's, is no door either.
	for _, who := range []*user{h.doctor()} {
		for _, patient := range []string{f.patient, "patients/" + uuid.NewString()} {
			got, err := h.importBundle(h.as(who), &recordsv1.ImportOptions{Patient: patient}, strings.NewReader(bundleOf(
				condition(uuid.NewString(), "Patient/"+patient[len("patients/"):]))))
			require.NoError(t, err)
			require.Equal(t, [4]int64{0, 0, 0, 1}, totals(got.result))
		}
	}
}

// Changed documents become new versions; the former stay readable.
func TestImportVersions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	p, c := uuid.NewString(), uuid.NewString()
	v1 := condition(c, "Patient/"+p)
	v2 := strings.Replace(v1, `"subject"`, `"recordedDate":"2026","subject"`, 1)
	require.Equal(t, [4]int64{2, 0, 0, 0}, totals(h.mustImport(doctor, bundleOf(patientDoc(p), v1)).result))
	require.Equal(t, [4]int64{0, 1, 1, 0}, totals(h.mustImport(doctor, bundleOf(patientDoc(p), v2)).result))
	// The same resource twice in one bundle is two changes, in their order.
	require.Equal(t, [4]int64{0, 2, 1, 0}, totals(h.mustImport(doctor, bundleOf(patientDoc(p), v1, v2)).result))
	for version, want := range map[int64]string{1: v1, 2: v2, 3: v1, 4: v2} {
		doc, err := h.client.GetResourceVersion(h.as(doctor), &recordsv1.GetResourceVersionRequest{Type: "Condition", Id: c, Version: version})
		require.NoError(t, err)
		require.Equal(t, want, string(doc.GetData()))
	}
	// An import brings a deleted resource back, as a version after its deletion.
	f := h.file(doctor)
	_, err := h.client.DeleteNote(h.as(doctor), &recordsv1.DeleteNoteRequest{Name: f.note})
	require.NoError(t, err)
	note := `{"resourceType":"DocumentReference","status":"current","content":[{"attachment":{"title":"t"}}],"id":"` + f.noteID + `","subject":{"reference":"Patient/` + f.patientID + `"}}`
	got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{Patient: f.patient}, strings.NewReader(bundleOf(note)))
	require.NoError(t, err)
	require.Equal(t, [4]int64{1, 0, 0, 0}, totals(got.result))
	n, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.NoError(t, err)
	require.Equal(t, "v3", n.GetEtag())
	// A deleted patient stays deleted.
	_, err = h.client.DeletePatient(h.as(doctor), &recordsv1.DeletePatientRequest{Name: f.patient})
	require.NoError(t, err)
	got = h.mustImport(doctor, bundleOf(patientDoc(f.patientID), note))
	require.Equal(t, map[int64]string{0: "ENTRY_PATIENT_UNAVAILABLE", 1: "ENTRY_PATIENT_UNAVAILABLE"}, reasons(got))
}

// What cannot be read any further ends the import, says where, and keeps what came before.
func TestImportOfMalformedBundles(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	for name, c := range map[string]struct {
		bundle  func(good string) string
		says    string
		created int
	}{
		"cut off":         {func(g string) string { return g[:len(g)-10] }, "in entry 1", 1},
		"no JSON":         {func(g string) string { return g[:len(g)-3] + `oops` }, "in entry 1", 1},
		"no UTF-8":        {func(g string) string { return g[:len(g)-1] + ",\"\xff\":1}" }, "not UTF-8", 2},
		"empty":           {func(string) string { return "" }, "at byte 0", 0},
		"no bundle":       {func(string) string { return patientDoc("1") }, "not a FHIR Bundle", 0},
		"other type":      {func(g string) string { return strings.Replace(g, "transaction", "document", 1) }, "type must be", 0},
		"more behind":     {func(g string) string { return g + "[]" }, "more follows", 2},
		"a list, 10 MiB":  {func(string) string { return "[" + strings.Repeat(" ", 10<<20) }, "JSON object", 0},
		"a word, 10 MiB":  {func(g string) string { return g[:len(g)-1] + `,"` + strings.Repeat("x", 10<<20) }, "ends too early", 2},
		"nested, 10 MiB":  {func(g string) string { return g[:len(g)-2] + "," + strings.Repeat(`{"a":`, 2<<20) }, "nested too deeply", 2},
		"surrogate bytes": {func(g string) string { return strings.Replace(g, `"type"`, "\"ty\xed\xa0\x80\"", 1) }, "not UTF-8", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := uuid.NewString(), uuid.NewString()
			got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, strings.NewReader(c.bundle(bundleOf(patientDoc(one), patientDoc(two)))))
			require.Equal(t, codes.InvalidArgument, status.Code(err))
			require.Equal(t, "BUNDLE_MALFORMED", errs.ReasonOf(err))
			require.Contains(t, status.Convert(err).Message(), c.says)
			require.NotContains(t, status.Convert(err).Message(), one)
			require.Nil(t, got.result)
			created := 0
			for _, id := range []string{one, two} {
				if _, err := h.client.GetPatient(h.as(doctor), &recordsv1.GetPatientRequest{Name: "patients/" + id}); err == nil {
					created++
				}
			}
			require.Equal(t, c.created, created)
		})
	}
}

func TestImportRefusesLargeEntriesAndTakesTheRest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := uuid.NewString()
	large := `{"resourceType":"Condition","id":"1","subject":{"reference":"Patient/` + p + `"},"note":[{"text":"` + strings.Repeat("x", 10<<20) + `"}]}`
	fits := strings.Replace(large, strings.Repeat("x", 10<<20), strings.Repeat("x", 1<<20), 1)
	fits = strings.Replace(fits, `"id":"1"`, `"id":"2"`, 1)
	got := h.mustImport(h.doctor(), bundleOf(patientDoc(p), large, fits))
	require.Equal(t, map[int64]string{1: "ENTRY_TOO_LARGE"}, reasons(got))
	require.EqualValues(t, 2, got.result.GetCreated())
}

func TestImportOptions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	users := func(u *user) string { return "users/" + u.User.String() }
	admin := h.administrator()
	staff := h.receptionist(doctor)
	staff.Permissions.Add(accessv1.Permission_PERMISSION_PATIENTS_IMPORT)
	for name, c := range map[string]struct {
		who    *user
		doctor string
		reason string
	}{
		"a doctor, for himself":        {doctor, "", ""},
		"a doctor, named":              {doctor, users(doctor), ""},
		"a doctor, for another":        {doctor, users(h.doctor()), "DOCTOR_NOT_PERMITTED"},
		"an admin, for nobody":         {admin, "", "DOCTOR_REQUIRED"},
		"an admin, for a doctor":       {admin, users(doctor), ""},
		"staff, for their doctor":      {staff, users(doctor), ""},
		"staff, for another doctor":    {staff, users(h.doctor()), "DOCTOR_NOT_PERMITTED"},
		"staff, for nobody":            {staff, "", "DOCTOR_REQUIRED"},
		"a receptionist as she stands": {h.receptionist(doctor), users(doctor), "*"},
	} {
		id := uuid.NewString()
		_, err := h.importBundle(h.as(c.who), &recordsv1.ImportOptions{Doctor: c.doctor}, strings.NewReader(bundleOf(patientDoc(id))))
		switch c.reason {
		case "":
			require.NoError(t, err, name)
			_, err = h.client.GetPatient(h.as(doctor), &recordsv1.GetPatientRequest{Name: "patients/" + id})
			require.NoError(t, err, "%s: the doctor sees the patient", name)
		case "*":
			require.Equal(t, codes.PermissionDenied, status.Code(err), name)
		default:
			require.Equal(t, c.reason, errs.ReasonOf(err), name)
		}
	}
	stream, err := h.client.ImportBundle(h.as(doctor))
	require.NoError(t, err)
	require.NoError(t, stream.Send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Chunk{Chunk: []byte("{")}}))
	_, err = stream.Recv()
	require.Equal(t, "OPTIONS_FIRST", errs.ReasonOf(err))
}

// Imports of the same bundle at once make everything once, and all succeed: two of
// a doctor, and that of an administrator who could change nothing of it.
func TestConcurrentImportsOfTheSameBundle(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	var b bytes.Buffer
	require.NoError(t, generator.Bundle(&b, generator.Options{Seed: 9, Patients: 30}))
	var wait sync.WaitGroup
	results := make([]imported, 3)
	failures := make([]error, len(results))
	for i, who := range []*user{doctor, doctor, h.administrator()} {
		wait.Go(func() {
			options := &recordsv1.ImportOptions{Doctor: "users/" + doctor.User.String()}
			results[i], failures[i] = h.importBundle(h.as(who), options, bytes.NewReader(b.Bytes()))
		})
	}
	wait.Wait()
	var created int64
	for i := range results {
		require.NoError(t, failures[i])
		require.Empty(t, results[i].problems)
		created += results[i].result.GetCreated()
		require.EqualValues(t, 30*generator.PerPatient, results[i].result.GetCreated()+results[i].result.GetUnchanged())
	}
	require.EqualValues(t, 30*generator.PerPatient, created)
	h.requireEvidenceForAll()
}

// requireEvidenceForAll checks that every version of every resource has exactly one event.
func (h *house) requireEvidenceForAll() {
	h.t.Helper()
	told := map[string]int{}
	for _, e := range h.events() {
		if e.GetOutcome() == auditv1.Outcome_OUTCOME_OK && len(e.GetAfterDigest()) > 0 {
			told[fmt.Sprintf("%x", e.GetAfterDigest())]++
		}
	}
	rows := h.sql("SELECT digest FROM documents UNION ALL SELECT digest FROM document_history")
	for _, row := range rows {
		require.Equal(h.t, 1, told[fmt.Sprintf("%x", row[0])])
	}
	require.Len(h.t, told, len(rows))
}

// Progress is what is committed, it only grows, and the last is the result.
func TestImportReportsProgress(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.Imports.BatchEntries = 10 })
	var b bytes.Buffer
	require.NoError(t, generator.Bundle(&b, generator.Options{Seed: 3, Patients: 10}))
	got := h.mustImport(h.doctor(), b.String())
	require.GreaterOrEqual(t, len(got.steps), 10*generator.PerPatient/10)
	require.True(t, slices.IsSortedFunc(got.steps, func(a, b *recordsv1.ImportProgress) int { return int(a.GetCreated() - b.GetCreated()) }))
	require.Equal(t, totals(got.result), totals(got.steps[len(got.steps)-1]))
}

// A client that goes away in the middle leaves a service that goes on.
func TestImportOfAClientThatLeaves(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.Imports.Concurrent = 1 })
	doctor := h.doctor()
	for range 3 {
		ctx, leave := cancelable(h.as(doctor))
		stream, err := h.client.ImportBundle(ctx)
		require.NoError(t, err)
		require.NoError(t, stream.Send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Options{Options: &recordsv1.ImportOptions{}}}))
		require.NoError(t, stream.Send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Chunk{Chunk: []byte(`{"resourceType":"Bundle"`)}}))
		leave()
		for err == nil {
			_, err = stream.Recv()
		}
	}
	require.Eventually(t, func() bool {
		got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, strings.NewReader(bundleOf(patientDoc(uuid.NewString()))))
		return err == nil && got.result.GetCreated() == 1
	}, patience, tick, "the places of those who left are free again")
}

func TestTooManyImportsAreAskedToWait(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.Imports.Concurrent, s.Imports.BatchEntries = 1, 1 })
	doctor := h.doctor()
	first, err := h.client.ImportBundle(h.as(doctor))
	require.NoError(t, err)
	require.NoError(t, first.Send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Options{Options: &recordsv1.ImportOptions{}}}))
	const end = "]}"
	begin := strings.TrimSuffix(bundleOf(patientDoc(uuid.NewString()), patientDoc(uuid.NewString())), end)
	require.NoError(t, first.Send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Chunk{Chunk: []byte(begin)}}))
	_, err = first.Recv()
	require.NoError(t, err, "progress: from here on it holds the only place")

	_, err = h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, strings.NewReader(bundleOf()))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.Equal(t, "IMPORTS_BUSY", errs.ReasonOf(err))

	require.NoError(t, first.Send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Chunk{Chunk: []byte(end)}}))
	require.NoError(t, first.CloseSend())
	var ended error
	for ended == nil {
		_, ended = first.Recv()
	}
	require.ErrorIs(t, ended, io.EOF)
	_, err = h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, strings.NewReader(bundleOf()))
	require.NoError(t, err, "its place is free again")
}

// However a resource is written, it comes back byte for byte.
func TestImportRoundTripsAnyResource(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	rapid.Check(t, func(t *rapid.T) {
		p := uuid.NewString()
		resources := []string{patientDoc(p)}
		space := rapid.SampledFrom([]string{"", " ", "\n\t", "\r\n    "})
		for range rapid.IntRange(1, 4).Draw(t, "resources") {
			value, err := json.Marshal(rapid.StringMatching(`[\P{C}\n]{1,50}`).Draw(t, "value"))
			require.NoError(t, err)
			resources = append(resources, fmt.Sprintf(`{%s"resourceType"%s:"Basic","id":%s"%s","code":{"text":%s},"subject":{"reference":"Patient/%s"}%s}`,
				space.Draw(t, "space"), space.Draw(t, "space"), space.Draw(t, "space"), uuid.NewString(), value, p, space.Draw(t, "space")))
		}
		got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, strings.NewReader(bundleOf(resources...)))
		require.NoError(t, err)
		require.Empty(t, got.problems)
		for _, r := range resources {
			var head struct{ ResourceType, ID string }
			require.NoError(t, json.Unmarshal([]byte(r), &head))
			doc, err := h.client.GetResource(h.as(doctor), &recordsv1.GetResourceRequest{Type: head.ResourceType, Id: head.ID})
			require.NoError(t, err)
			require.Equal(t, r, string(doc.GetData()))
		}
	})
}

// A script in a narrative is stored as it came, and nobody gets it to read.
func TestNarrativesAreSanitisedOnRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	p, c := uuid.NewString(), uuid.NewString()
	bad := strings.Replace(condition(c, "Patient/"+p), `"subject"`,
		`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Cough</p><script>alert(1)</script></div>"},"subject"`, 1)
	require.Empty(t, h.mustImport(doctor, bundleOf(patientDoc(p), bad)).problems)
	want := strings.Replace(bad, "<script>alert(1)</script>", "", 1)

	var header metadata.MD
	doc, err := h.client.GetResource(h.as(doctor), &recordsv1.GetResourceRequest{Type: "Condition", Id: c}, grpc.Header(&header))
	require.NoError(t, err)
	require.Equal(t, want, string(doc.GetData()))
	require.Equal(t, []string{"sanitised"}, header.Get("carekeep-narrative"))
	doc, err = h.client.GetResourceVersion(h.as(doctor), &recordsv1.GetResourceVersionRequest{Type: "Condition", Id: c, Version: 1})
	require.NoError(t, err)
	require.Equal(t, want, string(doc.GetData()))
	list, err := h.client.ListResources(h.as(doctor), &recordsv1.ListResourcesRequest{Parent: "patients/" + p, Type: "Condition"})
	require.NoError(t, err)
	require.Equal(t, want, list.GetResources()[0].GetJson())
	// What is stored is what was sent: sent again it changes nothing.
	require.EqualValues(t, 2, h.mustImport(doctor, bundleOf(patientDoc(p), bad)).result.GetUnchanged())
}

// Through each way in: import, and the typed API.
func TestDX26_CardNumbersAreRefusedAtEveryWayIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	paid := strings.Replace(condition(uuid.NewString(), "Patient/"+f.patientID), `"subject"`, `"note":[{"text":"paid by 4111 1111 1111 1111"}],"subject"`, 1)
	got := h.mustImport(doctor, bundleOf(patientDoc(f.patientID), paid))
	require.Equal(t, map[int64]string{1: "ENTRY_CARD_NUMBER"}, reasons(got))
	require.NotContains(t, got.problems[0].GetMessage(), "1111")

	_, err := h.client.CreateNote(h.as(doctor), &recordsv1.CreateNoteRequest{Parent: f.patient, Note: &recordsv1.Note{Text: "pays with 5555-5555-5555-4444"}})
	require.Equal(t, "CARD_NUMBER", errs.ReasonOf(err))
	require.NotContains(t, status.Convert(err).Message(), "5555")
	_, err = h.client.CreatePrescription(h.as(doctor), &recordsv1.CreatePrescriptionRequest{Parent: f.patient, Prescription: &recordsv1.Prescription{Medication: "x", Dosage: "378282246310005"}})
	require.Equal(t, "CARD_NUMBER", errs.ReasonOf(err))
	note, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.NoError(t, err)
	note.Title = "4111111111111111"
	_, err = h.client.UpdateNote(h.as(doctor), &recordsv1.UpdateNoteRequest{Note: note})
	require.Equal(t, "CARD_NUMBER", errs.ReasonOf(err))
}
