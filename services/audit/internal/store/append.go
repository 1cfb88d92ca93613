package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/ledger"
)

// Group is what one append adds, all of it or nothing.
type Group struct {
	Entries    []ledger.Entry // each with Index and AppendTime
	Tiles      []ledger.Tile
	Checkpoint ledger.Checkpoint
	Note       string // the signed checkpoint
	From       int64  // size of the checkpoint before
	Alerts     []Alert
	Parked     []Parked
	Arrivals   []Arrival
}

// Parked is a message that could not be taken into the log.
type Parked struct {
	Digest  [32]byte
	Seq     int64 // the entry that reports it
	Subject string
	Reason  string
	Payload []byte
	Time    time.Time
}

// lockKey names the advisory lock of the one writer.
const lockKey = "carekeep.audit.writer"

// LockWriter takes the writer's lock for as long as the connection lives, or
// reports that another connection holds it.
func LockWriter(ctx context.Context, conn Queryer) (bool, error) {
	var taken bool
	err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", lockKey).Scan(&taken)
	if err != nil {
		return false, fmt.Errorf("take the writer's lock: %w", err)
	}
	return taken, nil
}

// Head is how far the log goes.
type Head struct {
	Note string // the newest checkpoint, signed; empty where there is none
	Size int64  // of that checkpoint
	End  int64  // the number that the next entry gets; equals Size unless somebody interfered
}

// ReadHead returns the end of the log.
func ReadHead(ctx context.Context, q Queryer) (Head, error) {
	var h Head
	err := q.QueryRow(ctx, `
		SELECT coalesce(max(c.size), 0), coalesce(max(c.note), ''), log_end()
		FROM (SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1) AS c`).Scan(&h.Size, &h.Note, &h.End)
	if err != nil {
		return Head{}, fmt.Errorf("read the end of the log: %w", err)
	}
	return h, nil
}

// ReadHashes returns the hashes [from, to) of a tile level: leaves, or roots of the tiles one level below.
func ReadHashes(ctx context.Context, q Queryer, level int, from, to int64) ([]tlog.Hash, error) {
	sql, args := "SELECT leaf_hash FROM leaves($1, $2)", []any{from, to}
	if level > 0 {
		sql, args = "SELECT root FROM tiles WHERE level = $1 AND idx >= $2 AND idx < $3 ORDER BY idx", []any{level - 1, from, to}
	}
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read hashes: %w", err)
	}
	return collectHashes(rows)
}

func collectHashes(rows pgx.Rows) ([]tlog.Hash, error) {
	hashes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (tlog.Hash, error) {
		var h tlog.Hash
		var raw []byte
		err := row.Scan(&raw)
		copy(h[:], raw)
		return h, err
	})
	if err != nil {
		return nil, fmt.Errorf("read hashes: %w", err)
	}
	return hashes, nil
}

// KnownEvents returns those of the events that the log holds already.
func KnownEvents(ctx context.Context, q Queryer, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	raw := make([][16]byte, len(ids))
	for i, id := range ids {
		raw[i] = id
	}
	rows, err := q.Query(ctx, "SELECT known_events($1)", raw)
	if err != nil {
		return nil, fmt.Errorf("look for known events: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("look for known events: %w", err)
	}
	known := make(map[uuid.UUID]bool, len(found))
	for _, id := range found {
		known[id] = true
	}
	return known, nil
}

// KnownParked reports whether a message with this digest is parked already.
func KnownParked(ctx context.Context, q Queryer, digest [32]byte) (bool, error) {
	var known bool
	if err := q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM parked WHERE digest = $1)", digest[:]).Scan(&known); err != nil {
		return false, fmt.Errorf("look for a parked message: %w", err)
	}
	return known, nil
}

// EnsurePartition makes the partition for a month unless it exists.
func EnsurePartition(ctx context.Context, q Queryer, month time.Time) error {
	if _, err := q.Exec(ctx, "SELECT ensure_partition($1)", month); err != nil {
		return fmt.Errorf("make the partition for %s: %w", month.Format("2006-01"), err)
	}
	return nil
}

// Append writes a group in one transaction and one round trip.
func Append(ctx context.Context, conn Queryer, g *Group) error {
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	queueEntries(b, g.Entries)
	for _, t := range g.Tiles {
		b.Queue("INSERT INTO tiles (level, idx, root, hashes) VALUES ($1, $2, $3, $4)", t.Level, t.Index, t.Root[:], t.Hashes)
	}
	from := &g.From
	if g.From == 0 {
		from = nil
	}
	b.Queue("INSERT INTO checkpoints (size, from_size, root, note, append_time) VALUES ($1, $2, $3, $4, $5)",
		g.Checkpoint.Size, from, g.Checkpoint.Root[:], g.Note, g.Checkpoint.Time)
	for _, a := range g.Alerts {
		b.Queue("INSERT INTO alerts (seq, reason, practice_id, risk, create_time) VALUES ($1, $2, $3, $4, $5)",
			a.Seq, a.Reason, a.Practice, a.Risk, a.Time)
	}
	for _, p := range g.Parked {
		b.Queue("INSERT INTO parked (digest, seq, subject, reason, payload, park_time) VALUES ($1, $2, $3, $4, $5, $6)",
			p.Digest[:], p.Seq, p.Subject, p.Reason, p.Payload, p.Time)
	}
	queueArrivals(b, g.Arrivals, g.Checkpoint.Time)
	b.Queue("COMMIT")
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("append %d entries at %d: %w", len(g.Entries), g.From, err)
	}
	return nil
}
