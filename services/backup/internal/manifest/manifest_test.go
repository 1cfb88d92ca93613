package manifest_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/services/backup/internal/manifest"
)

func text(files ...string) []byte {
	body := "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n" + strings.Join(files, ",\n") +
		"\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/1000028\", \"End-LSN\": \"0/3000100\" }\n],\n"
	sum := sha256.Sum256([]byte(body))
	return []byte(body + "\"Manifest-Checksum\": \"" + hex.EncodeToString(sum[:]) + "\"}\n")
}

func file(field, name, content string) string {
	sum := sha256.Sum256([]byte(content))
	return fmt.Sprintf(`{ %q: %q, "Size": %d, "Last-Modified": "2026-01-01 00:00:00 GMT", "Checksum-Algorithm": "SHA256", "Checksum": %q }`,
		field, name, len(content), hex.EncodeToString(sum[:]))
}

// archive is a backup of two files and the three segments that its range needs.
func archive() map[string]string {
	return map[string]string{
		"global/1": "one", "odd\xff": "two",
		"pg_wal/000000010000000000000001": strings.Repeat("a", 1<<24),
		"pg_wal/000000010000000000000002": strings.Repeat("b", 1<<24),
		"pg_wal/000000010000000000000003": strings.Repeat("c", 1<<24),
	}
}

func pass(t require.TestingT, contents map[string]string) map[string]manifest.File {
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	for name, content := range contents {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Typeflag: tar.TypeReg, Mode: 0o600}))
		_, err := io.WriteString(w, content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	seen := map[string]manifest.File{}
	require.NoError(t, manifest.Walk(&stream, "", seen, func(manifest.Entry) error { return nil }))
	return seen
}

func TestFilesAreCheckedBothWays(t *testing.T) {
	m, err := manifest.Parse(text(file("Path", "global/1", "one"), file("Encoded-Path", hex.EncodeToString([]byte("odd\xff")), "two")))
	require.NoError(t, err)
	seen := pass(t, archive())
	require.NoError(t, m.Check(seen))
	for name, c := range map[string]struct {
		change func(map[string]string)
		says   string
	}{
		"changed": {func(a map[string]string) { a["global/1"] = "onE" }, `"global/1" has another SHA-256`},
		"longer":  {func(a map[string]string) { a["global/1"] += "x" }, "bytes"},
		"missing": {func(a map[string]string) { delete(a, "odd\xff") }, "is missing"},
		"more":    {func(a map[string]string) { a["global/2"] = "" }, "is not in the manifest"},
		"no WAL": {func(a map[string]string) {
			maps.DeleteFunc(a, func(n, _ string) bool { return strings.HasPrefix(n, "pg_wal") })
		}, "no whole WAL segment"},
		"one WAL missing": {func(a map[string]string) { delete(a, "pg_wal/000000010000000000000002") }, "000000010000000000000002"},
		"last WAL cut":    {func(a map[string]string) { a["pg_wal/000000010000000000000003"] = "c" }, "000000010000000000000003"},
	} {
		contents := archive()
		c.change(contents)
		require.ErrorContains(t, m.Check(pass(t, contents)), c.says, name)
	}
}

func TestAManifestChecksItself(t *testing.T) {
	good := text(file("Path", "a", "x"))
	_, err := manifest.Parse(good)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		bad := bytes.Clone(good)
		bad[rapid.IntRange(0, len(bad)-2).Draw(t, "byte")] ^= byte(rapid.IntRange(1, 127).Draw(t, "mask"))
		m, err := manifest.Parse(bad)
		if err == nil { // the case of a letter in the key of the last line, or in the checksum
			want, _ := manifest.Parse(good)
			require.Equal(t, want, m)
		}
	})
	for name, raw := range map[string][]byte{
		"twice":     text(file("Path", "a", "x"), file("Path", "a", "x")),
		"no sum":    text(`{ "Path": "a", "Size": 1 }`),
		"truncated": good[:len(good)/2],
		"empty":     nil,
	} {
		_, err := manifest.Parse(raw)
		require.Error(t, err, name)
	}
}

func TestMembersThatLeaveTheFolderAreRefused(t *testing.T) {
	for name, head := range map[string]tar.Header{
		"parent":   {Name: "../x", Typeflag: tar.TypeReg},
		"absolute": {Name: "/etc/x", Typeflag: tar.TypeReg},
		"link":     {Name: "x", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
		"hardlink": {Name: "x", Typeflag: tar.TypeLink, Linkname: "y"},
		"device":   {Name: "x", Typeflag: tar.TypeChar},
	} {
		var stream bytes.Buffer
		w := tar.NewWriter(&stream)
		require.NoError(t, w.WriteHeader(&head))
		require.NoError(t, w.Close())
		require.Error(t, manifest.Walk(&stream, "", map[string]manifest.File{}, func(manifest.Entry) error { return nil }), name)
	}
}

func TestSegmentNamesAndPositions(t *testing.T) {
	require.Equal(t, "000000020000001600000003", manifest.SegmentName(2, 0x16*256+3, 16<<20))
	require.Equal(t, "000000010000000000000003", manifest.SegmentName(1, 3, 1<<30))
	rapid.Check(t, func(t *rapid.T) {
		at := manifest.LSN(rapid.Uint64().Draw(t, "lsn"))
		got, err := manifest.ParseLSN(at.String())
		require.NoError(t, err)
		require.Equal(t, at, got)
	})
	for _, bad := range []string{"", "1", "/", "1/", "x/1", "1/100000000", "1/2/3"} {
		_, err := manifest.ParseLSN(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(text(file("Path", "a", "x")))
	f.Add(text())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := manifest.Parse(raw); err == nil {
			_ = m.Check(nil)
		}
	})
}

func FuzzWalk(f *testing.F) {
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	require.NoError(f, w.WriteHeader(&tar.Header{Name: "a", Size: 3, Typeflag: tar.TypeReg}))
	_, _ = io.WriteString(w, "one")
	require.NoError(f, w.Close())
	f.Add(stream.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		_ = manifest.Walk(bytes.NewReader(raw), "", map[string]manifest.File{}, func(e manifest.Entry) error {
			require.False(t, strings.Contains("/"+e.Name+"/", "/../"), e.Name)
			return nil
		})
	})
}
