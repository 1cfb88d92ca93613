package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

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

// recentCosignatures is how many of the newest are looked at for the checkpoint to show: those of
// several rounds of all witnesses.
const recentCosignatures = 64

// PublicCheckpoint returns the checkpoint to show to everybody: of the last minute's the one that most
// witnesses cosigned, with their signatures; the newest one where none of them has any. "" for an empty log.
// Witnesses sign a moment later than the log grows, so the newest checkpoint hardly ever has cosignatures.
func (s *Store) PublicCheckpoint(ctx context.Context) (string, error) {
	var signed string
	err := s.pool.QueryRow(ctx, `
		WITH newest AS (SELECT size, note, append_time FROM checkpoints ORDER BY size DESC LIMIT 1),
		cosigned AS (
			SELECT size, count(*) AS witnesses, string_agg(signature || E'\n', '' ORDER BY witness) AS lines
			FROM (SELECT * FROM cosignatures ORDER BY size DESC LIMIT $1) AS recent GROUP BY size
		)
		SELECT note || lines FROM (
			SELECT c.note, s.lines, s.witnesses, c.size FROM cosigned s JOIN checkpoints c USING (size), newest n
			WHERE c.append_time >= n.append_time - interval '1 minute'
			UNION ALL
			SELECT note, '', 0, size FROM newest
		) AS candidates
		ORDER BY witnesses DESC, size DESC LIMIT 1`, recentCosignatures).Scan(&signed)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return signed, failed("read the public checkpoint", err)
}
