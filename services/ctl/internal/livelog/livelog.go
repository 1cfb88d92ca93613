// Package livelog verifies a log that a server shows to everybody (C2SP tlog-tiles): its signed checkpoint, that
// it extends every checkpoint that was kept from before, and that the entries are those that it signed. It knows the
// log by its key alone and needs no session. What the entries say it cannot see.
package livelog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"github.com/carekeep/carekeep/libs/ledger"
)

// Fetch gets one file below the log's prefix; ErrAbsent where there is none.
type Fetch func(ctx context.Context, path string) ([]byte, error)

// ErrAbsent says that the server has no such file.
var ErrAbsent = errors.New("not found")

// Fresh is how old a kept checkpoint has to be that the server must know: what it shows may be that much behind
// what was signed, since witnesses sign first.
const Fresh = 2 * time.Minute

// Report is the outcome.
type Report struct {
	Checkpoint ledger.Checkpoint
	Signed     string   // the checkpoint as a note, with all signatures
	Cosigners  []string // the known witnesses that signed it
	From       int64    // entries before it were verified earlier, and only held to the checkpoint of then
	Entries    int64    // entries whose commitment was verified now
	Kept       int      // kept checkpoints that the log extends
	Younger    int      // kept checkpoints that may be younger than what the server shows
	Problems   []ledger.Problem
}

// Options say what to hold the log to.
type Options struct {
	Trust ledger.Trust
	// Last is the checkpoint up to which the log was verified before; zero: begin at the first entry.
	Last ledger.Checkpoint
	// Witnesses are keys of C2SP tlog-cosignature; others' signatures are ignored.
	Witnesses []note.Verifier
	Now       time.Time
}

// run is one verification.
type run struct {
	Options
	fetch  Fetch
	report Report
	tiles  *tiles
	hashes tlog.HashReader
}

// Verify reads the log. The error is about the network; what is wrong with the log is in the report.
func Verify(ctx context.Context, fetch Fetch, o Options) (*Report, error) {
	r := &run{Options: o, fetch: fetch}
	raw, err := fetch(ctx, "checkpoint")
	if err != nil {
		return nil, err
	}
	if !r.open(string(raw)) {
		return &r.report, nil
	}
	r.tiles = &tiles{ctx: ctx, fetch: fetch, seen: map[string][]byte{}}
	r.hashes = tlog.TileHashReader(r.report.Checkpoint.Tree(), r.tiles)
	if err := r.growth(); err != nil || len(r.report.Problems) > 0 {
		return &r.report, err
	}
	return &r.report, r.entries(ctx)
}

func (r *run) problem(kind ledger.Kind, first, last int64, format string, args ...any) {
	r.report.Problems = append(r.report.Problems, ledger.Problem{Kind: kind, First: first, Last: last, Detail: fmt.Sprintf(format, args...)})
}

// open checks the signatures of the checkpoint.
func (r *run) open(signed string) bool {
	c, err := ledger.OpenCheckpoint(signed, r.Trust.Keys)
	switch {
	case err != nil:
		r.problem(ledger.CheckpointInvalid, -1, -1, "%v", err)
		return false
	case c.Log != r.Trust.Log:
		r.problem(ledger.CheckpointInvalid, -1, -1, "the checkpoint is of log %q, the key of log %q", c.Log, r.Trust.Log)
		return false
	}
	r.report.Checkpoint, r.report.Signed = c, signed
	if n, err := note.Open([]byte(signed), note.VerifierList(r.Witnesses...)); err == nil {
		for _, s := range n.Sigs {
			r.report.Cosigners = append(r.report.Cosigners, s.Name)
		}
	}
	return true
}

// growth holds the log to every checkpoint from before.
func (r *run) growth() error {
	c := r.report.Checkpoint
	kept := r.Trust.Kept
	if r.Last.Size > 0 {
		kept = append(kept[:len(kept):len(kept)], r.Last)
	}
	for _, k := range kept {
		if k.Size > c.Size {
			if r.Now.Sub(k.Time) < Fresh {
				r.report.Younger++
			} else {
				r.problem(ledger.RolledBack, c.Size, k.Size-1, "gone: a checkpoint of size %d was signed at %s, the server shows one of size %d",
					k.Size, k.Time.Format(time.RFC3339), c.Size)
			}
			continue
		}
		root, err := tlog.TreeHash(k.Size, r.hashes)
		if err != nil {
			return r.unread(err)
		}
		if root != k.Root {
			r.problem(ledger.Rewritten, -1, -1, "the checkpoint of size %d that was kept signed other entries", k.Size)
			continue
		}
		r.report.Kept++
	}
	return nil
}

