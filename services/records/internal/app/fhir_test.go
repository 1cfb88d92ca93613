package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/devkit/samples"
)

const (
	fhirBase = "https://clinic.example/fhir/R4"
	fhirType = "application/fhir+json"
)

// fhirAnswer is what the FHIR API answered.
type fhirAnswer struct {
	status int
	header http.Header
	body   string
}

func (a fhirAnswer) get(path string) gjson.Result { return gjson.Get(a.body, path) }

// reason is that of the OperationOutcome.
func (a fhirAnswer) reason() string { return a.get("issue.0.details.coding.0.code").String() }

// fhir sends a request to the FHIR API as the gateway does. The extra strings are headers.
func (h *house) fhir(u *user, method, path, body string, headers ...string) fhirAnswer {
	h.t.Helper()
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: street.gateway.ClientTLS(accessv1.Service_SERVICE_RECORDS), Protocols: protocols}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "https://"+h.web+"/fhir/R4"+path, strings.NewReader(body))
	require.NoError(h.t, err)
	if body != "" {
		request.Header.Set("Content-Type", fhirType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	if u != nil {
		token, err := street.signer.Sign(u.Caller, h.now())
		require.NoError(h.t, err)
		request.Header.Set(caller.MetadataKey, token)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	require.NoError(h.t, err)
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	require.NoError(h.t, err)
	if response.StatusCode >= 400 {
		require.Equal(h.t, "OperationOutcome", gjson.GetBytes(raw, "resourceType").String(), "%d %s", response.StatusCode, raw)
	}
	return fhirAnswer{response.StatusCode, response.Header, string(raw)}
}

// idOf is the id in a Location.
func (a fhirAnswer) id() string {
	parts := strings.Split(strings.TrimPrefix(a.header.Get("Location"), fhirBase+"/"), "/")
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

func observation(patient string) string {
	return `{ "resourceType":"Observation", "status" : "final","code":{"text":"Heart rate"},"subject":{"reference":"Patient/` + patient + `"},"valueQuantity": {"value": 7.0e1} }`
}

func TestFHIRCreateReadUpdateDelete(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()

	made := h.fhir(u, "POST", "/Patient", `{"resourceType":"Patient","name":[{"family":"Müller"}]}`)
	require.Equal(t, 201, made.status, made.body)
	patient := made.id()
	require.Equal(t, fhirBase+"/Patient/"+patient+"/_history/1", made.header.Get("Location"))
	require.Equal(t, `W/"1"`, made.header.Get("ETag"))

	doc := observation(patient)
	made = h.fhir(u, "POST", "/Observation", doc, "Prefer", "return=minimal")
	require.Equal(t, 201, made.status, made.body)
	require.Empty(t, made.body)
	at := "/Observation/" + made.id()
	want := strings.Replace(doc, `{ "res`, `{"id":"`+made.id()+`", "res`, 1)
	got := h.fhir(u, "GET", at, "")
	require.Equal(t, 200, got.status)
	require.Equal(t, want, got.body, "every byte but the id is the author's")
	require.Equal(t, fhirType+"; charset=utf-8; fhirVersion=4.0", got.header.Get("Content-Type"))
	_, err := http.ParseTime(got.header.Get("Last-Modified"))
	require.NoError(t, err)

	// Conditional reads.
	require.Equal(t, 304, h.fhir(u, "GET", at, "", "If-None-Match", `W/"1"`).status)
	require.Equal(t, 304, h.fhir(u, "GET", at, "", "If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)).status)
	require.Equal(t, 200, h.fhir(u, "GET", at, "", "If-None-Match", `W/"2"`).status)

	// Updates need the version that was read.
	next := strings.Replace(want, "7.0e1", "71", 1)
	require.Equal(t, 428, h.fhir(u, "PUT", at, next).status)
	require.Equal(t, 400, h.fhir(u, "PUT", at, next, "If-Match", "1").status)
	require.Equal(t, 412, h.fhir(u, "PUT", at, next, "If-Match", `W/"2"`).status)
	put := h.fhir(u, "PUT", at, next, "If-Match", `W/"1"`)
	require.Equal(t, 200, put.status, put.body)
	require.Equal(t, `W/"2"`, put.header.Get("ETag"))
	require.Equal(t, next, put.body)
	require.Equal(t, 412, h.fhir(u, "PUT", at, next, "If-Match", `W/"1"`).status)
	require.Equal(t, want, h.fhir(u, "GET", at+"/_history/1", "").body)

	history := h.fhir(u, "GET", at+"/_history?_count=1", "")
	require.Equal(t, 200, history.status, history.body)
	require.Equal(t, next, history.get("entry.0.resource").Raw)
	page := strings.TrimPrefix(history.get(`link.#(relation=="next").url`).String(), fhirBase)
	require.NotEmpty(t, page)
	history = h.fhir(u, "GET", page, "")
	require.Equal(t, want, history.get("entry.0.resource").Raw)
	require.False(t, history.get(`link.#(relation=="next")`).Exists())

	// What is deleted is told from what never was, and its versions stay.
	require.Equal(t, 412, h.fhir(u, "DELETE", at, "", "If-Match", `W/"1"`).status)
	require.Equal(t, 204, h.fhir(u, "DELETE", at, "").status)
	require.Equal(t, 410, h.fhir(u, "GET", at, "").status)
	require.Equal(t, 404, h.fhir(u, "GET", "/Observation/"+uuid.NewString(), "").status)
	require.Equal(t, 404, h.fhir(u, "GET", "/Observation/MRN-1", "").status)
	require.Equal(t, next, h.fhir(u, "GET", at+"/_history/2", "").body)
	require.Equal(t, []any{"DELETE", "PUT", "POST"}, h.fhir(u, "GET", at+"/_history", "").get("entry.#.request.method").Value())
	require.Equal(t, 405, h.fhir(u, "PUT", at, next, "If-Match", `W/"3"`).status, "an update creates nothing")

	// A patient who is deleted takes the versions of the whole chart along.
	require.Equal(t, 200, h.fhir(u, "GET", "/Patient/"+patient+"/_history/1", "").status)
	require.Equal(t, 204, h.fhir(u, "DELETE", "/Patient/"+patient, "").status)
	for _, path := range []string{"/Patient/" + patient + "/_history/1", at + "/_history/1", at + "/_history/2", at + "/_history"} {
		got := h.fhir(u, "GET", path, "")
		require.Equal(t, 404, got.status, path)
		require.NotContains(t, got.body, "Heart rate")
	}
}

func TestFHIRRefusesBadHTTP(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	patient := h.fhir(u, "POST", "/Patient", `{"resourceType":"Patient"}`).id()
	id := uuid.NewString()
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		reason             string
	}{
		"search by GET":     {"GET", "/Patient?name=x", "", nil, 405, "METHOD_NOT_ALLOWED"},
		"no such path":      {"GET", "/Patient/" + id + "/x", "", nil, 404, "ROUTE_UNKNOWN"},
		"type unknown":      {"GET", "/Nonsense/" + id, "", nil, 404, "TYPE_UNKNOWN"},
		"type not stored":   {"POST", "/StructureMap", `{"resourceType":"StructureMap"}`, nil, 404, "TYPE_UNKNOWN"},
		"parameter":         {"GET", "/Patient/" + id + "?_elements=name", "", nil, 400, "PARAMETER_UNKNOWN"},
		"accept":            {"GET", "/Patient/" + id, "", []string{"Accept", "application/fhir+xml"}, 406, "NOT_ACCEPTABLE"},
		"fhir version":      {"GET", "/Patient/" + id, "", []string{"Accept", fhirType + "; fhirVersion=3.0"}, 406, "NOT_ACCEPTABLE"},
		"format":            {"GET", "/Patient/" + id + "?_format=xml", "", nil, 406, "NOT_ACCEPTABLE"},
		"body type":         {"POST", "/Patient", `<Patient/>`, []string{"Content-Type", "application/fhir+xml"}, 415, "BODY_TYPE_UNSUPPORTED"},
		"charset":           {"POST", "/Patient", `{}`, []string{"Content-Type", fhirType + "; charset=latin1"}, 415, "BODY_TYPE_UNSUPPORTED"},
		"no JSON":           {"POST", "/Patient", `{`, nil, 400, ""},
		"other type":        {"POST", "/Patient", `{"resourceType":"Observation"}`, nil, 400, "TYPE_MISMATCH"},
		"key twice":         {"POST", "/Patient", `{"resourceType":"Patient","gender":"male","gender":"female"}`, nil, 400, ""},
		"too large":         {"POST", "/Patient", `{"resourceType":"Patient","x":"` + strings.Repeat("x", 2<<20) + `"}`, nil, 413, "BODY_TOO_LARGE"},
		"id differs":        {"PUT", "/Patient/" + patient, `{"resourceType":"Patient","id":"x"}`, []string{"If-Match", `W/"1"`}, 400, "ID_MISMATCH"},
		"unknown reference": {"POST", "/Observation", observation(uuid.NewString()), nil, 422, "REFERENCE_UNKNOWN"},
		"page":              {"GET", "/Patient/" + patient + "/$everything?_page=x", "", nil, 400, "PAGE_TOKEN_INVALID"},
		"since":             {"GET", "/Patient/" + patient + "/$everything?_since=x", "", nil, 400, "PARAMETER_MALFORMED"},
		"count":             {"GET", "/Patient/" + patient + "/_history?_count=0", "", nil, 400, "PARAMETER_MALFORMED"},
		"bundle of no kind": {"POST", "", `{"resourceType":"Bundle","type":"collection"}`, nil, 400, "BUNDLE_TYPE"},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.fhir(u, c.method, c.path, c.body, c.headers...)
			require.Equal(t, c.status, got.status, got.body)
			if c.reason != "" {
				require.Equal(t, c.reason, got.reason())
			}
			require.NotContains(t, got.body, "Heart rate")
		})
	}
	got := h.fhir(nil, "GET", "/Patient/"+patient, "")
	require.Equal(t, 401, got.status)
	require.Equal(t, "login", got.get("issue.0.code").String())
	require.Equal(t, 200, h.fhir(nil, "GET", "/metadata", "").status)
	// SMART has tokens of OAuth, and auth has none: no endpoint is named, and nothing is claimed.
	smart := h.fhir(nil, "GET", "/.well-known/smart-configuration", "")
	require.Equal(t, 200, smart.status)
	require.JSONEq(t, `{"capabilities":[],"grant_types_supported":[],"code_challenge_methods_supported":[],"response_types_supported":[],"scopes_supported":[]}`, smart.body)
}

// fhirAccesses are all interactions that name a patient or a patient's resource.
func fhirAccesses(f file) map[string]func(*house, *user) fhirAnswer {
	note := func(id string) string {
		return `{"resourceType":"DocumentReference","id":"` + id + `","status":"current","content":[{"attachment":{"title":"x"}}],"subject":{"reference":"Patient/` + f.patientID + `"}}`
	}
	at := "/DocumentReference/" + f.noteID
	send := func(method, path, body string, headers ...string) func(*house, *user) fhirAnswer {
		return func(h *house, u *user) fhirAnswer { return h.fhir(u, method, path, body, headers...) }
	}
	entry := func(method, url, resource string) string {
		if resource != "" {
			resource = `,"resource":` + resource
		}
		return `{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"` + method + `","url":"` + url + `"}` + resource + `}]}`
	}
	return map[string]func(*house, *user) fhirAnswer{
		"Read":           send("GET", at, ""),
		"ReadVersion":    send("GET", at+"/_history/1", ""),
		"History":        send("GET", at+"/_history", ""),
		"Create":         send("POST", "/DocumentReference", note("x")),
		"Update":         send("PUT", at, note(f.noteID), "If-Match", `W/"1"`),
		"Patch":          send("PATCH", at, `[{"op":"add","path":"/language","value":"de"}]`, "Content-Type", "application/json-patch+json", "If-Match", `W/"1"`),
		"Delete":         send("DELETE", at, ""),
		"Everything":     send("GET", "/Patient/"+f.patientID+"/$everything", ""),
		"Process/GET":    send("POST", "", entry("GET", "DocumentReference/"+f.noteID, "")),
		"Process/POST":   send("POST", "", entry("POST", "DocumentReference", note("x"))),
		"Process/DELETE": send("POST", "", entry("DELETE", "DocumentReference/"+f.noteID, "")),
	}
}

// fhirCollections name no patient. Search is proved by TestDMD06_FHIRSearchShowsNothingOfOthers, exports by
// TestDMD06_DH55_AnExportShowsNothingOfOthers.
var fhirCollections = []string{
	"Capabilities", "SmartConfiguration", "Search", "SearchPage", "StartExport", "GetExport", "ReadExportFile", "EndExport",
}

// timestamps are when the bundles of answers were made.
var timestamps = regexp.MustCompile(`"timestamp":"[^"]*"`)

// clean takes out of an answer what differs with the time of day.
func clean(a fhirAnswer) fhirAnswer {
	a.header = a.header.Clone()
	a.header.Del("Date")
	a.body = timestamps.ReplaceAllString(a.body, "")
	return a
}

// A doctor off the care team, and another practice with every permission, get from every
// interaction what a random id gets, to the byte.
func TestDH55_DMD06_FHIRShowsNothingOfOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	theirs := h.file(doctor)
	stranger := h.doctor()
	h.practice = uuid.New()
	foreign := h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, everything())
	for name, atTheirs := range fhirAccesses(theirs) {
		var got fhirAnswer
		events := h.since(func() { got = clean(atTheirs(h, stranger)) })
		random := clean(fhirAccesses(nowhere())[name](h, stranger))
		if name == "Process/GET" { // a read is the failure of its entry
			require.Equal(t, "404 Not Found", got.get("entry.0.response.status").String(), got.body)
		} else {
			require.Contains(t, []int{404, 405, 422}, got.status, "%s %s", name, got.body)
		}
		require.Equal(t, random, got, name)
		denied := false
		for _, e := range events {
			denied = denied || e.GetOutcome() == auditv1.Outcome_OUTCOME_DENIED && e.GetReason() == "NOT_ON_CARE_TEAM" && e.GetPatientId() == theirs.patientID
		}
		require.True(t, denied, name)
		require.Equal(t, clean(fhirAccesses(nowhere())[name](h, foreign)), clean(atTheirs(h, foreign)), name)
	}
	h.practice = doctor.Practice
	h.unharmed(doctor, theirs)
}

