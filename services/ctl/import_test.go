package main

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func line(w http.ResponseWriter, m *recordsv1.ImportBundleResponse) {
	raw, _ := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	_, _ = w.Write(append(raw, '\n'))
	_ = http.NewResponseController(w).Flush()
}

func progressOf(created, refused int64) *recordsv1.ImportBundleResponse {
	return &recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Progress{Progress: &recordsv1.ImportProgress{Created: created, Refused: refused}}}
}

func resultOf(created, refused int64) *recordsv1.ImportBundleResponse {
	return &recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Result{Result: &recordsv1.ImportProgress{Created: created, Refused: refused}}}
}

func problem(index int64, reason, message string) *recordsv1.ImportBundleResponse {
	return &recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Problem{Problem: &recordsv1.ImportProblem{Index: index, Reason: reason, Message: message}}}
}

func TestImportPrintsProgressAndEveryRefusedEntry(t *testing.T) {
	g := signedIn(t)
	var queries, bodies []string
	g.on(t, "POST /v1/patients:import", func(w http.ResponseWriter, r *http.Request) {
		noError(t, http.NewResponseController(w).EnableFullDuplex())
		first := make([]byte, 1)
		_, err := io.ReadFull(r.Body, first)
		noError(t, err)
		line(w, progressOf(500, 1)) // before the rest of the body was read
		raw, err := io.ReadAll(r.Body)
		noError(t, err)
		queries, bodies = append(queries, r.URL.RawQuery), append(bodies, r.Header.Get("Content-Type")+" "+string(first)+string(raw))
		line(w, problem(17, "ENTRY_MALFORMED", "birthDate must be a date"))
		line(w, problem(0, "ENTRY_OTHER_PATIENT", "the entry is about another patient"))
		line(w, resultOf(9120, 2))
	})
	one, two := write(t, "one.json", []byte(`{"one":1}`)), write(t, "two.json", []byte(`{"two":2}`))
	got := g.run(t, "", "import", one, two, "--doctor", "users/"+someID, "--patient", someID).secretless(t)
	require.Equal(t, failed, got.code)
	require.Equal(t, one+": entry 17: ENTRY_MALFORMED: birthDate must be a date\n"+one+": entry 0: ENTRY_OTHER_PATIENT: the entry is about another patient\n"+
		two+": entry 17: ENTRY_MALFORMED: birthDate must be a date\n"+two+": entry 0: ENTRY_OTHER_PATIENT: the entry is about another patient\n", got.out)
	require.Contains(t, got.err, one+": 500 created, 0 updated, 0 unchanged, 1 refused, ")
	require.Contains(t, got.err, two+": 9120 created, 0 updated, 0 unchanged, 2 refused\n")
	require.Contains(t, got.err, "4 entries were refused; all others are stored")
	require.Equal(t, []string{`application/fhir+json {"one":1}`, `application/fhir+json {"two":2}`}, bodies)
	require.Equal(t, "doctor=users%2F"+someID+"&patient=patients%2F"+someID, queries[0])

	got = g.run(t, "", "import", one, "--doctor", "dr.smith")
	require.Contains(t, got.err, `--doctor: "dr.smith" is not like users/`)
	require.Len(t, queries, 2)
}

func TestImportSendsTheWholeFileAgainAfterARateLimit(t *testing.T) {
	g := signedIn(t)
	var calls atomic.Int32
	var got string
	g.on(t, "POST /v1/patients:import", func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1)%2 == 1 {
			_, _ = io.CopyN(io.Discard, r.Body, 3)
			fail(w, http.StatusTooManyRequests, errs.New(errs.KindLimited, "RATE_LIMITED", "too many").WithRetry(time.Millisecond))
			return
		}
		raw, err := io.ReadAll(r.Body)
		noError(t, err)
		got = string(raw)
		line(w, resultOf(1, 0))
	})
	ran := g.run(t, "", "import", write(t, "b.json", []byte(`{"bundle":1}`)))
	require.Zero(t, ran.code, ran.err)
	require.Equal(t, `{"bundle":1}`, got)

	ran = g.run(t, `{"bundle":2}`, "import", "-")
	require.Equal(t, failed, ran.code)
	require.Contains(t, ran.err, "standard input cannot be read again")
	ran = g.run(t, `{"bundle":2}`, "import", "-")
	require.Zero(t, ran.code, ran.err)
	require.Equal(t, `{"bundle":2}`, got)
}

func TestImportNamesAFileThatIsNotThere(t *testing.T) {
	got := signedIn(t).run(t, "", "import", "no-such-file.json")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "import no-such-file.json: open no-such-file.json: no such file or directory\n")
}

func TestAnImportThatBreaksOffIsNoSuccess(t *testing.T) {
	for want, end := range map[string]func(w http.ResponseWriter){
		"ended before the totals":     func(http.ResponseWriter) {},
		"too slow (BODY_STALLED)":     func(w http.ResponseWriter) { writeError(w, errs.New(errs.KindDeadline, "BODY_STALLED", "too slow")) },
		"broke off":                   func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"is this a carekeep gateway?": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"progress":3}`)) },
	} {
		t.Run(want, func(t *testing.T) {
			g := signedIn(t)
			g.on(t, "POST /v1/patients:import", func(w http.ResponseWriter, _ *http.Request) {
				line(w, progressOf(500, 0))
				end(w)
			})
			got := g.run(t, "", "import", write(t, "b.json", []byte(`{}`)))
			require.Equal(t, failed, got.code)
			require.Contains(t, got.err, want)
			require.Contains(t, got.err, "running the import again adds the rest")
		})
	}
}
