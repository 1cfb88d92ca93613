package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/ledger"
)

// ErrNoTile says that the log has not grown to a tile yet, or never will have it.
var ErrNoTile = errors.New("the log has no such tile")

const commitmentSize = 32

// Tile returns the hashes of one tile, complete or not: what Tiles gives for proofs.
func (s *Store) Tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	data, err := s.Tiles(ctx).ReadTiles([]tlog.Tile{t})
	if err != nil {
		return nil, err
	}
	return data[0], nil
}

// Bundle returns the commitments of width entries from tile n on, each with its length before it in two
// bytes, as C2SP tlog-tiles has them. Where an entry is not there yet, or any more, there is no bundle.
func (s *Store) Bundle(ctx context.Context, n int64, width int) ([]byte, error) {
	from := n * ledger.TileWidth
	rows, err := s.pool.Query(ctx, "SELECT commitment FROM commitments($1, $2)", from, from+int64(width))
	if err != nil {
		return nil, failed("read commitments", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, failed("read commitments", err)
	}
	if len(found) != width {
		return nil, fmt.Errorf("entries from %d on: %w", from, ErrNoTile)
	}
	bundle := make([]byte, 0, width*(2+commitmentSize))
	for _, c := range found {
		bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(c)))
		bundle = append(bundle, c...)
	}
	return bundle, nil
}

// PublicCheckpoint returns the checkpoint to show to everybody, with its cosignatures; "" for an empty log.
// Witnesses sign a moment later than the log grows, so where there are any it is the newest one that one of them
// signed: it never shrinks, since all that sign a checkpoint do so in one round.
func (s *Store) PublicCheckpoint(ctx context.Context, witnessed bool) (string, error) {
	newest := "SELECT size FROM checkpoints ORDER BY size DESC LIMIT 1"
	if witnessed {
		newest = "SELECT coalesce((SELECT size FROM cosignatures ORDER BY size DESC LIMIT 1), (" + newest + "))"
	}
	var signed string
	err := s.pool.QueryRow(ctx, `
		SELECT c.note || coalesce((SELECT string_agg(signature || E'\n', '' ORDER BY witness) FROM cosignatures s WHERE s.size = c.size), '')
		FROM checkpoints c WHERE c.size = (`+newest+`)`).Scan(&signed)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return signed, failed("read the public checkpoint", err)
}

// Cosignature is what a witness signed.
type Cosignature struct {
	Size      int64     // of the checkpoint
	Witness   string    // name and hash of the key
	Signature string    // the line of the signed note
	Time      time.Time // by the witness's clock
}

// AddCosignatures stores what witnesses signed in one round, all or nothing; what is there already stays.
func (s *Store) AddCosignatures(ctx context.Context, list []Cosignature) error {
	sizes, witnesses := make([]int64, len(list)), make([]string, len(list))
	lines, times := make([]string, len(list)), make([]time.Time, len(list))
	for i, c := range list {
		sizes[i], witnesses[i], lines[i], times[i] = c.Size, c.Witness, c.Signature, c.Time
	}
	_, err := s.pool.Exec(ctx, `
		INSERT INTO cosignatures (size, witness, signature, cosign_time)
		SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[]) ON CONFLICT DO NOTHING`, sizes, witnesses, lines, times)
	return failed("store cosignatures", err)
}

// Cosigned returns the size of the newest checkpoint that a witness signed, 0 for none.
func (s *Store) Cosigned(ctx context.Context, witness string) (int64, error) {
	var size int64
	err := s.pool.QueryRow(ctx, "SELECT coalesce(max(size), 0) FROM cosignatures WHERE witness = $1", witness).Scan(&size)
	return size, failed("read cosignatures", err)
}
