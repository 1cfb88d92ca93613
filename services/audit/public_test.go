package main

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/devkit/outside"
)

// outside is the log as a stranger sees it through the gateway, which passes everything on.
func (s *suite) outside(r *replica) *outside.Log {
	s.t.Helper()
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: identity(s.t, "gateway").ClientTLS(accessv1.Service_SERVICE_AUDIT), Protocols: protocols}
	s.t.Cleanup(transport.CloseIdleConnections)
	key, err := r.keys.File(context.Background())
	require.NoError(s.t, err)
	v, err := note.NewVerifier(firstLine(key))
	require.NoError(s.t, err)
	return &outside.Log{Client: &http.Client{Transport: transport}, Prefix: "https://" + r.server.HTTPAddr().String(), Key: v}
}

func firstLine(text string) string {
	for i := range text {
		if text[i] == '\n' {
			return text[:i]
		}
	}
	return text
}

// Any verifier that speaks C2SP tlog-tiles follows the log as it grows, whichever tiles are complete.
func TestDMD08_AStandardVerifierReadsTheLogOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	log := s.outside(r)
	_, _, err := log.Checkpoint(t.Context())
	require.ErrorIs(t, err, outside.ErrAbsent, "an empty log has no checkpoint")

	var trees []tlog.Tree
	for _, n := range []int{1, 3, 300, 208, 70, 513} {
		p.await(p.send(batchOf(n)...))
		tree, _, err := log.Checkpoint(t.Context())
		require.NoError(t, err)
		trees = append(trees, tree)
		for _, older := range trees {
			require.NoError(t, log.CheckGrowth(t.Context(), older, tree), "%d to %d", older.N, tree.N)
		}
		for _, index := range []int64{0, 1, 255, 256, 511, 512, tree.N - 1} {
			if index < tree.N {
				entry, err := log.CheckEntry(t.Context(), tree, index)
				require.NoError(t, err, "entry %d of %d", index, tree.N)
				require.Len(t, entry, 32)
			}
		}
	}
	newest := trees[len(trees)-1]
	require.EqualValues(t, 1095, newest.N, "reading the log appended nothing")
	for _, older := range trees { // what was not complete then is still served
		_, err := log.CheckEntry(t.Context(), older, older.N-1)
		require.NoError(t, err, "at %d", older.N)
	}
	require.Equal(t, newest.N, s.size())
}

// A verifier refuses what was changed behind the service's back: a tile, an event, a salt.
func TestDMD08_AStandardVerifierRefusesAFlippedTile(t *testing.T) {
	t.Parallel()
	s := filled(t)
	r := s.writer()
	log := s.outside(r)
	tree, _, err := log.Checkpoint(t.Context())
	require.NoError(t, err)
	_, err = log.CheckEntry(t.Context(), tree, 300)
	require.NoError(t, err)
	older := tlog.Tree{N: 200}
	older.Hash, err = treeHash(t, log, tree, older.N)
	require.NoError(t, err)
	require.NoError(t, log.CheckGrowth(t.Context(), older, tree))

	s.tamper("UPDATE entries SET salt = set_byte(salt, 7, get_byte(salt, 7) # 1) WHERE seq = 300")
	_, err = log.CheckEntry(t.Context(), tree, 300)
	require.Error(t, err, "a changed salt")
	_, err = log.CheckEntry(t.Context(), tree, 301)
	require.NoError(t, err, "its neighbours still prove")

	s.tamper("UPDATE tiles SET hashes = set_byte(hashes, 3, get_byte(hashes, 3) # 1) WHERE level = 0 AND idx = 0")
	_, err = log.CheckEntry(t.Context(), tree, 9)
	require.Error(t, err, "a flipped tile")
	require.Error(t, log.CheckGrowth(t.Context(), older, tree), "a flipped tile")
}

func treeHash(t *testing.T, log *outside.Log, tree tlog.Tree, size int64) (tlog.Hash, error) {
	t.Helper()
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range size {
		entry, err := log.Entry(t.Context(), tree, i)
		require.NoError(t, err)
		hashes, err := tlog.StoredHashes(i, entry, reader)
		require.NoError(t, err)
		stored = append(stored, hashes...)
	}
	return tlog.TreeHash(size, reader)
}

// What is not there is not there, and only GET and HEAD are answered.
func TestThePublicLogHasNothingElse(t *testing.T) {
	t.Parallel()
	s := filled(t)
	log := s.outside(s.writer())
	for _, path := range []string{
		"tile/0/002.p/89", "tile/0/003", "tile/1/000.p/3", "tile/1/001", "tile/2/000.p/1", "tile/7/000", "tile/entries/002.p/89",
		"tile/entries/002", "tile/entries/x999/999", "", "tile", "tile/0/2", "tile/data/000", "entries", "checkpoint/",
	} {
		_, err := log.Get(t.Context(), path, "application/octet-stream")
		require.ErrorIs(t, err, outside.ErrAbsent, path)
	}
	for _, path := range []string{"tile/0/002.p/88", "tile/0/000.p/1", "tile/0/001", "tile/1/000.p/2", "tile/entries/002.p/88", "tile/entries/000"} {
		_, err := log.Get(t.Context(), path, "application/octet-stream")
		require.NoError(t, err, path)
	}
	response, err := log.Client.Post(log.Prefix+"/checkpoint", "text/plain", nil)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, response.Body)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
	response, err = log.Client.Head(log.Prefix + "/tile/0/000")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.EqualValues(t, 8192, response.ContentLength)
}
