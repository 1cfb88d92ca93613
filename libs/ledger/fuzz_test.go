package ledger

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// FuzzVerify: no file makes the verifier panic, and only the whole one passes.
func FuzzVerify(f *testing.F) {
	s := newSample(f, 3, 2)
	whole := s.file(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(newSample(f).file(f))
	f.Add([]byte("{\"header\":{\"format\":\"carekeep-audit-export/1\",\"log\":\"test.example/audit\",\"scope\":\"full\"}}\n{\"tile\":{\"level\":-1}}\n{\"entry\":{\"seq\":-1}}\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		report, err := Verify(bytes.NewReader(file), s.trust)
		if err == nil && report.Err() == nil && report.Entries > 0 {
			require.LessOrEqual(t, report.Entries, int64(len(s.entries)))
			require.Contains(t, []string{s.checkpoints[0].Root.String(), s.checkpoints[1].Root.String()}, report.Root.String())
		}
	})
}

// FuzzParseCheckpoint: what parses is written back as the same text.
func FuzzParseCheckpoint(f *testing.F) {
	f.Add(Checkpoint{Log: testLog, Size: 1, Time: epoch}.Text())
	f.Add("a\n1\n\ntime\n")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := ParseCheckpoint(text); err == nil {
			require.Equal(t, text, c.Text())
		}
	})
}

// FuzzOpenCheckpoint: what opens was signed by us.
func FuzzOpenCheckpoint(f *testing.F) {
	signer, keys, _ := testKey(f)
	c := Checkpoint{Log: testLog, Size: 1, Time: epoch}
	signed, err := c.Sign(signer)
	require.NoError(f, err)
	f.Add(signed)
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := OpenCheckpoint(text, keys); err == nil {
			require.Equal(t, c, got)
		}
		_, _ = note.Open([]byte(text), keys)
	})
}

// FuzzParseKeys: key files come from operators.
func FuzzParseKeys(f *testing.F) {
	_, _, key := testKey(f)
	f.Add(key)
	f.Fuzz(func(t *testing.T, text string) {
		if log, keys, err := ParseKeys(text); err == nil {
			require.NotEmpty(t, log)
			require.NotNil(t, keys)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s := newSample(b, 5000, 5000, 5000, 5000)
	file := s.file(b)
	b.SetBytes(int64(len(file)))
	before := cpu()
	for b.Loop() {
		report, err := Verify(bytes.NewReader(file), s.trust)
		require.NoError(b, err)
		require.NoError(b, report.Err())
	}
	reportEntries(b, len(s.entries), before)
}

func BenchmarkFrontier(b *testing.B) {
	tree := NewFrontier()
	leaf := testEntry(b, 0).Leaf
	for b.Loop() {
		if _, err := tree.Append(leaf); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzFastLine: what the quick reader takes, the strict decoder takes, and both read the same.
func FuzzFastLine(f *testing.F) {
	s := newSample(f, 3)
	for _, l := range s.lines {
		text, err := json.Marshal(l)
		require.NoError(f, err)
		f.Add(append(text, '\n'))
	}
	seven := int64(7)
	for _, e := range []Entry{{Seq: 1, Leaf: s.entries[0].Leaf, LetGo: &seven}, {Seq: 5, Leaf: s.entries[1].Leaf}, s.entries[2]} {
		text, err := json.Marshal(line{Entry: &e})
		require.NoError(f, err)
		f.Add(append(text, '\n'))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		quick, ok := fastEntry(text)
		if !ok {
			return
		}
		strict, err := decodeLine(text)
		require.NoError(t, err, "%s", text)
		require.Equal(t, strict, quick, "%s", text)
	})
}

// Every entry that the writer writes is read the quick way; else the quick way would silently be no way at all.
func TestTheWritersEntriesAreReadQuickly(t *testing.T) {
	s := newSample(t, 300)
	for _, e := range s.entries {
		e.Index.Where = &Where{Session: e.Index.User, Address: netip.MustParseAddr("2001:db8::1"), Risk: 2, Service: 3, Method: "/carekeep.records.v1.RecordsService/GetPatient"}
		text, err := json.Marshal(line{Entry: &e})
		require.NoError(t, err)
		l, ok := fastEntry(append(text, '\n'))
		require.True(t, ok, "%s", text)
		require.Equal(t, &e, l.Entry)
	}
}

// BenchmarkVerifyItems is BenchmarkVerify without a file: what a database costs beside its own work.
func BenchmarkVerifyItems(b *testing.B) {
	s := newSample(b, 5000, 5000, 5000, 5000)
	var chunks [][]Item
	for chunk := range slices.Chunk(s.lines[1:], 2048) {
		items := make([]Item, len(chunk))
		for i, l := range chunk {
			items[i].Entry = l.Entry
			if l.Tile != nil {
				items[i].Tile = &Tile{Level: l.Tile.Level, Index: l.Tile.Index, Hashes: l.Tile.Hashes}
			}
			if l.Checkpoint != nil {
				items[i].Checkpoint = l.Checkpoint.Note
			}
		}
		chunks = append(chunks, items)
	}
	before := cpu()
	for b.Loop() {
		report, err := VerifyItems(epoch.Add(time.Hour), func(yield func([]Item, error) bool) {
			for _, chunk := range chunks {
				if !yield(chunk, nil) {
					return
				}
			}
		}, s.trust)
		require.NoError(b, err)
		require.NoError(b, report.Err())
	}
	reportEntries(b, len(s.entries), before)
}

// reportEntries says how fast it was, and how much CPU an entry took: on a machine that others use as well only the
// latter can be compared. n entries a second on two processors are 2 s / n of CPU an entry.
func reportEntries(b *testing.B, entries int, before time.Duration) {
	n := float64(b.N * entries)
	b.ReportMetric(n/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/n, "cpu-ns/entry")
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
