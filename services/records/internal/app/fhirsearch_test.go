package app_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// search posts a search as FHIR clients do.
func (h *house) search(u *user, resourceType, form string) fhirAnswer {
	h.t.Helper()
	got := h.fhir(u, "POST", "/"+resourceType+"/_search", form, "Content-Type", "application/x-www-form-urlencoded")
	require.Equal(h.t, 200, got.status, got.body)
	return got
}

// called is a patient with an email address of its own.
func called(name string) string {
	return `{"resourceType":"Patient","telecom":[{"system":"email","value":"` + name + `@example.org"}]}`
}

// What FHIR stores by any of its ways is found, and what it deletes is not.
func TestFHIRSearchFollowsEveryChange(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	found := func(name string) int64 {
		return h.search(u, "Patient", "email="+name+"@example.org").get("entry.#").Int()
	}
	made := h.fhir(u, "POST", "/Patient", called("one"))
	require.Equal(t, 201, made.status, made.body)
	require.EqualValues(t, 1, found("one"))
	require.Equal(t, made.body, h.search(u, "Patient", "email=one@example.org").get("entry.0.resource").Raw)

	at := "/Patient/" + made.id()
	put := h.fhir(u, "PUT", at, strings.Replace(made.body, "one@", "two@", 1), "If-Match", `W/"1"`)
	require.Equal(t, 200, put.status, put.body)
	require.Zero(t, found("one"))
	require.EqualValues(t, 1, found("two"))

	bundle := `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":%s,"request":{"method":"POST","url":"Patient","ifNoneExist":"email=%s@example.org"}}]}`
	for range 2 { // the second finds what the first has made
		got := h.fhir(u, "POST", "", fmt.Sprintf(bundle, called("three"), "three"))
		require.Equal(t, 200, got.status, got.body)
		require.EqualValues(t, 1, found("three"))
	}
	require.Equal(t, 204, h.fhir(u, "DELETE", at, "").status)
	require.Zero(t, found("two"))
}

func TestFHIRConditionalCreate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	create := func(condition string) fhirAnswer {
		return h.fhir(u, "POST", "/Patient", called("one"), "If-None-Exist", condition)
	}
	first := create("email=one@example.org")
	require.Equal(t, 201, first.status, first.body)
	again := create("email=one@example.org")
	require.Equal(t, 200, again.status, again.body)
	require.Equal(t, first.id(), again.id())
	require.Equal(t, 201, create("email=other@example.org").status)
	require.Equal(t, 412, create("email=one@example.org").status, "two match")
	for _, bad := range []string{"%", "_count=1", "name=x"} {
		require.Equal(t, 400, create(bad).status, bad)
	}
}

// Creates under the same condition at the same time make one resource, alone and in transactions; whoever is
// later is answered with it.
func TestFHIRConditionalCreatesAtOnceMakeOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	for round := range 4 {
		name := fmt.Sprintf("round%d", round)
		condition := "email=" + name + "@example.org"
		bundle := `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` + called(name) +
			`,"request":{"method":"POST","url":"Patient","ifNoneExist":"` + condition + `"}}]}`
		var mu sync.Mutex
		statuses, ids := map[string]int{}, map[string]int{}
		var work sync.WaitGroup
		for i := range 8 {
			work.Go(func() {
				status, location := "", ""
				if i%2 == 0 {
					got := h.fhir(u, "POST", "/Patient", called(name), "If-None-Exist", condition)
					status, location = strconv.Itoa(got.status), got.header.Get("Location")
				} else {
					got := h.fhir(u, "POST", "", bundle)
					status, location = got.get("entry.0.response.status").String(), got.get("entry.0.response.location").String()
				}
				mu.Lock()
				defer mu.Unlock()
				statuses[status[:min(3, len(status))]]++
				ids[location]++
			})
		}
		work.Wait()
		require.Equal(t, map[string]int{"201": 1, "200": 7}, statuses)
		require.Len(t, ids, 1)
		require.EqualValues(t, 1, h.search(u, "Patient", condition).get("entry.#").Int())
	}
	twice := `{"resource":` + called("twice") + `,"request":{"method":"POST","url":"Patient","ifNoneExist":"email=twice@example.org"}}`
	got := h.fhir(u, "POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[`+twice+`,`+twice+`]}`)
	require.Equal(t, "ENTRY_DUPLICATE", got.reason(), got.body)
}

// A search shows nothing of patients of another doctor or of another practice: not in its
// entries, nor by a link, nor by what a conditional create answers.
func TestDMD06_FHIRSearchShowsNothingOfOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, stranger := h.doctor(), h.doctor()
	var ids []string
	for range 3 {
		ids = append(ids, h.fhir(doctor, "POST", "/Patient", called("one")).id())
	}
	first := h.search(doctor, "Patient", "email=one@example.org&_count=2")
	next := first.get(`link.#(relation=="next").url`).String()
	require.NotEmpty(t, next)
	require.NotContains(t, next, "example.org", "a URL says nothing of a patient")
	next = strings.TrimPrefix(next, fhirBase)
	second := h.fhir(doctor, "GET", next, "")
	require.Equal(t, 200, second.status, second.body)
	require.EqualValues(t, 1, second.get("entry.#").Int())
	require.False(t, second.get(`link.#(relation=="next")`).Exists())
	for _, id := range ids {
		require.Equal(t, 1, strings.Count(first.body+second.body, `"id":"`+id+`"`))
	}

	h.practice = uuid.New()
	foreign := h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, everything())
	for who, u := range map[string]*user{"off the care team": stranger, "another practice": foreign} {
		for _, form := range []string{"email=one@example.org", "_id=" + ids[0]} {
			require.Zero(t, h.search(u, "Patient", form).get("entry.#").Int(), "%s: %s", who, form)
		}
		require.Equal(t, "PAGE_TOKEN_INVALID", h.fhir(u, "GET", next, "").reason(), who)
		require.Equal(t, 201, h.fhir(u, "POST", "/Patient", called("one"), "If-None-Exist", "email=one@example.org").status, who)
	}
}

// A read of a transaction that fails is the failure of its entry: the changes stand, and
// the client has to learn what they made.
func TestFHIRTransactionTellsOfItsChangesWhenAReadFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	got := h.fhir(u, "POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[
		{"request":{"method":"GET","url":"Patient/`+uuid.NewString()+`"}},
		{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}]}`)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, []any{"404 Not Found", "201 Created"}, got.get("entry.#.response.status").Value())
	require.Equal(t, "OperationOutcome", got.get("entry.0.response.outcome.resourceType").String())
	require.NotEmpty(t, got.get("entry.1.response.location").String())
}

// A JSON Patch changes what it names and no other byte.
func TestFHIRPatchLeavesOtherBytesAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	patient := h.fhir(u, "POST", "/Patient", `{"resourceType":"Patient"}`).id()
	made := h.fhir(u, "POST", "/Observation", observation(patient))
	at := "/Observation/" + made.id()
	got := h.fhir(u, "PATCH", at, `[{"op":"test","path":"/status","value":"final"},{"op":"replace","path":"/code/text","value":"Pulse"}]`,
		"Content-Type", "application/json-patch+json", "If-Match", `W/"1"`)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, `W/"2"`, got.header.Get("ETag"))
	want := strings.Replace(made.body, "Heart rate", "Pulse", 1)
	require.Equal(t, want, h.fhir(u, "GET", at, "").body)
	history := h.fhir(u, "GET", at+"/_history", "")
	require.Equal(t, want, history.get("entry.0.resource").Raw)
	require.Equal(t, made.body, history.get("entry.1.resource").Raw)
}