// DC-14: types take permissions of their own, and who may read one may not therefore write it.
func TestDH30_FHIRTakesThePermissionsOfTheType(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	patient := h.fhir(doctor, "POST", "/Patient", `{"resourceType":"Patient"}`).id()
	note := h.fhir(doctor, "POST", "/Observation", observation(patient))
	lacking := func(p accessv1.Permission) *user {
		u := *doctor
		u.Permissions.Remove(p)
		return &u
	}
	at := "/Observation/" + note.id()
	for _, p := range []accessv1.Permission{accessv1.Permission_PERMISSION_OBSERVATIONS_READ, accessv1.Permission_PERMISSION_FHIR_READ} {
		require.Equal(t, 403, h.fhir(lacking(p), "GET", at, "").status, p)
	}
	require.Equal(t, 403, h.fhir(lacking(accessv1.Permission_PERMISSION_OBSERVATIONS_READ), "POST", "/Observation", observation(patient)).status)
	require.Equal(t, 403, h.fhir(lacking(accessv1.Permission_PERMISSION_FHIR_DELETE), "DELETE", at, "").status)
	require.Equal(t, 403, h.fhir(lacking(accessv1.Permission_PERMISSION_DIRECTORY_WRITE), "POST", "/Organization", `{"resourceType":"Organization","name":"x"}`).status)
	require.Equal(t, 201, h.fhir(doctor, "POST", "/Organization", `{"resourceType":"Organization","name":"x"}`).status)
	whole := h.fhir(lacking(accessv1.Permission_PERMISSION_OBSERVATIONS_READ), "GET", "/Patient/"+patient+"/$everything", "")
	require.Equal(t, 200, whole.status)
	require.NotContains(t, whole.body, "Heart rate")
	require.Contains(t, whole.body, `"suppressed"`)
	require.Contains(t, h.fhir(doctor, "GET", "/Patient/"+patient+"/$everything", "").body, "Heart rate")

	// A bundle is no way around: each entry takes what it takes alone.
	remove := `{"resourceType":"Bundle","type":"%s","entry":[{"request":{"method":"DELETE","url":"Observation/` + note.id() + `"}}]}`
	require.Equal(t, 403, h.fhir(lacking(accessv1.Permission_PERMISSION_FHIR_DELETE), "POST", "", fmt.Sprintf(remove, "transaction")).status)
	batch := h.fhir(lacking(accessv1.Permission_PERMISSION_FHIR_DELETE), "POST", "", fmt.Sprintf(remove, "batch"))
	require.Equal(t, "403 Forbidden", batch.get("entry.0.response.status").String(), batch.body)

	// The scope of the practice reads, but who treats nobody writes nothing clinical.
	manager := h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
	require.Equal(t, 200, h.fhir(manager, "GET", at, "").status)
	got := h.fhir(manager, "PUT", at, strings.Replace(note.body, "Heart", "Pulse", 1), "If-Match", `W/"1"`)
	require.Equal(t, "NOT_TREATED", got.reason(), got.body)
	require.Equal(t, note.body, h.fhir(doctor, "GET", at, "").body)
}

