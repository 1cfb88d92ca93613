package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
)

// safeBuffer is written by the command while the test reads it.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func entryOf(seq int64, user string) *auditv1.Entry {
	event := &auditv1.Event{EventTime: timestamppb.New(epoch), Username: user, Action: accessv1.Action_ACTION_READ, Outcome: auditv1.Outcome_OUTCOME_OK}
	return &auditv1.Entry{Seq: seq, Event: event, Line: evidence.Line(event)}
}

func sse(t *testing.T, e *auditv1.Entry) string {
	data, err := protojson.Marshal(e)
	require.NoError(t, err)
	return fmt.Sprintf("event: entry\nid: %d\ndata: %s\n\n", e.GetSeq()+1, data)
}

// A tail begins with the last entries, and where the server ends it, the next one goes on where it was.
func TestTailShowsEntriesOnceAndGoesOn(t *testing.T) {
	g := signedIn(t)
	g.on(t, "POST /v1/audit/entries:list", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &auditv1.ListEntriesResponse{Entries: []*auditv1.Entry{entryOf(8, "b"), entryOf(7, "a")}})
	})
	asked := make(chan string, 10)
	first := true
	g.on(t, "GET /v1/audit/entries:tail", func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.RawQuery + " " + r.Header.Get("X-Background")
		w.Header().Set("Content-Type", "text/event-stream")
		if first {
			first = false
			_, _ = fmt.Fprint(w, "retry: 3000\n\n: heartbeat\nid: 9\n\n", sse(t, entryOf(9, "c")), ": heartbeat\nid: 12\n\n")
			return
		}
		_, _ = fmt.Fprint(w, sse(t, entryOf(12, "d")), "event: end\ndata: ",
			`{"code":16,"message":"the session has ended","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SESSION_ENDED","domain":"carekeep"}]}`, "\n\n")
	})
	got := g.run(t, "", "audit", "tail", "--last=2", "--risk", "high", "--patient", someID)
	require.NotZero(t, got.code, "the session ended")
	require.Contains(t, got.err, "run carekeep sign-in")
	var want strings.Builder
	for _, user := range []string{"a", "b", "c", "d"} {
		want.WriteString("13:04:22 READ " + user + "→- [OK]\n")
	}
	require.Equal(t, want.String(), got.out)
	require.Equal(t, "fromSeq=9&minRisk=RISK_HIGH&patientId="+someID+" true", <-asked)
	require.Equal(t, "fromSeq=12&minRisk=RISK_HIGH&patientId="+someID+" true", <-asked)
}

func TestTailEndsWhenInterrupted(t *testing.T) {
	g := signedIn(t)
	g.on(t, "GET /v1/audit/entries:tail", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, sse(t, entryOf(3, "a")))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	out := &safeBuffer{}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, &terminal{in: strings.NewReader(""), out: out, err: &safeBuffer{}, now: time.Now},
			[]string{"audit", "tail", "--last=0", "--session", g.session})
	}()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "READ a") }, 20*time.Second, 10*time.Millisecond)
	cancel()
	require.Zero(t, <-done)
}

func TestTailRefusesBadArguments(t *testing.T) {
	g := signedIn(t)
	for _, args := range [][]string{{"--last=501"}, {"--last=-1"}, {"--risk=odd"}} {
		got := g.run(t, "", append([]string{"audit", "tail"}, args...)...)
		require.NotZero(t, got.code, "%v", args)
	}
}

func TestDH38_ExportForASIEM(t *testing.T) {
	g := signedIn(t)
	file := filepath.Join(t.TempDir(), "log.cef")
	whole := true
	g.on(t, "POST /v1/audit/events:export", func(w http.ResponseWriter, r *http.Request) {
		var request auditv1.ExportEventsRequest
		if !take(t, r, &request) {
			return
		}
		require.Equal(t, auditv1.EventFormat_EVENT_FORMAT_CEF, request.GetFormat())
		require.Equal(t, int64(40), request.GetFromSeq())
		require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, request.GetOutcome())
		_, _ = fmt.Fprintln(w, `{"result":{"lines":["CEF:0|a","CEF:0|b"],"nextSeq":"50"}}`)
		if whole {
			_, _ = fmt.Fprintln(w, `{"result":{"lines":["CEF:0|c"],"nextSeq":"61","done":true}}`)
		}
	})
	args := []string{"audit", "export", "--format", "cef", "--from-seq", "40", "--outcome", "denied", "--out"}
	got := g.run(t, "", append(args, file)...)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "3 entries; --from-seq 61 goes on")
	lines, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "CEF:0|a\nCEF:0|b\nCEF:0|c\n", string(lines))

	whole = false
	got = g.run(t, "", append(args, file+"2")...)
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "2 entries were written, --from-seq 50 goes on")
	require.FileExists(t, file+"2")

	for want, args := range map[string][]string{
		"proofs are of the whole log": {"--from-seq", "3"},
		"must be one of":              {"--format", "xml"},
		"--from-seq: use 0 or more":   {"--format", "json", "--from-seq=-1"},
	} {
		got := g.run(t, "", append([]string{"audit", "export", "--out", file + "3"}, args...)...)
		require.NotZero(t, got.code)
		require.Contains(t, got.err, want)
	}
}
