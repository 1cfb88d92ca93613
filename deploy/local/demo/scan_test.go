package demo

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func scan(t *testing.T, content string) []hit {
	t.Helper()
	s := newScanner(patterns([]secret{{"name", "Marquardt"}, {"note", noteText}, {"number", "999-65-9492"}}))
	require.NoError(t, s.stream(strings.NewReader(content), "here"))
	return s.hits
}

func TestDH03_EveryFormOfAPlaintextIsFound(t *testing.T) {
	t.Parallel()
	require.Empty(t, scan(t, strings.Repeat("nothing of the kind Marquard t 999-65-949 ", 100_000)))
	for name, content := range map[string]string{
		"plain":       "x Marquardt y",
		"lower case":  "marquardt",
		"upper case":  "MARQUARDT",
		"hexadecimal": `\x00` + hex.EncodeToString([]byte("a Marquardt")),
		"number":      "999-65-9492",
		"long text":   noteText,
	} {
		require.NotEmpty(t, scan(t, content), name)
	}
	for shift := range 7 {
		before := strings.Repeat("?", shift)
		encoded := base64.StdEncoding.EncodeToString([]byte(before + "Marquardt" + strings.Repeat("!", 7-shift)))
		require.NotEmpty(t, scan(t, encoded), "base64 after %d bytes", shift)
	}
}

func TestDH03_PlaintextAcrossTwoReadsIsFound(t *testing.T) {
	t.Parallel()
	for _, before := range []int{1<<20 - 4, 1 << 20, 1<<20 + 5, 2<<20 - 100} {
		require.Len(t, scan(t, strings.Repeat("-", before)+"999-65-9492"+strings.Repeat("-", 50)), 1, "after %d bytes", before)
	}
	s := newScanner(patterns([]secret{{"name", "Marquardt"}}))
	require.NoError(t, s.stream(iotest.OneByteReader(strings.NewReader("a Marquardt b")), "here"))
	require.Len(t, s.hits, 1)
	require.Error(t, s.stream(iotest.ErrReader(io.ErrUnexpectedEOF), "here"))
}

func TestFolderIsSearchedExceptWhereOthersLook(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	for _, name := range []string{"a/deep/file", "b/file", "file"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(top, name), []byte("Marquardt"), 0o600))
	}
	s := newScanner(patterns([]secret{{"name", "Marquardt"}}))
	require.NoError(t, s.folder(top, filepath.Join(top, "b")))
	require.Len(t, s.hits, 2)
	require.Equal(t, int64(18), s.bytes)
}

func TestShortTextsAreNoSecrets(t *testing.T) {
	t.Parallel()
	c := &chart{ssn: "999-65-9492"}
	c.patient.Name = []struct {
		Family string
		Given  []string
	}{{"Lee", []string{"Jo"}}}
	for _, s := range c.secrets() {
		require.NotContains(t, []string{"Lee", "Jo", ""}, s.text)
	}
}

func TestGeneratedBundlesServeTheStory(t *testing.T) {
	t.Parallel()
	found, err := bundles(filepath.Join(t.TempDir(), "missing"))
	require.NoError(t, err)
	require.Len(t, found, generated)
	c, err := protagonist(found)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(c.secrets()), 12)
	for _, s := range c.secrets() {
		require.NotEmpty(t, strings.TrimSpace(s.text), s.what)
	}
	file, err := found[0].open()
	require.NoError(t, err)
	var whole bytes.Buffer
	_, err = whole.ReadFrom(file)
	require.NoError(t, err)
	require.Contains(t, whole.String(), string(c.first("Patient").raw), "an entry is kept byte for byte")
	require.NotEmpty(t, c.text("DocumentReference", "content", "attachment", "data"))
}

func TestMatchAndNames(t *testing.T) {
	t.Parallel()
	shown, missing := match([]string{"13:04:22 READ dr.smith→patient/1 [OK]"}, []string{`READ dr\.smith→patient/1 \[OK\]`, `READ dr\.jones→- \[DENIED\]`})
	require.Equal(t, []string{"13:04:22 READ dr.smith→patient/1 [OK]"}, shown)
	require.Len(t, missing, 1)
	require.True(t, names("entry 54: altered", 54))
	require.False(t, names("entry 541: altered", 54))
}