// All bundles of the sample: imported, each resource comes back byte for byte; sent as a
// transaction, with no byte changed but ids and the references to them.
func TestFHIRRoundTripOfAllBundles(t *testing.T) {
	t.Parallel()
	bundles := samples.Bundles(t)
	h := newHouse(t)
	u := h.doctor()
	for i, raw := range bundles {
		h.mustImport(u, string(raw))
		gjson.GetBytes(raw, "entry").ForEach(func(n, e gjson.Result) bool {
			if n.Int()%23 != int64(i) && i != 0 { // every resource of one, some of each
				return true
			}
			r := e.Get("resource")
			got := h.fhir(u, "GET", "/"+r.Get("resourceType").String()+"/"+r.Get("id").String(), "")
			require.Equal(t, 200, got.status, got.body)
			require.Equal(t, r.Raw, got.body)
			return true
		})
		if i < 3 {
			h.transacted(u, raw)
		}
	}
}

// transacted sends a bundle as a transaction and compares all that it made.
func (h *house) transacted(u *user, raw []byte) {
	h.t.Helper()
	done := h.fhir(u, "POST", "", string(raw))
	require.Equal(h.t, 200, done.status, done.body[:min(len(done.body), 500)])
	var pairs []string
	ids := map[int64]string{}
	gjson.GetBytes(raw, "entry").ForEach(func(n, e gjson.Result) bool {
		location := done.get(fmt.Sprintf("entry.%d.response.location", n.Int())).String()
		ids[n.Int()] = strings.Split(strings.TrimPrefix(location, fhirBase+"/"), "/")[1]
		pairs = append(pairs, `"reference": "`+e.Get("fullUrl").String()+`"`, `"reference": "`+e.Get("resource.resourceType").String()+"/"+ids[n.Int()]+`"`)
		return true
	})
	relink := strings.NewReplacer(pairs...)
	gjson.GetBytes(raw, "entry").ForEach(func(n, e gjson.Result) bool {
		if n.Int()%7 != 0 {
			return true
		}
		r := e.Get("resource")
		want := relink.Replace(strings.Replace(r.Raw, `"id": "`+r.Get("id").String()+`"`, `"id": "`+ids[n.Int()]+`"`, 1))
		got := h.fhir(u, "GET", "/"+r.Get("resourceType").String()+"/"+ids[n.Int()], "")
		require.Equal(h.t, want, got.body)
		return true
	})
}

