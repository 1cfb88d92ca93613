// Package outside is a verifier as a stranger would write it: it reads a log over HTTP by C2SP
// tlog-tiles and checks it with golang.org/x/mod/sumdb. It imports nothing of carekeep, which a test
// of its own holds it to, so that what it accepts any standard verifier accepts. Only tests use it.
package outside

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Log is a log at a URL prefix, known by its verifier key.
type Log struct {
	Client *http.Client
	Prefix string // without a slash at the end
	Key    note.Verifier
}

// ErrAbsent is the answer 404.
var ErrAbsent = errors.New("not found")

const height = 8

// Get fetches one file and holds the answer to the specification.
func (l *Log) Get(ctx context.Context, path, kind string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.Prefix+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := l.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", path, ErrAbsent)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: status %d", path, response.StatusCode)
	case response.Header.Get("Content-Type") != kind:
		return nil, fmt.Errorf("%s: content type %q", path, response.Header.Get("Content-Type"))
	}
	cache := response.Header.Get("Cache-Control")
	if immutable := strings.Contains(cache, "immutable"); immutable != (path != "checkpoint") || strings.Contains(cache, "no-store") {
		return nil, fmt.Errorf("%s: cache control %q", path, cache)
	}
	return body, nil
}

// Checkpoint fetches the checkpoint and checks its signature; others that are known may have signed it as well.
func (l *Log) Checkpoint(ctx context.Context, cosigners ...note.Verifier) (tlog.Tree, *note.Note, error) {
	raw, err := l.Get(ctx, "checkpoint", "text/plain; charset=utf-8")
	if err != nil {
		return tlog.Tree{}, nil, err
	}
	n, err := note.Open(raw, note.VerifierList(append(cosigners, l.Key)...))
	if err != nil {
		return tlog.Tree{}, nil, err
	}
	origin, rest, _ := strings.Cut(n.Text, "\n")
	if origin != l.Key.Name() {
		return tlog.Tree{}, nil, fmt.Errorf("origin %q is not the key's name", origin)
	}
	// sumdb's parser knows one origin only; the lines after it are the same.
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + rest))
	return tree, n, err
}

// tiles reads tiles for sumdb.
type tiles struct {
	ctx context.Context
	log *Log
}

func (t tiles) Height() int                     { return height }
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(wanted))
	for i, tile := range wanted {
		var err error
		if out[i], err = t.log.Get(t.ctx, path(tile), "application/octet-stream"); err != nil {
			return nil, err
		}
		if len(out[i]) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", path(tile), len(out[i]))
		}
	}
	return out, nil
}

// path is that of C2SP: sumdb's without the height, and entries instead of data.
func path(t tlog.Tile) string {
	p := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
	return strings.Replace(p, "tile/data/", "tile/entries/", 1)
}

// Entry fetches the bundle of an entry and returns that entry.
func (l *Log) Entry(ctx context.Context, tree tlog.Tree, index int64) ([]byte, error) {
	t := tlog.Tile{H: height, L: -1, N: index >> height, W: 1 << height}
	t.W = int(min(int64(t.W), tree.N-t.N<<height))
	bundle, err := l.Get(ctx, path(t), "application/octet-stream")
	if err != nil {
		return nil, err
	}
	r := bytes.NewReader(bundle)
	for i := range t.W {
		var size uint16
		if err := binary.Read(r, binary.BigEndian, &size); err != nil {
			return nil, fmt.Errorf("%s breaks off: %w", path(t), err)
		}
		entry := make([]byte, size)
		if _, err := io.ReadFull(r, entry); err != nil {
			return nil, fmt.Errorf("%s breaks off: %w", path(t), err)
		}
		if t.N<<height+int64(i) == index {
			return entry, nil
		}
	}
	return nil, fmt.Errorf("%s does not hold entry %d", path(t), index)
}

// CheckEntry proves from tiles alone that an entry is in the tree, and returns it.
func (l *Log) CheckEntry(ctx context.Context, tree tlog.Tree, index int64) ([]byte, error) {
	entry, err := l.Entry(ctx, tree, index)
	if err != nil {
		return nil, err
	}
	proof, err := tlog.ProveRecord(tree.N, index, tlog.TileHashReader(tree, tiles{ctx, l}))
	if err != nil {
		return nil, err
	}
	return entry, tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

// CheckGrowth proves from tiles alone that the newer tree extends the older.
func (l *Log) CheckGrowth(ctx context.Context, older, newer tlog.Tree) error {
	proof, err := tlog.ProveTree(newer.N, older.N, tlog.TileHashReader(newer, tiles{ctx, l}))
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash)
}
