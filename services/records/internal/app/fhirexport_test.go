package app_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/records/internal/bulk"
)

// smallFiles are exports with many files of few resources, in many steps.
func smallFiles(s *settings) { s.FHIR.Export = bulk.Limits{FileResources: 3, ScanResources: 4} }

// settle is longer than an export's moment takes to settle.
const settle = 2 * time.Minute

// kickOff begins an export, and returns where its status is.
func (h *house) kickOff(u *user, path string) string {
	h.t.Helper()
	got := h.fhir(u, "GET", path, "", "Prefer", "respond-async", "Accept", fhirType)
	require.Equal(h.t, 202, got.status, got.body)
	require.Empty(h.t, got.body)
	at, ok := strings.CutPrefix(got.header.Get("Content-Location"), fhirBase)
	require.True(h.t, ok, got.header)
	return at
}

// manifest asks for the status until the export is complete.
func (h *house) manifest(u *user, at string) fhirAnswer {
	h.t.Helper()
	for range 1000 {
		got := h.fhir(u, "GET", at, "", "Accept", "application/json")
		if got.status == 202 {
			require.NotEmpty(h.t, got.header.Get("Retry-After"))
			require.NotEmpty(h.t, got.header.Get("X-Progress"))
			continue
		}
		require.Equal(h.t, 200, got.status, got.body)
		return got
	}
	h.t.Fatal("the export is never complete")
	return fhirAnswer{}
}

// download fetches all files, and returns the resources by "Type/id".
func (h *house) download(u *user, manifest fhirAnswer) map[string]string {
	h.t.Helper()
	out := map[string]string{}
	for _, f := range manifest.get("output").Array() {
		got := h.fhir(u, "GET", strings.TrimPrefix(f.Get("url").String(), fhirBase), "", "Accept", "application/fhir+ndjson")
		require.Equal(h.t, 200, got.status, got.body)
		require.Equal(h.t, "application/fhir+ndjson", got.header.Get("Content-Type"))
		lines := strings.Split(strings.TrimSuffix(got.body, "\n"), "\n")
		require.Len(h.t, lines, int(f.Get("count").Int()))
		for _, line := range lines {
			require.True(h.t, gjson.Valid(line), line)
			name := gjson.Get(line, "resourceType").String() + "/" + gjson.Get(line, "id").String()
			require.Equal(h.t, f.Get("type").String(), gjson.Get(line, "resourceType").String())
			require.NotContains(h.t, out, name, "a resource stands in two files")
			out[name] = line
		}
	}
	return out
}

// observations stores so many in a chart, and returns them by name.
func (h *house) observations(u *user, patient string, n int) map[string]string {
	h.t.Helper()
	out := map[string]string{}
	for range n {
		made := h.fhir(u, "POST", "/Observation", observation(patient))
		require.Equal(h.t, 201, made.status, made.body)
		out["Observation/"+made.id()] = made.body
	}
	return out
}

func TestFHIRExportIsTheStateOfItsMoment(t *testing.T) {
	t.Parallel()
	h := newHouse(t, smallFiles)
	u := h.doctor()
	made := h.fhir(u, "POST", "/Patient", "{\"resourceType\":\"Patient\",\n \"name\":[{\"family\":\"Müller\"}]}")
	patient := made.id()
	want := h.observations(u, patient, 10)
	names := slices.Sorted(maps.Keys(want))

	at := h.kickOff(u, "/$export?_type=Observation,Patient&_outputFormat=ndjson")
	got := h.fhir(u, "GET", at, "")
	require.Equal(t, 202, got.status)
	require.Equal(t, "settling", got.header.Get("X-Progress"))
	require.Equal(t, "90", got.header.Get("Retry-After"))

	// What is changed, deleted or made after the moment is as it was.
	changed := strings.Replace(want[names[0]], "7.0e1", "71", 1)
	require.Equal(t, 200, h.fhir(u, "PUT", "/"+names[0], changed, "If-Match", `W/"1"`).status)
	require.Equal(t, 204, h.fhir(u, "DELETE", "/"+names[9], "").status)
	later := h.observations(u, patient, 1)
	h.pass(settle)
	first := h.manifest(u, at)
	require.Equal(t, fhirBase+"/$export?_type=Observation%2CPatient", first.get("request").String())
	require.True(t, first.get("requiresAccessToken").Bool())
	require.Equal(t, "[]", first.get("error").Raw)
	_, err := time.Parse(time.RFC3339Nano, first.get("transactionTime").String())
	require.NoError(t, err)
	require.NotEmpty(t, first.header.Get("Expires"))
	require.Greater(t, len(first.get("output").Array()), 4, "files are small here")
	want["Patient/"+patient] = strings.Replace(made.body, "\n", "", 1)
	all := h.download(u, first)
	require.JSONEq(t, want["Patient/"+patient], all["Patient/"+patient])
	delete(all, "Patient/"+patient)
	delete(want, "Patient/"+patient)
	require.Equal(t, want, all, "byte for byte, but for line breaks")

	// The next export goes on where the first one was: nothing is missed, and nothing comes twice.
	at = h.kickOff(u, "/Patient/$export?_since="+first.get("transactionTime").String())
	h.pass(settle)
	later[names[0]] = changed
	require.Equal(t, later, h.download(u, h.manifest(u, at)))
}