// A transaction happens as a whole or not at all; a batch entry by entry.
func TestFHIRTransactionIsAllOrNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	bundle := func(kind, last string) string {
		return `{"resourceType":"Bundle","type":"` + kind + `","entry":[
			{"fullUrl":"urn:uuid:0b0d6c5b-6a65-4c1e-9a3a-111111111111","resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}},
			{"resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"urn:uuid:0b0d6c5b-6a65-4c1e-9a3a-111111111111"}},"request":{"method":"POST","url":"Observation"}},
			` + last + `]}`
	}
	count := func() int64 { return h.sql("SELECT count(*) FROM documents")[0][0].(int64) }
	failing := `{"request":{"method":"DELETE","url":"Observation/` + uuid.NewString() + `"}}`
	got := h.fhir(u, "POST", "", bundle("transaction", failing))
	require.Equal(t, 404, got.status, got.body)
	require.Equal(t, "Bundle.entry[2]", got.get("issue.0.expression.0").String())
	require.Zero(t, count())

	last := `{"resource":{"resourceType":"Organization","name":"x"},"request":{"method":"POST","url":"Organization"}}`
	got = h.fhir(u, "POST", "", bundle("transaction", last))
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, "transaction-response", got.get("type").String())
	require.EqualValues(t, 3, count())
	location := got.get("entry.0.response.location").String()
	patient := strings.Split(strings.TrimPrefix(location, fhirBase+"/"), "/")[1]
	require.Contains(t, h.fhir(u, "GET", "/Patient/"+patient+"/$everything", "").body, `"reference":"Patient/`+patient+`"`)

	// Duplicates are refused, and what a batch cannot do leaves the rest alone.
	twice := `{"request":{"method":"DELETE","url":"Patient/` + patient + `"}},{"request":{"method":"DELETE","url":"Patient/` + patient + `"}}`
	require.Equal(t, "ENTRY_DUPLICATE", h.fhir(u, "POST", "", bundle("transaction", twice)).reason())
	got = h.fhir(u, "POST", "", bundle("batch", last))
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, []any{"201 Created", "422 Unprocessable Entity", "201 Created"}, got.get("entry.#.response.status").Value(), "entries of a batch know nothing of each other")
	require.EqualValues(t, 5, count())
	for _, bad := range []string{`1`, `{}`, `{"request":{"method":"PATCH","url":"Patient/x"}}`, `{"request":{"method":"GET","url":"Patient?name=x"}}`, `{"request":{"method":"POST","url":"Patient"}}`} {
		got = h.fhir(u, "POST", "", bundle("transaction", bad))
		require.GreaterOrEqual(t, got.status, 400, bad)
		require.EqualValues(t, 5, count(), bad)
	}
}

