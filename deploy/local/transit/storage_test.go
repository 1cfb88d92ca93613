package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func reopen(t *testing.T, dir string) (*store, error) {
	return openStore(filepath.Join(dir, "data"), filepath.Join(dir, "unseal.key"))
}

func TestStorageIsSealedDurableAndForOneProcess(t *testing.T) {
	dir := t.TempDir()
	s, err := reopen(t, dir)
	require.NoError(t, err)
	ctx := t.Context()
	for _, key := range []string{"policy/practice-canary", "policy/b", "archive/practice-canary", "config"} {
		require.NoError(t, s.Put(ctx, &logical.StorageEntry{Key: key, Value: []byte("canary-value " + key)}))
	}
	require.NoError(t, s.Delete(ctx, "config"))
	require.NoError(t, s.Delete(ctx, "config"), "deleting twice is no error")

	_, err = reopen(t, dir)
	require.ErrorContains(t, err, "in use")
	require.NoError(t, s.Close())
	s, err = reopen(t, dir)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	e, err := s.Get(ctx, "policy/practice-canary")
	require.NoError(t, err)
	require.Equal(t, "canary-value policy/practice-canary", string(e.Value))
	e, err = s.Get(ctx, "config")
	require.NoError(t, err)
	require.Nil(t, e)
	names, err := s.List(ctx, "")
	require.NoError(t, err)
	require.Equal(t, []string{"archive/", "policy/"}, names)
	names, err = s.List(ctx, "policy/")
	require.NoError(t, err)
	require.Equal(t, []string{"b", "practice-canary"}, names)

	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		require.NotContains(t, path, "canary")
		if !d.IsDir() {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NotContains(t, string(data), "canary")
			info, err := d.Info()
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o600), info.Mode(), path)
		}
		return nil
	}))
}

func TestDTD23_StorageDoesNotOpenWithoutItsKeyOrChanged(t *testing.T) {
	dir := t.TempDir()
	s, err := reopen(t, dir)
	require.NoError(t, err)
	require.NoError(t, s.Put(t.Context(), &logical.StorageEntry{Key: "a", Value: []byte("1")}))
	require.NoError(t, s.Put(t.Context(), &logical.StorageEntry{Key: "b", Value: []byte("2")}))
	a, b := filepath.Join(s.dir, s.name("a")), filepath.Join(s.dir, s.name("b"))
	require.NoError(t, s.Close())

	key := filepath.Join(dir, "unseal.key")
	right, err := os.ReadFile(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key, bytes.Repeat([]byte("ab"), 32), 0o600))
	_, err = reopen(t, dir)
	require.ErrorContains(t, err, "does not open")
	require.NoError(t, os.Remove(key))
	_, err = reopen(t, dir)
	require.ErrorContains(t, err, "is missing", "no new key is made over storage that another one sealed")
	require.NoError(t, os.WriteFile(key, right, 0o600))

	sealed, err := os.ReadFile(a)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(b, sealed, 0o600))
	_, err = reopen(t, dir)
	require.ErrorContains(t, err, "does not open", "an entry under another name")
}