// Nothing of an export is in memory: another process goes on with the plan and the files, and of
// several that ask at once each step is made by one.
func TestFHIRExportGoesOnInAnotherProcess(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.FHIR.Export = bulk.Limits{FileResources: 2, ScanResources: 1} })
	u := h.doctor()
	patient := h.fhir(u, "POST", "/Patient", `{"resourceType":"Patient"}`).id()
	want := h.observations(u, patient, 60)
	at := h.kickOff(u, "/Patient/$export")
	h.restart()
	h.pass(settle)
	got := h.fhir(u, "GET", at, "")
	require.Equal(t, 202, got.status, "a question makes 50 steps")
	require.Contains(t, got.header.Get("X-Progress"), "types left to plan")
	h.restart()
	var polls sync.WaitGroup
	for range 4 {
		polls.Go(func() { h.manifest(u, at) })
	}
	polls.Wait()
	m := h.manifest(u, at)
	h.restart()
	all := h.download(u, m)
	require.Contains(t, all, "Patient/"+patient)
	delete(all, "Patient/"+patient)
	require.Equal(t, want, all)
}

func TestDX09_DMD05_AnExportFollowsRoleAndPurpose(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	patient := h.fhir(doctor, "POST", "/Patient", `{"resourceType":"Patient"}`).id()
	h.observations(doctor, patient, 1)
	for _, r := range []string{
		`{"resourceType":"Coverage","status":"active","beneficiary":{"reference":"Patient/` + patient + `"},"payor":[{"display":"AOK"}]}`,
		`{"resourceType":"Organization","name":"Ward 3"}`,
	} {
		made := h.fhir(doctor, "POST", "/"+gjson.Get(r, "resourceType").String(), r)
		require.Equal(t, 201, made.status, made.body)
	}
	for name, c := range map[string]struct {
		purpose accessv1.Purpose
		lacks   accessv1.Permission
		types   []string
	}{
		"treatment":  {accessv1.Purpose_PURPOSE_TREATMENT, 0, []string{"Coverage", "Observation", "Organization", "Patient"}},
		"individual": {accessv1.Purpose_PURPOSE_INDIVIDUAL, 0, []string{"Coverage", "Observation", "Organization", "Patient"}},
		"payment":    {accessv1.Purpose_PURPOSE_PAYMENT, 0, []string{"Coverage", "Organization"}},
		"operations": {accessv1.Purpose_PURPOSE_OPERATIONS, 0, []string{"Organization"}},
		"role":       {accessv1.Purpose_PURPOSE_TREATMENT, accessv1.Permission_PERMISSION_OBSERVATIONS_READ, []string{"Coverage", "Organization", "Patient"}},
		"contact":    {accessv1.Purpose_PURPOSE_TREATMENT, accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ, []string{"Coverage", "Observation", "Organization"}},
	} {
		u := *doctor
		u.Purpose = c.purpose
		u.Permissions.Remove(c.lacks)
		// What is named and not permitted is refused, what was not named is left out.
		for _, kind := range []string{"Coverage", "Observation", "Organization", "Patient"} {
			got := h.fhir(&u, "GET", "/$export?_type="+kind, "", "Prefer", "respond-async")
			require.Equal(t, slices.Contains(c.types, kind), got.status == 202, "%s %s %s", name, kind, got.body)
			if got.status == 202 {
				require.Equal(t, 202, h.fhir(&u, "DELETE", strings.TrimPrefix(got.header.Get("Content-Location"), fhirBase), "").status)
			}
		}
		at := h.kickOff(&u, "/$export")
		h.pass(settle)
		require.Equal(t, c.types, typesOf(h.download(&u, h.manifest(&u, at))), name)

		// An export that was begun for more gives no more than the purpose and the role of who fetches.
		at = h.kickOff(doctor, "/$export")
		h.pass(settle)
		whole := h.manifest(doctor, at)
		require.Equal(t, c.types, typesOf(h.download(&u, h.manifest(&u, at))), name)
		for _, f := range whole.get("output").Array() {
			got := h.fhir(&u, "GET", strings.TrimPrefix(f.Get("url").String(), fhirBase), "")
			require.Equal(t, slices.Contains(c.types, f.Get("type").String()), got.status == 200, "%s %s", name, got.body)
		}
		require.Equal(t, 202, h.fhir(&u, "DELETE", at, "").status)
		h.pass(25 * time.Hour) // a user has so many at a time
	}
	u := *doctor
	u.Permissions.Remove(accessv1.Permission_PERMISSION_FHIR_EXPORT)
	require.Equal(t, 403, h.fhir(&u, "GET", "/$export", "", "Prefer", "respond-async").status)
}

