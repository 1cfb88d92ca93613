package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
)

// public is a log as a gateway serves it: files by their path.
type public map[string][]byte

// tileFiles makes the files of a sample's first entries, by golang.org/x/mod alone.
func tileFiles(t *testing.T, s *sample, size int64) public {
	t.Helper()
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = hashes[x]
		}
		return out, nil
	})
	files := public{"checkpoint": []byte(s.signed[size])}
	for _, e := range s.entries[:size] {
		more, err := tlog.StoredHashesForRecordHash(e.Seq, e.Leaf, read)
		require.NoError(t, err)
		hashes = append(hashes, more...)
	}
	for _, tile := range tlog.NewTiles(8, 0, size) {
		raw, err := tlog.ReadTileData(tile, read)
		require.NoError(t, err)
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		files[path] = raw
		if bundle, found := strings.CutPrefix(path, "tile/0/"); found {
			files["tile/entries/"+bundle] = bundleOf(t, s.entries[tile.N*256:tile.N*256+int64(tile.W)])
		}
	}
	return files
}

func bundleOf(t *testing.T, entries []ledger.Entry) []byte {
	t.Helper()
	var out []byte
	for _, e := range entries {
		mac := hmac.New(sha256.New, e.Salt)
		mac.Write(e.Event)
		c := mac.Sum(nil)
		require.Equal(t, e.Leaf, tlog.RecordHash(c))
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(c))), c...)
	}
	return out
}

// live serves the files and verifies them with a state file that outlives the call.
type live struct {
	t     *testing.T
	g     *gateway
	files public
	state string

	mu    sync.Mutex
	asked []string
}

func newLive(t *testing.T) *live {
	l := &live{t: t, g: newGateway(t), state: filepath.Join(t.TempDir(), "state", "log.note")}
	l.g.HandleFunc("GET /v1/log/", func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/v1/log/")
		l.mu.Lock()
		l.asked = append(l.asked, path)
		l.mu.Unlock()
		body, found := l.files[path]
		if !found {
			fail(w, http.StatusNotFound, errs.New(errs.KindNotFound, "TILE_NOT_FOUND", "no such file"))
			return
		}
		_, _ = w.Write(body)
	})
	return l
}

func (l *live) verify(key string, args ...string) ran {
	l.t.Helper()
	l.asked = nil
	return carekeep(l.t, "", append([]string{"audit", "verify", "--live", l.g.url, "--ca", l.g.ca, "--key", key, "--state", l.state}, args...)...)
}

func TestDMD08_ALiveLogIsVerifiedAsItGrows(t *testing.T) {
	s := newSample(t, 3, 300, 70_000, 5)
	l := newLive(t)
	l.files = tileFiles(t, s, 303)
	got := l.verify(s.key)
	require.Zero(t, got.code, got.out+got.err)
	require.Contains(t, got.out, "303 verified now, 0 before")
	require.Contains(t, got.out, "the log is whole")

	l.files = tileFiles(t, s, 70_303)
	got = l.verify(s.key)
	require.Zero(t, got.code, got.out+got.err)
	require.Contains(t, got.out, "70000 verified now, 303 before")
	require.Contains(t, got.out, "1 checkpoints from before agree")
	require.NotContains(t, l.asked, "tile/entries/000", "what was verified is not read again")
	got = l.verify(s.key, "--all")
	require.Contains(t, got.out, "70303 verified now, 0 before")

	l.files = tileFiles(t, s, 70_308)
	got = l.verify(s.key)
	require.Zero(t, got.code, got.out+got.err)
	require.Contains(t, got.out, "5 verified now, 70303 before")
}

// Whatever a server changes, hides or takes back is found and named, and does not become what is trusted next.
func TestDMD08_ALiveLogThatLiesIsFound(t *testing.T) {
	s := newSample(t, 3, 300, 700)
	kept := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(kept, "303.note"), []byte(s.signed[303]), 0o600))
	other := newHistory(t, "other", 1103)
	for name, c := range map[string]struct {
		change func(public)
		want   string
	}{
		"an entry":              {func(f public) { flip(f, "tile/entries/001", 34*7+9) }, "entry 263: ENTRY_ALTERED"},
		"an entry at the edge":  {func(f public) { flip(f, "tile/entries/003.p/235", 34*234+9) }, "entry 1002: ENTRY_ALTERED"},
		"a length":              {func(f public) { flip(f, "tile/entries/001", 1) }, "MALFORMED"},
		"more behind a bundle":  {func(f public) { f["tile/entries/001"] = append(f["tile/entries/001"], 0) }, "MALFORMED"},
		"an upper tile":         {func(f public) { flip(f, "tile/1/000.p/3", 40) }, "TILE_DIFFERS"},
		"a short tile":          {func(f public) { f["tile/1/000.p/3"] = f["tile/1/000.p/3"][:95] }, "TILE_DIFFERS"},
		"no upper tile":         {func(f public) { delete(f, "tile/1/000.p/3") }, "TILE_DIFFERS"},
		"a hole":                {func(f public) { delete(f, "tile/entries/002") }, "entries 512 to 767: ENTRY_MISSING"},
		"a checkpoint's root":   {func(f public) { flip(f, "checkpoint", 30) }, "CHECKPOINT_INVALID"},
		"an older state":        {func(f public) { f["checkpoint"] = []byte(s.signed[3]) }, "entries 3 to 302: ROLLED_BACK"},
		"another log's history": {func(f public) { clear(f); copyTo(f, tileFiles(t, other, 1103)) }, "REWRITTEN"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLive(t)
			l.files = tileFiles(t, s, 1003)
			c.change(l.files)
			got := l.verify(s.key, "--checkpoints", kept)
			require.Equal(t, failed, got.code, got.out+got.err)
			require.Contains(t, got.out, c.want)
			require.NotContains(t, got.out, "the log is whole")
			require.NoFileExists(t, l.state)
		})
	}
}

