package main

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

func TestTailShowsEntriesOnceAndInOrder(t *testing.T) {
	g := signedIn(t)
	var mu sync.Mutex
	var log []*auditv1.Entry // oldest first
	background := 0
	add := func(user, method string) {
		event := &auditv1.Event{EventTime: timestamppb.New(epoch), Username: user, Method: method,
			Action: accessv1.Action_ACTION_READ, Outcome: auditv1.Outcome_OUTCOME_OK}
		log = append(log, &auditv1.Entry{Seq: int64(len(log)), Event: event, Line: evidence.Line(event)})
	}
	for _, user := range []string{"a", "b", "c"} {
		add(user, "")
	}
	g.on(t, "POST /v1/audit/entries:list", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("X-Background") == "true" {
			background++
		}
		page := &auditv1.ListEntriesResponse{}
		for i := len(log) - 1; i >= 0; i-- {
			page.Entries = append(page.Entries, log[i])
		}
		add("officer", auditv1.AuditService_ListEntries_FullMethodName) // asking is an entry as well
		answer(w, page)
	})
	ctx, cancel := context.WithCancel(t.Context())
	out := &safeBuffer{}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, &terminal{in: strings.NewReader(""), out: out, err: &safeBuffer{}, now: time.Now},
			[]string{"audit", "tail", "--last=2", "--every=1s", "--session", g.session})
	}()
	users := func(names ...string) string {
		var lines strings.Builder
		for _, name := range names {
			lines.WriteString("13:04:22 READ " + name + "→- [OK]\n")
		}
		return lines.String()
	}
	require.Eventually(t, func() bool { return out.String() == users("b", "c") }, 20*time.Second, 10*time.Millisecond, "%s", out)
	mu.Lock()
	add("d", "")
	add("e", "")
	mu.Unlock()
	require.Eventually(t, func() bool { return out.String() == users("b", "c", "d", "e") }, 20*time.Second, 10*time.Millisecond, "%s", out)
	cancel()
	require.Zero(t, <-done)
	mu.Lock()
	defer mu.Unlock()
	require.Positive(t, background, "polling must not keep the session alive")
}

func TestTailRefusesWhatWouldFloodTheLog(t *testing.T) {
	g := signedIn(t)
	for _, args := range [][]string{{"--every=10ms"}, {"--last=501"}, {"--last=-1"}} {
		got := g.run(t, "", append([]string{"audit", "tail"}, args...)...)
		require.NotZero(t, got.code, "%v", args)
	}
}