func typesOf(resources map[string]string) []string {
	var out []string
	for name := range resources {
		kind, _, _ := strings.Cut(name, "/")
		out = append(out, kind)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// An export is its user's, holds the patients of that user only, and each file holds what the user
// may see when it is fetched. One of somebody else is like one that never was.
func TestDMD06_DH55_AnExportShowsNothingOfOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two, glass := h.doctor(), h.doctor(), h.designated()
	theirs, leaves := h.file(one), h.file(one)
	own := h.file(two)
	_, err := h.access.BreakGlass(h.as(glass), breakGlass(theirs))
	require.NoError(t, err)
	whole := h.administrator(everythingList()...)
	h.practice = uuid.New()
	foreign := h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, everything())
	elsewhere := h.file(foreign)
	h.practice = one.Practice

	// Who sees the patient through a broken glass alone exports nothing of it.
	patients := func(u *user, at string) []string {
		var out []string
		for name := range h.download(u, h.manifest(u, at)) {
			if id, ok := strings.CutPrefix(name, "Patient/"); ok {
				out = append(out, id)
			}
		}
		slices.Sort(out)
		return out
	}
	exports := map[*user]string{}
	for _, u := range []*user{one, two, glass, whole, foreign} {
		exports[u] = h.kickOff(u, "/Patient/$export")
	}
	h.pass(settle)
	require.Equal(t, sorted(theirs.patientID, leaves.patientID), patients(one, exports[one]))
	require.Equal(t, sorted(own.patientID), patients(two, exports[two]))
	require.Empty(t, patients(glass, exports[glass]))
	require.Equal(t, sorted(theirs.patientID, leaves.patientID, own.patientID), patients(whole, exports[whole]))
	require.Equal(t, sorted(elsewhere.patientID), patients(foreign, exports[foreign]))

	// One of somebody else, in this practice or another, is like none.
	file := strings.TrimPrefix(h.manifest(one, exports[one]).get("output.0.url").String(), fhirBase)
	random := strings.Replace(file, strings.Split(file, "/")[2], uuid.NewString(), 1)
	for _, u := range []*user{two, whole, foreign} {
		for _, c := range [][3]string{
			{"GET", exports[one], "/$export/" + uuid.NewString()}, {"DELETE", exports[one], "/$export/" + uuid.NewString()}, {"GET", file, random},
		} {
			got := clean(h.fhir(u, c[0], c[1], ""))
			require.Equal(t, 404, got.status)
			require.Equal(t, clean(h.fhir(u, c[0], c[2], "")), got)
		}
	}

	// Who leaves the care team after the plan was made gets the rest of it.
	require.Empty(t, h.sql("DELETE FROM care_team WHERE patient_id = $1 AND user_id = $2", leaves.patientID, one.User))
	for _, f := range h.manifest(one, exports[one]).get("output").Array() {
		body := h.fhir(one, "GET", strings.TrimPrefix(f.Get("url").String(), fhirBase), "").body
		require.NotContains(t, body, leaves.patientID)
		require.Contains(t, body, theirs.patientID)
	}
}

func sorted(list ...string) []string { return slices.Sorted(slices.Values(list)) }

func everythingList() (list []accessv1.Permission) {
	for p := range accessv1.Permission_name {
		list = append(list, accessv1.Permission(p))
	}
	return list
}

// Each patient whose data leaves in a file has an event that says how much, committed before it left.
func TestDH16_AnExportIsAuditedPerPatient(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	one, two := h.file(u), h.file(u)
	h.observations(u, one.patientID, 2)
	h.observations(u, two.patientID, 1)
	at := h.kickOff(u, "/Patient/$export?_type=Observation")
	h.pass(settle)
	m := h.manifest(u, at)
	events := h.since(func() { require.Len(t, h.download(u, m), 3) })
	counts := map[string]int32{}
	for _, e := range events {
		require.Equal(t, accessv1.Action_ACTION_EXPORT, e.GetAction())
		require.Equal(t, auditv1.Outcome_OUTCOME_OK, e.GetOutcome())
		require.Equal(t, "fhirExports/"+strings.TrimPrefix(at, "/$export/"), e.GetResource())
		counts[e.GetPatientId()] = e.GetCount()
	}
	require.Equal(t, map[string]int32{one.patientID: 2, two.patientID: 1, "": 3}, counts)
}