// Two who change the same version: one wins, the other is told.
func TestFHIRConcurrentUpdatesLoseNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	made := h.fhir(u, "POST", "/Patient", `{"resourceType":"Patient"}`)
	const writers = 6
	status := make(chan int, writers)
	for range writers {
		go func() {
			status <- h.fhir(u, "PUT", "/Patient/"+made.id(), made.body, "If-Match", `W/"1"`).status
		}()
	}
	won := 0
	for range writers {
		switch s := <-status; s {
		case 200:
			won++
		case 409, 412:
		default:
			t.Errorf("status %d", s)
		}
	}
	require.Equal(t, 1, won)
	require.Equal(t, `W/"2"`, h.fhir(u, "GET", "/Patient/"+made.id(), "").header.Get("ETag"))
}

// The CapabilityStatement promises nothing that does not work: each interaction it lists is tried.
func TestFHIRMetadataKeepsItsPromises(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	statement := h.fhir(nil, "GET", "/metadata", "")
	patient := h.fhir(u, "POST", "/Patient", `{"resourceType":"Patient"}`).id()
	tried := 0
	statement.get("rest.0.resource").ForEach(func(_, r gjson.Result) bool {
		kind := r.Get("type").String()
		r.Get("interaction").ForEach(func(_, i gjson.Result) bool {
			method, path, body := "GET", "/"+kind+"/"+uuid.NewString(), ""
			headers := []string{}
			want := []int{404}
			switch i.Get("code").String() {
			case "read":
			case "vread":
				path += "/_history/1"
			case "history-instance":
				path += "/_history"
			case "delete":
				method = "DELETE"
			case "update":
				id := uuid.NewString()
				method, path, body, headers = "PUT", "/"+kind+"/"+id, `{"resourceType":"`+kind+`","id":"`+id+`"}`, []string{"If-Match", `W/"1"`}
				want = []int{405, 400, 422}
			case "create":
				method, path, body, want = "POST", "/"+kind, `{"resourceType":"`+kind+`"}`, []int{201, 422, 400}
			case "patch":
				method, body, headers = "PATCH", `[]`, []string{"If-Match", `W/"1"`, "Content-Type", "application/json-patch+json"}
			case "search-type":
				method, path, body, headers, want = "POST", "/"+kind+"/_search", "_count=1", []string{"Content-Type", "application/x-www-form-urlencoded"}, []int{200, 400}
			default:
				t.Errorf("%s promises %s", kind, i.Get("code"))
			}
			got := h.fhir(u, method, path, body, headers...)
			require.Contains(t, want, got.status, "%s %s: %s", kind, i.Get("code"), got.body)
			require.NotContains(t, []string{"ROUTE_UNKNOWN", "TYPE_UNKNOWN", "METHOD_NOT_ALLOWED"}, got.reason())
			tried++
			return true
		})
		return true
	})
	require.Greater(t, tried, 300)
	require.Equal(t, 200, h.fhir(u, "GET", "/Patient/"+patient+"/$everything", "").status)
}