// The state file alone finds a rollback, and a second history.
func TestDMD08_TheStateFileFindsARollback(t *testing.T) {
	s := newSample(t, 3, 300, 700)
	l := newLive(t)
	l.files = tileFiles(t, s, 1003)
	require.Zero(t, l.verify(s.key).code)
	l.files = tileFiles(t, s, 303)
	got := l.verify(s.key)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.out, "entries 303 to 1002: ROLLED_BACK")
	l.files = tileFiles(t, newHistory(t, "other", 1103), 1103)
	got = l.verify(s.key)
	require.Contains(t, got.out, "REWRITTEN")
	l.files = tileFiles(t, s, 1003)
	require.Zero(t, l.verify(s.key).code, "a lie does not take the place of what was verified")
}

// Commitments are shown for good, also of what retention let go: a server that hides the first of them, or all, hides something.
func TestDMD08_ALiveLogMayNotWithdrawEntries(t *testing.T) {
	s := newSample(t, 1003)
	l := newLive(t)
	l.files = tileFiles(t, s, 1003)
	delete(l.files, "tile/entries/000")
	delete(l.files, "tile/entries/001")
	got := l.verify(s.key)
	require.Equal(t, failed, got.code, got.out+got.err)
	require.Contains(t, got.out, "entries 0 to 255: ENTRY_MISSING")
	require.Contains(t, got.out, "entries 256 to 511: ENTRY_MISSING")
	delete(l.files, "tile/entries/002")
	delete(l.files, "tile/entries/003.p/235")
	got = l.verify(s.key)
	require.Equal(t, failed, got.code, got.out+got.err)
	require.Contains(t, got.out, "entries 768 to 1002: ENTRY_MISSING")
	require.NoFileExists(t, l.state)
}

func TestALiveLogThatIsNotThereSaysSo(t *testing.T) {
	s := newSample(t, 3)
	l := newLive(t)
	got := l.verify(s.key)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "not found")
	_, foreign := signer(t, 9)
	l.files = tileFiles(t, s, 3)
	require.Contains(t, l.verify(foreign).out, "CHECKPOINT_INVALID")
	got = l.verify(s.key, "--witness", "w+00000000+AAAA")
	require.Contains(t, got.err, "not a witness's key")
	require.NoError(t, os.MkdirAll(filepath.Dir(l.state), 0o700))
	require.NoError(t, os.WriteFile(l.state, []byte("x"), 0o600))
	require.Contains(t, l.verify(s.key).err, "holds no checkpoint of this log")
}

func flip(f public, path string, at int) {
	if _, found := f[path]; !found {
		panic("no file " + path + " among " + strconv.Itoa(len(f)))
	}
	f[path][at] ^= 1
}

func copyTo(to, from public) {
	for path, raw := range from {
		to[path] = raw
	}
}

// A witness that is asked for has to have signed the checkpoint that the server shows.
func TestDMD08_ALiveLogIsHeldToItsWitnesses(t *testing.T) {
	s := newSample(t, 3)
	l := newLive(t)
	l.files = tileFiles(t, s, 3)
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{4}, ed25519.SeedSize))
	raw := append([]byte{4}, private.Public().(ed25519.PublicKey)...)
	hash := sha256.Sum256(append([]byte("w.example/1\n"), raw...))
	key := fmt.Sprintf("w.example/1+%x+%s", hash[:4], base64.StdEncoding.EncodeToString(raw))
	got := l.verify(s.key, "--witness", key)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "not signed by witness w.example/1")
	require.NoFileExists(t, l.state)

	text, _, _ := strings.Cut(s.signed[3], "\n\n")
	sign := func(message string) string {
		sig := binary.BigEndian.AppendUint64(hash[:4:4], 1679315147)
		sig = append(sig, ed25519.Sign(private, []byte("cosignature/v1\ntime 1679315147\n"+message))...)
		return s.signed[3] + "— w.example/1 " + base64.StdEncoding.EncodeToString(sig) + "\n"
	}
	l.files["checkpoint"] = []byte(sign("another\n"))
	require.Contains(t, l.verify(s.key, "--witness", key).err, "not signed by witness w.example/1")
	l.files["checkpoint"] = []byte(sign(text + "\n"))
	got = l.verify(s.key, "--witness", key)
	require.Zero(t, got.code, got.out+got.err)
	require.Contains(t, got.out, "w.example/1 (1)")
}
