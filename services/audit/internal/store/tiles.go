package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/ledger"
)

// tileReader gives sumdb/tlog the tiles of the log. tlog authenticates whatever it
// gets against a checkpoint, so a tile that was tampered with proves nothing false.
type tileReader struct {
	ctx context.Context
	q   Queryer
}

// Tiles returns a reader of tiles for proofs. It is bound to ctx, since tlog's
// interface has no room for one, and so made for each request.
func (s *Store) Tiles(ctx context.Context) tlog.TileReader { return TilesOf(ctx, s.pool) }

// TilesOf is Tiles over a connection.
func TilesOf(ctx context.Context, q Queryer) tlog.TileReader { return &tileReader{ctx: ctx, q: q} }

func (r *tileReader) Height() int { return ledger.TileHeight }

// SaveTiles does nothing: the database is the cache.
func (r *tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles reads all tiles in one round trip. A tile that was not complete at the
// tree's size may be by now, and is then cut; else its hashes come from the level below.
func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	b := &pgx.Batch{}
	for i, t := range tiles {
		b.Queue("SELECT hashes FROM tiles WHERE level = $1 AND idx = $2", t.L, t.N).Query(func(rows pgx.Rows) error {
			found, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
			if err == nil && len(found) == 1 && len(found[0]) >= t.W*tlog.HashSize {
				out[i] = found[0][:t.W*tlog.HashSize]
			}
			return err
		})
		if t.W == ledger.TileWidth {
			continue
		}
		from := t.N * ledger.TileWidth
		sql, args := "SELECT leaf_hash FROM leaves($1, $2)", []any{from, from + int64(t.W)}
		if t.L > 0 {
			sql, args = "SELECT root FROM tiles WHERE level = $1 AND idx >= $2 AND idx < $3 ORDER BY idx", []any{t.L - 1, from, from + int64(t.W)}
		}
		b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
			hashes, err := collectHashes(rows)
			if err != nil || out[i] != nil || len(hashes) != t.W {
				return err
			}
			for _, h := range hashes {
				out[i] = append(out[i], h[:]...)
			}
			return nil
		})
	}
	if err := r.q.SendBatch(r.ctx, b).Close(); err != nil {
		return nil, failed("read tiles", err)
	}
	for i, t := range tiles {
		if out[i] == nil {
			return nil, fmt.Errorf("tile %s: %w", t.Path(), ErrNoTile)
		}
	}
	return out, nil
}