func TestFHIREverythingPages(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	patient := h.fhir(u, "POST", "/Patient", `{"resourceType":"Patient"}`).id()
	for range 5 {
		require.Equal(t, 201, h.fhir(u, "POST", "/Observation", observation(patient)).status)
	}
	seen := map[string]bool{}
	pages := 0
	for path := "/Patient/" + patient + "/$everything?_count=2"; path != ""; pages++ {
		got := h.fhir(u, "GET", path, "")
		require.Equal(t, 200, got.status, got.body)
		got.get("entry.#.fullUrl").ForEach(func(_, url gjson.Result) bool {
			require.False(t, seen[url.String()])
			seen[url.String()] = true
			return true
		})
		path = strings.TrimPrefix(got.get(`link.#(relation=="next").url`).String(), fhirBase)
	}
	require.Len(t, seen, 6)
	require.Equal(t, 3, pages)
	only := h.fhir(u, "GET", "/Patient/"+patient+"/$everything?_type=Patient&_since=2020-01-01T00:00:00Z", "")
	require.EqualValues(t, 1, only.get("entry.#").Int())
	for asked, named := range map[string]string{
		"Observatoin": "Observatoin", "Patient,Nonsense": "Nonsense", "Organization": "Organization", "StoredFile": "StoredFile",
	} {
		got := h.fhir(u, "GET", "/Patient/"+patient+"/$everything?_type="+asked, "")
		require.Equal(t, 400, got.status, asked)
		require.Equal(t, "TYPE_UNKNOWN", got.reason())
		require.Contains(t, got.get("issue.0.diagnostics").String()+got.get("issue.0.details.text").String(), named+" in _type")
	}
	require.Zero(t, h.fhir(u, "GET", "/Patient/"+patient+"/$everything?_since=2999-01-01T00:00:00Z", "").get("entry.#").Int())
}
