package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/ledger"
)

// ran is what a command left behind.
type ran struct {
	out, err string
	code     int
}

// carekeep runs the command line in this process.
func carekeep(t *testing.T, stdin string, args ...string) ran {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), &terminal{in: strings.NewReader(stdin), out: &out, err: &errs, now: time.Now}, args)
	return ran{out: out.String(), err: errs.String(), code: code}
}

func TestDMD08_VerifyAcceptsAWholeLog(t *testing.T) {
	s := newSample(t, 3, 300, 7)
	file := s.full(t)
	root := rootOf(t, s)
	for name, args := range map[string][]string{
		"key and argument":  {"--key", s.key, file},
		"key file and flag": {"--export", file, "--key", write(t, "log.key", []byte("# of the log\n"+s.key+"\n"))},
	} {
		t.Run(name, func(t *testing.T) {
			got := carekeep(t, "", append([]string{"audit", "verify"}, args...)...)
			require.Zero(t, got.code, got.out+got.err)
			require.Contains(t, got.out, "310, of which 310 in full")
			require.Contains(t, got.out, "3 with a valid signature")
			require.Contains(t, got.out, root)
			require.Contains(t, got.out, "the log is whole")
			require.Empty(t, got.err)
		})
	}
}

func rootOf(t *testing.T, s *sample) string {
	t.Helper()
	_, keys, err := ledger.ParseKeys(s.key)
	require.NoError(t, err)
	c, err := ledger.OpenCheckpoint(s.signed[int64(len(s.entries))], keys)
	require.NoError(t, err)
	return c.Root.String()
}

func TestDMD08_VerifyNamesTheAlteredEntry(t *testing.T) {
	s := newSample(t, 3, 4)
	s.entries[5].Event[len(s.entries[5].Event)-1] ^= 1
	got := carekeep(t, "", "audit", "verify", "--key", s.key, s.full(t))
	require.Equal(t, 1, got.code)
	require.Contains(t, got.out, "entry 5: ENTRY_ALTERED")
	require.Contains(t, got.err, "entry 5")
	require.NotContains(t, got.out, "the log is whole")
}

func TestDMD08_VerifyRefusesACutOffFile(t *testing.T) {
	s := newSample(t, 3, 4)
	content, err := os.ReadFile(s.full(t))
	require.NoError(t, err)
	lines := bytes.SplitAfter(content, []byte("\n"))
	short := write(t, "short.jsonl", bytes.Join(lines[:len(lines)-3], nil))
	got := carekeep(t, "", "audit", "verify", "--key", s.key, short)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.out, "cut off")
	require.Contains(t, got.out, "entries 3 to 6: UNCOVERED", "the checkpoint over them is gone with the end")
}

func TestDMD08_VerifyRefusesAnotherKey(t *testing.T) {
	s := newSample(t, 3, 4)
	_, other := signer(t, 8)
	got := carekeep(t, "", "audit", "verify", "--key", other, s.full(t))
	require.Equal(t, 1, got.code)
	require.Contains(t, got.out, "CHECKPOINT_INVALID")
}

func TestDMD08_KeptCheckpointsShowALogThatWasCutBack(t *testing.T) {
	s := newSample(t, 3, 4)
	kept := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(kept, "2026-11-21"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(kept, "2026-11-21", "7.note"), []byte(s.signed[7]), 0o600))
	got := carekeep(t, "", "audit", "verify", "--key", s.key, "--checkpoints", kept, s.full(t))
	require.Zero(t, got.code, got.out+got.err)
	require.Contains(t, got.out, "1 checkpoints from outside the database agree")

	s.entries = s.entries[:3]
	cut := s.full(t)
	require.Zero(t, carekeep(t, "", "audit", "verify", "--key", s.key, cut).code, "alone, a log that was cut back looks whole")
	got = carekeep(t, "", "audit", "verify", "--key", s.key, "--checkpoints", kept, cut)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.out, "entries 3 to 6: ROLLED_BACK")
}

func TestVerifySaysWhatToChange(t *testing.T) {
	file := newSample(t, 1).full(t)
	for want, args := range map[string][]string{
		"no export given":               {"--key", "x"},
		"two exports given":             {"--key", "x", "--export", file, file},
		"missing flags: --key":          {file},
		"neither a verifier key":        {"--key", "no-such-key", file},
		"no verifier key in the file":   {"--key", write(t, "empty.key", nil), file},
		"no such file or directory":     {"--key", "x", file + ".other"},
		"no-such-folder: no such file":  {"--key", "x", "--checkpoints", "/no-such-folder", file},
		"unknown flag --no-such-switch": {"--no-such-switch", file},
	} {
		t.Run(want, func(t *testing.T) {
			got := carekeep(t, "", append([]string{"audit", "verify"}, args...)...)
			require.NotZero(t, got.code)
			require.Contains(t, got.err, want)
			require.Empty(t, got.out)
		})
	}
}
