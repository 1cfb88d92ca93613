package app_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// reads is a bundle that reads what is at the paths.
func reads(kind string, paths ...string) string {
	entries := make([]string, len(paths))
	for i, at := range paths {
		entries[i] = `{"request":{"method":"GET","url":"` + at + `"}}`
	}
	return `{"resourceType":"Bundle","type":"` + kind + `","entry":[` + strings.Join(entries, ",") + `]}`
}

// The answer to a bundle is bounded, however often its entries ask for the same large resource.
func TestFHIRAnswersToABundleHaveABudget(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.doctor()
	text := strings.Repeat("x", 900_000)
	large := h.fhir(u, "POST", "/Patient", `{"resourceType":"Patient","active":true,"name":[{"text":"`+text+`"},{"text":"`+text+`"}]}`)
	require.Equal(t, 201, large.status, large.body)
	small := h.fhir(u, "POST", "/Patient", `{"resourceType":"Patient"}`)
	at, little := "Patient/"+large.id(), "Patient/"+small.id()
	statuses := func(got fhirAnswer) any { return got.get("entry.#.response.status").Value() }
	const fits, full = "200 OK", "413 Request Entity Too Large"

	got := h.fhir(u, "POST", "", reads("batch", at, at, at, at))
	require.Equal(t, []any{fits, fits, fits, fits}, statuses(got))

	// What follows is refused too, and is not read.
	var events int
	for _, e := range h.since(func() { got = h.fhir(u, "POST", "", reads("batch", at, at, little, at, at, at, little, at)) }) {
		if e.GetPatientId() != "" && e.GetReason() == "" {
			events++
		}
	}
	require.Equal(t, []any{fits, fits, fits, fits, fits, full, full, full}, statuses(got))
	require.Less(t, len(got.body), 9<<20)
	for _, i := range []string{"5", "7"} {
		require.Equal(t, "ANSWER_TOO_LARGE", got.get("entry."+i+".response.outcome.issue.0.details.coding.0.code").String(), got.get("entry."+i).Raw)
	}
	require.Equal(t, 6, events, "five that are shown, and the one that had no room")

	// A transaction of reads is whole or refused; beside changes, which stand, a read fails for itself.
	got = h.fhir(u, "POST", "", reads("transaction", at, at, at, at, at))
	require.Equal(t, http.StatusRequestEntityTooLarge, got.status, "%.300s", got.body)
	require.Equal(t, "ANSWER_TOO_LARGE", got.reason())
	create := strings.Replace(reads("transaction", at, at, at, at, at), `"entry":[`, `"entry":[{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}},`, 1)
	got = h.fhir(u, "POST", "", create)
	require.Equal(t, []any{"201 Created", fits, fits, fits, fits, full}, statuses(got))
}

// What a batch asks for after it touched a decoy gets the answer of a next call: none.
func TestABatchEndsWithTheTouchOfADecoy(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	owner, toucher := h.doctor(), h.doctor()
	f, other := h.file(owner), h.file(owner)
	for _, at := range []file{f, other} {
		_, err := h.client.AddCareTeamMember(h.as(owner), &recordsv1.AddCareTeamMemberRequest{Name: at.patient + "/careTeam", User: toucher.name()})
		require.NoError(t, err)
	}
	h.arm(f, true)
	decoy, plain := "Patient/"+f.patientID, "Patient/"+other.patientID
	body := strings.Replace(reads("batch", plain, decoy, plain), `]}`,
		`,{"resource":{"resourceType":"Organization","name":"x"},"request":{"method":"POST","url":"Organization"}}]}`, 1)
	count := func() any { return h.sql("SELECT count(*) FROM documents")[0][0] }
	before := count()
	var got fhirAnswer
	events := h.since(func() { got = h.fhir(toucher, "POST", "", body) })
	require.NotEmpty(t, critical(events))
	require.True(t, auth.froze(toucher))
	require.Equal(t, []any{"200 OK", "200 OK", "401 Unauthorized", "401 Unauthorized"}, got.get("entry.#.response.status").Value(), got.body)
	require.Equal(t, "SESSION_INVALID", got.get("entry.2.response.outcome.issue.0.details.coding.0.code").String(), got.body)
	require.Equal(t, before, count(), "nothing is made either")
}
