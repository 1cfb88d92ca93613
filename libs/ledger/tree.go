package ledger

import (
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/tlog"
)

// TileHeight is the height of a tile in tree levels, and TileWidth the number of hashes in it.
const (
	TileHeight = 8
	TileWidth  = 1 << TileHeight
)

var ranges = compact.RangeFactory{Hash: func(left, right []byte) []byte {
	h := tlog.NodeHash(tlog.Hash(left), tlog.Hash(right))
	return h[:]
}}

// Tile is a complete tile.
type Tile struct {
	Level  int
	Index  int64
	Hashes []byte    // 256 hashes of 32 bytes
	Root   tlog.Hash // the hash that stands for this tile one level up
}

// Frontier is the right edge of a tree: as much as appending needs. It holds at
// most 255 hashes a level and is not safe for concurrent use.
type Frontier struct {
	nodes   *compact.Range
	partial [][]byte // per tile level, the hashes of its unfinished tile
}

// NewFrontier returns the frontier of an empty tree.
func NewFrontier() *Frontier {
	return &Frontier{nodes: ranges.NewEmptyRange(0)}
}

// LoadFrontier rebuilds the frontier of a tree of the given size. read returns
// the hashes [from, to) of a tile level: leaf hashes for level 0, roots of
// complete tiles of level n-1 for level n.
func LoadFrontier(size int64, read func(level int, from, to int64) ([]tlog.Hash, error)) (*Frontier, error) {
	f := &Frontier{}
	var peaks [][]byte // left to right, so higher levels come first
	for level := 0; size>>(level*TileHeight) > 0; level++ {
		to := size >> (level * TileHeight)
		from := to &^ (TileWidth - 1)
		hashes, err := read(level, from, to)
		if err != nil {
			return nil, fmt.Errorf("read hashes %d to %d of level %d: %w", from, to, level, err)
		}
		if int64(len(hashes)) != to-from {
			return nil, fmt.Errorf("level %d has %d hashes from %d, want %d", level, len(hashes), from, to-from)
		}
		tile := make([]byte, 0, TileWidth*tlog.HashSize)
		for _, h := range hashes {
			tile = append(tile, h[:]...)
		}
		f.partial = append(f.partial, tile)
		peaks = append(peaksOf(hashes), peaks...)
	}
	nodes, err := ranges.NewRange(0, uint64(size), peaks)
	if err != nil {
		return nil, fmt.Errorf("rebuild tree of size %d: %w", size, err)
	}
	f.nodes = nodes
	return f, nil
}

// peaksOf returns the roots of the largest perfect subtrees over hashes, left to right.
func peaksOf(hashes []tlog.Hash) [][]byte {
	var peaks [][]byte
	for len(hashes) > 0 {
		width := 1
		for width*2 <= len(hashes) {
			width *= 2
		}
		root := perfectRoot(hashes[:width])
		peaks = append(peaks, root[:])
		hashes = hashes[width:]
	}
	return peaks
}

func perfectRoot(hashes []tlog.Hash) tlog.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return tlog.NodeHash(perfectRoot(hashes[:half]), perfectRoot(hashes[half:]))
}

// Size returns the number of leaves.
func (f *Frontier) Size() int64 { return int64(f.nodes.End()) }

// Append adds a leaf and returns the tiles that it completes, mostly none.
func (f *Frontier) Append(leaf tlog.Hash) ([]Tile, error) {
	var done []Tile
	err := f.nodes.Append(leaf[:], func(id compact.NodeID, hash []byte) {
		if id.Level%TileHeight != 0 {
			return
		}
		level := int(id.Level / TileHeight)
		if level == len(f.partial) {
			f.partial = append(f.partial, make([]byte, 0, TileWidth*tlog.HashSize))
		}
		if level > 0 {
			below := level - 1
			done = append(done, Tile{Level: below, Index: int64(id.Index), Hashes: f.partial[below], Root: tlog.Hash(hash)})
			f.partial[below] = make([]byte, 0, TileWidth*tlog.HashSize)
		}
		f.partial[level] = append(f.partial[level], hash...)
	})
	if err != nil {
		return nil, fmt.Errorf("append leaf %d: %w", f.Size(), err)
	}
	return done, nil
}

// Root returns the tree's root hash. A tree without leaves has none and gives an error.
func (f *Frontier) Root() (tlog.Hash, error) {
	root, err := f.nodes.GetRootHash(nil)
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("root of tree of size %d: %w", f.Size(), err)
	}
	if root == nil {
		return tlog.Hash{}, fmt.Errorf("a tree without entries has no root")
	}
	return tlog.Hash(root), nil
}