// unread tells a server that does not answer from one whose tiles are not those that were signed.
func (r *run) unread(err error) error {
	if network := new(fetchError); errors.As(err, &network) && !errors.Is(err, ErrAbsent) {
		return err
	}
	r.problem(ledger.TileDiffers, -1, -1, "%v", err)
	return nil
}

// bundle is 256 entries, or fewer at the end of the log.
type bundle struct {
	tile    tlog.Tile
	entries []byte
	absent  bool
}

// entries holds every entry since the last verification to its leaf in the tree. Bundles are fetched side by
// side and looked at in their order.
func (r *run) entries(ctx context.Context) error {
	r.report.From = r.Last.Size
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan chan bundle, 2*runtime.GOMAXPROCS(0)+6)
	group.Go(func() error {
		defer close(queue)
		for n := r.report.From / ledger.TileWidth; n*ledger.TileWidth < r.report.Checkpoint.Size; n++ {
			result := make(chan bundle, 1)
			group.Go(func() error {
				b, err := r.bundle(ctx, n)
				result <- b
				return err
			})
			select {
			case queue <- result:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for result := range queue {
		b := <-result
		if ctx.Err() != nil {
			break
		}
		if err := r.check(b); err != nil {
			return err
		}
	}
	return group.Wait()
}

func (r *run) bundle(ctx context.Context, n int64) (bundle, error) {
	t := tlog.Tile{H: ledger.TileHeight, L: -1, N: n, W: int(min(ledger.TileWidth, r.report.Checkpoint.Size-n*ledger.TileWidth))}
	raw, err := r.fetch(ctx, path(t))
	if errors.Is(err, ErrAbsent) {
		return bundle{tile: t, absent: true}, nil
	}
	return bundle{tile: t, entries: raw}, err
}

// check holds one bundle to its leaves.
func (r *run) check(b bundle) error {
	first := b.tile.N * ledger.TileWidth
	if b.absent {
		// Also where retention let them go: their commitments are shown for good.
		r.problem(ledger.EntryMissing, first, first+int64(b.tile.W)-1, "the server does not show them")
		return nil
	}
	leaves, whole := leavesOf(b)
	if !whole {
		r.problem(ledger.Malformed, first, first+int64(b.tile.W)-1, "their bundle breaks off, or more stands behind them")
		return nil
	}
	// The leaves that follow from the entries take the place of the server's own tile: what tlog
	// holds to the checkpoint then is the entries, and one request less is made.
	leafTile := tlog.Tile{H: ledger.TileHeight, L: 0, N: b.tile.N, W: b.tile.W}
	r.tiles.put(leafTile, leaves)
	_, err := r.hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, first)})
	r.tiles.drop(leafTile)
	if err != nil {
		return r.name(leafTile, leaves, err)
	}
	r.report.Entries += min(int64(b.tile.W), first+int64(b.tile.W)-r.report.From)
	return nil
}

// name finds out which of the entries are not those that were signed.
func (r *run) name(t tlog.Tile, leaves []byte, cause error) error {
	if network := new(fetchError); errors.As(cause, &network) {
		return r.unread(cause)
	}
	first := t.N * ledger.TileWidth
	indexes := make([]int64, t.W)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
	}
	signed, err := r.hashes.ReadHashes(indexes)
	if err != nil {
		return r.unread(err)
	}
	for i, leaf := range signed {
		if string(leaf[:]) != string(leaves[i*tlog.HashSize:(i+1)*tlog.HashSize]) {
			r.problem(ledger.EntryAltered, first+int64(i), first+int64(i), "what the server shows of it is not what was signed")
		}
	}
	return nil
}

// leavesOf returns the leaf hashes of a bundle, which must hold its entries and nothing else.
func leavesOf(b bundle) (leaves []byte, whole bool) {
	rest := b.entries
	for range b.tile.W {
		entry, after, ok := cut(rest)
		if !ok {
			return nil, false
		}
		leaf := tlog.RecordHash(entry)
		leaves, rest = append(leaves, leaf[:]...), after
	}
	return leaves, len(rest) == 0
}

// cut takes one entry off a bundle: its length in two bytes, and itself.
func cut(raw []byte) (entry, rest []byte, ok bool) {
	if len(raw) < 2 {
		return nil, nil, false
	}
	size := int(binary.BigEndian.Uint16(raw))
	if len(raw) < 2+size {
		return nil, nil, false
	}
	return raw[2 : 2+size], raw[2+size:], true
}
