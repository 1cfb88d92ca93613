package blob_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/backup/internal/blob"
)

func put(t *testing.T, s blob.Store, key, text string) error {
	return s.Put(t.Context(), key, func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
}

func get(t *testing.T, s blob.Store, key string) string {
	r, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	defer r.Close()
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(text)
}

func folder(t *testing.T) (*blob.Folder, string) {
	dir := filepath.Join(t.TempDir(), "store")
	f, err := blob.NewFolder(dir)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, f.Ready(t.Context()))
	return f, dir
}

func TestObjectsAreWrittenOnce(t *testing.T) {
	f, _ := folder(t)
	require.NoError(t, put(t, f, "a/b/c", "first"))
	require.ErrorIs(t, put(t, f, "a/b/c", "second"), blob.ErrExists)
	require.Equal(t, "first", get(t, f, "a/b/c"))

	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := put(t, f, "race", "x"); err == nil {
				won.Add(1)
			} else if !errors.Is(err, blob.ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, won.Load())
}

func TestAFailedPutLeavesNothing(t *testing.T) {
	f, dir := folder(t)
	broken := errors.New("broken")
	err := f.Put(t.Context(), "a/half", func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return broken })
	require.ErrorIs(t, err, broken)
	_, err = f.Get(t.Context(), "a/half")
	require.ErrorIs(t, err, blob.ErrNotFound)
	entries, err := os.ReadDir(filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.Empty(t, entries)

	// What a crash leaves is not an object.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", ".put-CRASHED"), []byte("half"), 0o600))
	keys, err := f.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, keys)
}

func TestListByPrefix(t *testing.T) {
	f, _ := folder(t)
	for _, key := range []string{"s1/base/2", "s1/base/1", "s1/wal/1", "s2/base/1", "s10/x"} {
		require.NoError(t, put(t, f, key, key))
	}
	for prefix, want := range map[string][]string{
		"":         {"s1/base/1", "s1/base/2", "s1/wal/1", "s10/x", "s2/base/1"},
		"s1/":      {"s1/base/1", "s1/base/2", "s1/wal/1"},
		"s1":       {"s1/base/1", "s1/base/2", "s1/wal/1", "s10/x"},
		"s1/base/": {"s1/base/1", "s1/base/2"},
		"none/":    nil,
	} {
		keys, err := f.List(t.Context(), prefix)
		require.NoError(t, err)
		require.Equal(t, want, keys, prefix)
	}
}

func TestKeysStayInTheFolder(t *testing.T) {
	f, dir := folder(t)
	for _, key := range []string{"", ".", "..", "../out", "/etc/passwd", "a/../../out", "a//b", "a/", "a/.put-x"} {
		require.Error(t, put(t, f, key, "x"), key)
		_, err := f.Get(t.Context(), key)
		require.Error(t, err, key)
	}
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(dir, "link")))
	require.Error(t, put(t, f, "link/out", "x"))
}
