package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
)

// items is the log as the server streams it to a practice whose entries are every third.
func (s *sample) items() []proto.Message {
	var all []proto.Message
	for _, e := range s.entries {
		item := &auditv1.ExportedEntry{Seq: e.Seq, LeafHash: e.Leaf[:]}
		if e.Seq%3 == 0 {
			item.EventBytes, item.Salt = e.Event, e.Salt
		}
		all = append(all, &auditv1.ExportResponse{Item: &auditv1.ExportResponse_Entry{Entry: item}})
		if signed, ok := s.signed[e.Seq+1]; ok {
			all = append(all, &auditv1.ExportResponse{Item: &auditv1.ExportResponse_Checkpoint{Checkpoint: signed}})
		}
	}
	return all
}

// serveLog serves an export, and as newest checkpoint that of the given size.
func (g *gateway) serveLog(t *testing.T, s *sample, size int64, broken error, items []proto.Message) {
	t.Helper()
	g.on(t, "GET /v1/audit/checkpoint", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &auditv1.Checkpoint{Note: s.signed[size], Size: size, VerifierKey: s.key})
	})
	g.on(t, "POST /v1/audit:export", func(w http.ResponseWriter, r *http.Request) {
		if take(t, r, &auditv1.ExportRequest{}) {
			results(w, broken, items...)
		}
	})
}

func TestDMD08_AnExportVerifies(t *testing.T) {
	s := newSample(t, 3, 300, 7)
	g := signedIn(t)
	g.serveLog(t, s, 303, nil, s.items()) // by the time of the export there is a newer one
	file := filepath.Join(t.TempDir(), "log.jsonl")
	got := g.run(t, "", "audit", "export", "--out", file)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "310 entries, of which 104 in full")
	require.Empty(t, got.out)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	got = carekeep(t, "", "audit", "verify", "--key", s.key, file)
	require.Zero(t, got.code, got.out+got.err)
	require.Contains(t, got.out, "310, of which 104 in full")
	require.Contains(t, got.out, "scope        practice")

	got = g.run(t, "", "audit", "export", "--out", file)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "exists: remove it or name another file")

	piped := g.run(t, "", "audit", "export", "--out", "-")
	require.Zero(t, piped.code, piped.err)
	require.Zero(t, carekeep(t, piped.out, "audit", "verify", "--key", s.key, "-").code)
}

func TestDMD08_AnExportShowsWhatTheServerAltered(t *testing.T) {
	s := newSample(t, 3, 4)
	s.entries[6].Event[0] ^= 1
	g := signedIn(t)
	g.serveLog(t, s, 7, nil, s.items())
	file := filepath.Join(t.TempDir(), "log.jsonl")
	require.Zero(t, g.run(t, "", "audit", "export", "--out", file).code)
	got := carekeep(t, "", "audit", "verify", "--key", s.key, file)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.out, "entry 6: ENTRY_ALTERED")
}

func TestDMD08_AnExportOfADamagedLogIsWritten(t *testing.T) {
	s := newSample(t, 3, 4)
	s.entries = slices.Delete(s.entries, 4, 5)
	g := signedIn(t)
	g.serveLog(t, s, 7, nil, s.items())
	file := filepath.Join(t.TempDir(), "log.jsonl")
	got := g.run(t, "", "audit", "export", "--out", file)
	require.Zero(t, got.code, got.err)
	got = carekeep(t, "", "audit", "verify", "--key", s.key, file)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.out, "entry 4: ENTRY_MISSING")
}

func TestAnExportThatBreaksOffLeavesNoFile(t *testing.T) {
	s := newSample(t, 3, 4)
	items := s.items() // 3 entries, checkpoint, 4 entries, checkpoint
	for name, c := range map[string]struct {
		broken error
		items  []proto.Message
		want   string
	}{
		"an error ends it":       {errs.New(errs.KindUnavailable, "UNAVAILABLE", "audit does not answer"), items[:2], "audit does not answer (UNAVAILABLE)"},
		"after a checkpoint":     {nil, items[:4], "ended early, with 3 entries and a checkpoint of size 3"},
		"between checkpoints":    {nil, items[:6], "ended early, with 5 entries and a checkpoint of size 3"},
		"with nothing":           {nil, nil, "ended early, with 0 entries"},
		"a leaf hash is no hash": {nil, []proto.Message{&auditv1.ExportResponse{Item: &auditv1.ExportResponse_Entry{Entry: &auditv1.ExportedEntry{LeafHash: []byte{1}}}}}, "leaf hash of 1 bytes"},
		"a checkpoint is none":   {nil, []proto.Message{&auditv1.ExportResponse{Item: &auditv1.ExportResponse_Checkpoint{Checkpoint: "x"}}}, "malformed checkpoint"},
		"something unknown":      {nil, []proto.Message{&auditv1.ExportResponse{}}, "neither entry nor checkpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			g := signedIn(t)
			g.serveLog(t, s, 7, c.broken, c.items)
			file := filepath.Join(t.TempDir(), "log.jsonl")
			got := g.run(t, "", "audit", "export", "--out", file)
			require.Equal(t, failed, got.code)
			require.Contains(t, got.err, c.want)
			require.NoFileExists(t, file)
		})
	}
}

func TestAnExportOverABrokenConnectionLeavesNoFile(t *testing.T) {
	s := newSample(t, 3)
	g := signedIn(t)
	g.on(t, "GET /v1/audit/checkpoint", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &auditv1.Checkpoint{Note: s.signed[3], Size: 3})
	})
	g.on(t, "POST /v1/audit:export", func(w http.ResponseWriter, _ *http.Request) {
		results(w, nil, s.items()...)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	file := filepath.Join(t.TempDir(), "log.jsonl")
	got := g.run(t, "", "audit", "export", "--out", file)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "broke off")
	require.NoFileExists(t, file)
}

func TestDMD08_KeptCheckpointsFitTheirKey(t *testing.T) {
	s := newSample(t, 3, 4)
	g := signedIn(t)
	signed, key := s.signed[3], s.key
	g.on(t, "GET /v1/audit/checkpoint", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &auditv1.Checkpoint{Note: signed, VerifierKey: key})
	})
	got := g.run(t, "", "audit", "checkpoint")
	require.Equal(t, signed+"\nverifier key "+s.key+"\n", got.out)

	folder := filepath.Join(t.TempDir(), "kept")
	for range 2 { // twice the same is no error
		require.Zero(t, g.run(t, "", "audit", "checkpoint", "--keep", folder).code)
	}
	signed = s.signed[7]
	require.Zero(t, g.run(t, "", "audit", "checkpoint", "--keep", folder).code)
	got = carekeep(t, "", "audit", "verify", "--key", filepath.Join(folder, "verifier.key"), "--checkpoints", folder, s.full(t))
	require.Zero(t, got.code, got.out+got.err)
	require.Contains(t, got.out, "2 checkpoints from outside the database agree")

	// Whoever holds the server and signs with a key of its own is found out.
	forger, other := signer(t, 8)
	forged, err := ledger.Checkpoint{Log: testLog, Size: 8, Time: epoch}.Sign(forger)
	require.NoError(t, err)
	signed, key = forged, other
	got = g.run(t, "", "audit", "checkpoint", "--keep", folder)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "does not fit the key that was kept")
	kept, err := os.ReadDir(folder)
	require.NoError(t, err)
	var names []string
	for _, f := range kept {
		names = append(names, f.Name())
	}
	require.Equal(t, "3.note 7.note verifier.key", strings.Join(names, " "))
}
