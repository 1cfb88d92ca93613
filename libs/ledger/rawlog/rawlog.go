// Package rawlog reads the audit log straight from its database for verification, under a role that can do
// nothing but that. It shares no code with the service that appended it, and judges nothing: rows go to the
// verifier as they are stored, also where they make no sense.
package rawlog

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/ledger"
)

// chunkEntries is how many entries are read at once; a multiple of a tile's width.
const chunkEntries = 4096

// levels is how many levels of tiles a log can have, by the check on the table.
const levels = 8

// Log is one state of the log: what was committed when Open returned.
type Log struct {
	tx  pgx.Tx
	end int64
}

// Open begins to read over a connection, which it keeps busy until Close.
func Open(ctx context.Context, conn *pgx.Conn) (*Log, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("audit database: %w", err)
	}
	l := &Log{tx: tx}
	// The larger of the two, so that entries without a checkpoint are seen, and checkpoints without entries.
	err = tx.QueryRow(ctx, "SELECT greatest(log_end(), coalesce((SELECT max(size) FROM checkpoints), 0))").Scan(&l.end)
	if err != nil {
		_ = tx.Rollback(ctx)
		return nil, fmt.Errorf("audit database: %w", err)
	}
	return l, nil
}

// Close ends the reading.
func (l *Log) Close(ctx context.Context) { _ = l.tx.Rollback(ctx) }

// Items gives the log from the first entry to the last, in the order of an export.
func (l *Log) Items(ctx context.Context) iter.Seq2[[]ledger.Item, error] {
	return func(yield func([]ledger.Item, error) bool) {
		for from := int64(0); from < l.end; {
			to := min(from+chunkEntries, l.end)
			items, err := l.chunk(ctx, from, to)
			if err == nil && len(items) == 0 {
				to, err = l.afterGap(ctx, to)
			}
			if !yield(items, err) || err != nil {
				return
			}
			from = to
		}
	}
}

// placed is an item and the size of the log at which it stands; rank orders those of one size.
type placed struct {
	size int64
	rank int
	item ledger.Item
}

const (
	rankEntry      = iota
	rankTile       // and levels above
	rankCheckpoint = rankTile + levels
)

// chunk reads what belongs to the entries [from, to).
func (l *Log) chunk(ctx context.Context, from, to int64) ([]ledger.Item, error) {
	var found []placed
	b := &pgx.Batch{}
	b.Queue(`SELECT seq, event_id, practice_id, user_id, patient_id, action, outcome, event_time, append_time, salt, event, leaf_hash,
		coalesce(session_id, $3), coalesce(device_id, $3), address, risk, coalesce(service, 0), coalesce(method, '')
		FROM raw_entries($1, $2)`, from, to, uuid.Nil).Query(into(&found, scanEntry))
	// What retention let go has its leaf in a tile, and the entry that announced it; where there is a row as well, both are shown.
	b.Queue("SELECT seq, announcement, leaf_hash FROM gone_leaves($1, $2)", from, to).Query(into(&found, scanGone))
	b.Queue("SELECT size, note FROM checkpoints WHERE size > $1 AND size <= $2 ORDER BY size", from, to).Query(into(&found, scanCheckpoint))
	for level := range levels - 1 {
		width := int64(1) << ((level + 1) * ledger.TileHeight) // entries below one tile
		if from/width < to/width {
			b.Queue("SELECT level, idx, root, hashes FROM tiles WHERE level = $1 AND idx >= $2 AND idx < $3 ORDER BY idx",
				level, from/width, to/width).Query(into(&found, scanTile))
		}
	}
	if err := l.tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("entries from %d on: %w", from, err)
	}
	// Stable: where two entries have one number, both are shown.
	slices.SortStableFunc(found, func(x, y placed) int {
		return cmp.Or(cmp.Compare(x.size, y.size), cmp.Compare(x.rank, y.rank))
	})
	items := make([]ledger.Item, len(found))
	for i := range found {
		items[i] = found[i].item
	}
	return items, nil
}

// afterGap returns where the log goes on after a chunk with nothing in it.
func (l *Log) afterGap(ctx context.Context, from int64) (int64, error) {
	next := l.end
	err := l.tx.QueryRow(ctx, `
		SELECT least(coalesce(next_entry($1), $2), coalesce((SELECT min(size) - 1 FROM checkpoints WHERE size > $1), $2))`, from, l.end).Scan(&next)
	if err != nil {
		return 0, fmt.Errorf("entries from %d on: %w", from, err)
	}
	return max(from, next), nil
}

func into(found *[]placed, scan pgx.RowToFunc[placed]) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var err error
		*found, err = pgx.AppendRows(*found, rows, scan)
		return err
	}
}

func scanEntry(row pgx.CollectableRow) (placed, error) {
	var (
		e        ledger.Entry
		x        ledger.Index
		w        ledger.Where
		appended time.Time
		leaf     []byte
		address  *netip.Addr
		risk     *int16
	)
	err := row.Scan(&e.Seq, &x.EventID, &x.Practice, &x.User, &x.Patient, &x.Action, &x.Outcome, &x.EventTime, &appended, &e.Salt, &e.Event, &leaf,
		&w.Session, &w.Device, &address, &risk, &w.Service, &w.Method)
	if err != nil {
		return placed{}, err
	}
	copy(e.Leaf[:], leaf)
	if address != nil {
		w.Address = *address
	}
	if risk != nil { // else the row is from before these columns
		w.Risk, x.Where = *risk, &w
	}
	x.EventTime, appended = x.EventTime.UTC(), appended.UTC()
	e.Index, e.AppendTime = &x, &appended
	return placed{size: e.Seq + 1, rank: rankEntry, item: ledger.Item{Entry: &e}}, nil
}

func scanGone(row pgx.CollectableRow) (placed, error) {
	var e ledger.Entry
	var leaf []byte
	if err := row.Scan(&e.Seq, &e.LetGo, &leaf); err != nil {
		return placed{}, err
	}
	copy(e.Leaf[:], leaf)
	return placed{size: e.Seq + 1, rank: rankEntry, item: ledger.Item{Entry: &e}}, nil
}

func scanTile(row pgx.CollectableRow) (placed, error) {
	var t ledger.Tile
	var root []byte
	if err := row.Scan(&t.Level, &t.Index, &root, &t.Hashes); err != nil {
		return placed{}, err
	}
	copy(t.Root[:], root)
	return placed{size: (t.Index + 1) << ((t.Level + 1) * ledger.TileHeight), rank: rankTile + t.Level, item: ledger.Item{Tile: &t}}, nil
}

func scanCheckpoint(row pgx.CollectableRow) (placed, error) {
	p := placed{rank: rankCheckpoint}
	return p, row.Scan(&p.size, &p.item.Checkpoint)
}
