package ledger

import (
	"bytes"
	"testing"

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
	for b.Loop() {
		report, err := Verify(bytes.NewReader(file), s.trust)
		require.NoError(b, err)
		require.NoError(b, report.Err())
	}
	b.ReportMetric(float64(b.N*len(s.entries))/b.Elapsed().Seconds(), "entries/s")
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
