package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/ledger"
)

// exportChunk is how many entries of an export are held in memory.
const exportChunk = 2048

// Sink takes an export in order: entries by number, after an entry the tiles that it
// completed, after the last entry that a checkpoint covers that checkpoint.
type Sink interface {
	Entry(ledger.Entry) error
	Tile(ledger.Tile) error
	Checkpoint(signed string) error
}

// Export gives the sink the log up to the newest checkpoint. Entries of one practice
// are whole; of the others only the leaf. Rows never change, so no transaction is
// held while the sink waits for a slow client.
func (s *Store) Export(ctx context.Context, practice uuid.UUID, to Sink) error {
	return s.export(ctx, to, false, func(seen uuid.UUID) bool { return seen == practice })
}

// ExportAll gives the sink every entry whole, with its columns, and all tiles, as a
// verification of the whole log wants them. It reads one practice after the other,
// with no more rights than the service has.
func (s *Store) ExportAll(ctx context.Context, to Sink) error {
	return s.export(ctx, to, true, func(uuid.UUID) bool { return true })
}

type chunk struct {
	entries     []ledger.Entry
	owners      []uuid.UUID
	checkpoints []sized[string]
	tiles       []sized[ledger.Tile]
}

// sized is something that follows the entry that made the log this large.
type sized[T any] struct {
	size int64
	item T
}

func (s *Store) export(ctx context.Context, to Sink, full bool, whole func(uuid.UUID) bool) error {
	// What is committed up to here does not change; what comes after is not exported.
	var end int64
	if err := s.pool.QueryRow(ctx, "SELECT greatest(coalesce(max(size), 0), log_end()) FROM checkpoints").Scan(&end); err != nil {
		return failed("read the end of the log", err)
	}
	for from := int64(0); from < end; {
		next := min(from+exportChunk, end)
		c, err := s.chunk(ctx, from, next, full)
		if err == nil {
			err = s.complete(ctx, c, full, whole)
		}
		if err == nil && len(c.entries)+len(c.checkpoints) == 0 {
			next, err = s.afterGap(ctx, next, end)
		}
		if err != nil {
			return failed("export entries", err)
		}
		if err := c.write(to, from, min(from+exportChunk, end)); err != nil {
			return err
		}
		from = next
	}
	return nil
}

// afterGap returns where the log goes on after a chunk with nothing in it, however
// much is missing: the verifier says so.
func (s *Store) afterGap(ctx context.Context, from, end int64) (int64, error) {
	var next *int64
	err := s.pool.QueryRow(ctx,
		"SELECT least(next_entry($1), (SELECT min(size) - 1 FROM checkpoints WHERE size > $1))", from).Scan(&next)
	if err != nil || next == nil {
		return end, err
	}
	return max(from, *next), nil
}

// chunk reads the leaves [from, to), and the checkpoints and tiles that belong to them.
func (s *Store) chunk(ctx context.Context, from, to int64, tiles bool) (*chunk, error) {
	c := &chunk{}
	b := &pgx.Batch{}
	// An entry that was let go has its leaf and the announcement; one that is there is what it is.
	b.Queue(`SELECT l.seq, l.practice_id, l.leaf_hash, g.announcement FROM leaves($1, $2) l LEFT JOIN gone_leaves($1, $2) g USING (seq) ORDER BY l.seq`,
		from, to).Query(func(rows pgx.Rows) error {
		var leaf []byte
		var e ledger.Entry
		var owner uuid.UUID
		_, err := pgx.ForEachRow(rows, []any{&e.Seq, &owner, &leaf, &e.LetGo}, func() error {
			copy(e.Leaf[:], leaf)
			c.entries, c.owners = append(c.entries, e), append(c.owners, owner)
			return nil
		})
		return err
	})
	b.Queue("SELECT size, note FROM checkpoints WHERE size > $1 AND size <= $2 ORDER BY size", from, to).Query(func(rows pgx.Rows) error {
		var err error
		c.checkpoints, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (sized[string], error) {
			var x sized[string]
			return x, row.Scan(&x.size, &x.item)
		})
		return err
	})
	if tiles {
		queueTiles(b, from, to, &c.tiles)
	}
	err := s.pool.SendBatch(ctx, b).Close()
	slices.SortStableFunc(c.tiles, func(x, y sized[ledger.Tile]) int { return cmp.Compare(x.size, y.size) })
	return c, err
}

// queueTiles asks for the tiles whose last entry is among [from, to), level by level.
func queueTiles(b *pgx.Batch, from, to int64, into *[]sized[ledger.Tile]) {
	for level := range 7 {
		width := int64(1) << ((level + 1) * ledger.TileHeight) // entries below one tile
		if from/width == to/width {
			continue
		}
		b.Queue("SELECT idx, root, hashes FROM tiles WHERE level = $1 AND idx >= $2 AND idx < $3 ORDER BY idx",
			level, from/width, to/width).Query(func(rows pgx.Rows) error {
			found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (sized[ledger.Tile], error) {
				x := sized[ledger.Tile]{item: ledger.Tile{Level: level}}
				var root []byte
				err := row.Scan(&x.item.Index, &root, &x.item.Hashes)
				copy(x.item.Root[:], root)
				x.size = (x.item.Index + 1) * width
				return x, err
			})
			*into = append(*into, found...)
			return err
		})
	}
}

// complete reads the events of those practices that are exported whole, each under its own practice.
func (s *Store) complete(ctx context.Context, c *chunk, columns bool, whole func(uuid.UUID) bool) error {
	if len(c.entries) == 0 {
		return nil
	}
	at := make(map[int64]int, len(c.entries))
	bounds := map[uuid.UUID][2]int64{}
	for i, e := range c.entries {
		owner := c.owners[i]
		if !whole(owner) || e.LetGo != nil {
			continue
		}
		at[e.Seq] = i
		if b, seen := bounds[owner]; seen {
			bounds[owner] = [2]int64{b[0], e.Seq}
		} else {
			bounds[owner] = [2]int64{e.Seq, e.Seq}
		}
	}
	for practice, b := range bounds {
		rows, err := readAs(ctx, s.pool, practice, scanEntry,
			"SELECT "+entryColumns+" FROM entries WHERE practice_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq", practice, b[0], b[1])
		if err != nil {
			return err
		}
		for _, e := range rows {
			i, ok := at[e.Seq]
			if !ok {
				continue
			}
			if !columns {
				e.Index, e.AppendTime = nil, nil
			}
			c.entries[i] = e
		}
	}
	return nil
}

// write passes the chunk on in the order of the format, also where the rows are
// not what they should be: the verifier is to see them as they are.
func (c *chunk) write(to Sink, from, end int64) error {
	entries, tiles, checkpoints := c.entries, c.tiles, c.checkpoints
	for size := from + 1; size <= end; size++ {
		for len(entries) > 0 && entries[0].Seq < size {
			if err := to.Entry(entries[0]); err != nil {
				return fmt.Errorf("export entry %d: %w", entries[0].Seq, err)
			}
			entries = entries[1:]
		}
		for len(tiles) > 0 && tiles[0].size <= size {
			if err := to.Tile(tiles[0].item); err != nil {
				return fmt.Errorf("export tile: %w", err)
			}
			tiles = tiles[1:]
		}
		for len(checkpoints) > 0 && checkpoints[0].size <= size {
			if err := to.Checkpoint(checkpoints[0].item); err != nil {
				return fmt.Errorf("export checkpoint of size %d: %w", checkpoints[0].size, err)
			}
			checkpoints = checkpoints[1:]
		}
	}
	return nil
}
