package livelog

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/ledger"
)

// tiles gives sumdb/tlog the tiles of the server; tlog holds each to the checkpoint before it is used.
type tiles struct {
	ctx   context.Context
	fetch Fetch
	// seen are the tiles above the leaves and those at the right edge, which are read again for every bundle: one
	// for 65,536 entries has 8 KiB.
	seen map[string][]byte
}

func (t *tiles) put(tile tlog.Tile, data []byte) { t.seen[path(tile)] = data }

func (t *tiles) drop(tile tlog.Tile) { delete(t.seen, path(tile)) }

func (t *tiles) Height() int { return ledger.TileHeight }

// SaveTiles keeps what tlog has authenticated.
func (t *tiles) SaveTiles(list []tlog.Tile, data [][]byte) {
	for i, tile := range list {
		if tile.L > 0 || tile.W < ledger.TileWidth {
			t.seen[path(tile)] = data[i]
		}
	}
}

func (t *tiles) ReadTiles(list []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(list))
	for i, tile := range list {
		at := path(tile)
		if out[i] = t.seen[at]; out[i] != nil {
			continue
		}
		raw, err := t.fetch(t.ctx, at)
		if err != nil {
			return nil, &fetchError{err}
		}
		if len(raw) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes, not %d", at, len(raw), tile.W*tlog.HashSize)
		}
		out[i] = raw
	}
	return out, nil
}

// fetchError is an error of the network, which says nothing about the log.
type fetchError struct{ error }

func (e *fetchError) Unwrap() error { return e.error }

// path is that of C2SP tlog-tiles: sumdb's without the height, and entries instead of data.
func path(t tlog.Tile) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(t.Path(), "tile/"), "/")
	if bundle, found := strings.CutPrefix(rest, "data/"); found {
		rest = "entries/" + bundle
	}
	return "tile/" + rest
}