func TestDH46_AnErasedPatientIsInNoFileOfAnExport(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	gone, stays := l.file(doctor), l.file(doctor)
	l.aged(gone.patient, longAgo)
	at := l.kickOff(doctor, "/Patient/$export?_type=Patient")
	l.pass(settle)
	m := l.manifest(doctor, at)
	require.EqualValues(t, 2, m.get("output.0.count").Int())
	_, err := l.grant(l.next, l.request(gone.patient))
	require.NoError(t, err)
	got := l.fhir(doctor, "GET", strings.TrimPrefix(m.get("output.0.url").String(), fhirBase), "")
	require.Equal(t, 200, got.status, got.body)
	require.Contains(t, got.body, stays.patientID)
	require.NotContains(t, got.body, gone.patientID)
	require.Equal(t, 1, strings.Count(got.body, "\n"))
}

func TestFHIRExportRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	for path, want := range map[string]string{
		"/$export?_typeFilter=Observation":       "PARAMETER_UNSUPPORTED",
		"/$export?_elements=id":                  "PARAMETER_UNSUPPORTED",
		"/Patient/$export?patient=x":             "PARAMETER_UNSUPPORTED",
		"/$export?Marquardt=1":                   "PARAMETER_UNKNOWN",
		"/$export?_since=yesterday":              "PARAMETER_MALFORMED",
		"/$export?_outputFormat=text/csv":        "PARAMETER_MALFORMED",
		"/$export?_type=Patient&_type=Goal":      "PARAMETER_MALFORMED",
		"/$export?_type=Nonsense":                "TYPE_UNKNOWN",
		"/$export?_type=patient":                 "REQUEST_INVALID",
		"/Patient/$export?_type=Organization":    "TYPE_NOT_EXPORTED",
		"/Patient/$export?_type=Patient,Binary/": "REQUEST_INVALID",
	} {
		got := h.fhir(u, "GET", path, "", "Prefer", "respond-async")
		require.Equal(t, want, got.reason(), "%s %s", path, got.body)
		require.NotContains(t, got.body, "Marquardt")
	}
	require.Contains(t, h.fhir(u, "GET", "/$export?_typeFilter=x", "", "Prefer", "respond-async").body, "_typeFilter")
	require.Equal(t, "PREFER_REQUIRED", h.fhir(u, "GET", "/$export", "").reason())
	require.Equal(t, "NOT_ACCEPTABLE", h.fhir(u, "GET", "/$export", "", "Prefer", "respond-async", "Accept", "text/csv").reason())

	// One may have 8 at a time; a DELETE makes room, and so does time.
	var at string
	for range 8 {
		at = h.kickOff(u, "/$export?_type=Patient")
	}
	busy := h.fhir(u, "GET", "/$export", "", "Prefer", "respond-async")
	require.Equal(t, "EXPORTS_BUSY", busy.reason())
	require.Equal(t, 429, busy.status)
	h.pass(time.Minute)
	require.Equal(t, 422, statusOfFile(h, u, at), "not before it has settled")
	require.Equal(t, 202, h.fhir(u, "DELETE", at, "").status)
	require.Equal(t, 404, h.fhir(u, "GET", at, "").status)
	require.Equal(t, 404, h.fhir(u, "DELETE", at, "").status)
	at = h.kickOff(u, "/$export")
	h.pass(25 * time.Hour)
	require.Equal(t, 404, h.fhir(u, "GET", at, "").status)
	h.kickOff(u, "/$export")
	require.EqualValues(t, 1, h.sql("SELECT count(*) FROM fhir_exports")[0][0], "what is over goes")
}

func statusOfFile(h *house, u *user, at string) int {
	return h.fhir(u, "GET", fmt.Sprintf("%s/Patient/%s", at, uuid.NewString()), "").status
}

// What is no request of any RPC leaves its event as well, and who calls is asked before what is wrong.
func TestDH16_AMalformedFHIRRequestLeavesAnEvent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	for _, c := range [][2]string{
		{"GET", "/Patient/x?_nonsense=1"}, {"GET", "/$export"}, {"POST", "/Patient"}, {"GET", "/Patient/$export?_since=x"}, {"PUT", "/Patient/x"},
	} {
		send := func(who *user) fhirAnswer {
			return h.fhir(who, c[0], c[1], "{", "Content-Type", "text/plain", "Accept", "application/fhir+json")
		}
		events := h.since(func() { require.GreaterOrEqual(t, send(u).status, 400) })
		require.NotEmpty(t, events, c)
		for _, e := range events {
			require.Equal(t, auditv1.Outcome_OUTCOME_FAILED, e.GetOutcome(), c)
			require.Equal(t, u.User.String(), e.GetUserId())
		}
		require.Equal(t, 401, send(nil).status, c)
	}
}
