package ledger

import "golang.org/x/mod/sumdb/tlog"

// spine is the verifier's own tree. It shares no code with [Frontier], so that a
// mistake in one does not hide in the other.
type spine struct {
	size  int64
	peaks []peak
	// Per tile level, the hashes of the tile being filled, and the last full one.
	filling [][]tlog.Hash
	full    []fullTile
}

type peak struct {
	level int
	hash  tlog.Hash
}

type fullTile struct {
	index  int64
	hashes []tlog.Hash
}

func (s *spine) add(leaf tlog.Hash) {
	p := peak{hash: leaf}
	s.note(p)
	for len(s.peaks) > 0 && s.peaks[len(s.peaks)-1].level == p.level {
		left := s.peaks[len(s.peaks)-1]
		s.peaks = s.peaks[:len(s.peaks)-1]
		p = peak{level: p.level + 1, hash: tlog.NodeHash(left.hash, p.hash)}
		s.note(p)
	}
	s.peaks = append(s.peaks, p)
	s.size++
}

// note remembers a hash that stands in a tile.
func (s *spine) note(p peak) {
	if p.level%TileHeight != 0 {
		return
	}
	level := p.level / TileHeight
	if level == len(s.filling) {
		s.filling = append(s.filling, nil)
		s.full = append(s.full, fullTile{index: -1})
	}
	s.filling[level] = append(s.filling[level], p.hash)
	if len(s.filling[level]) == TileWidth {
		s.full[level] = fullTile{index: s.full[level].index + 1, hashes: s.filling[level]}
		s.filling[level] = nil
	}
}

// root returns the root; the tree must not be empty.
func (s *spine) root() tlog.Hash {
	h := s.peaks[len(s.peaks)-1].hash
	for i := len(s.peaks) - 2; i >= 0; i-- {
		h = tlog.NodeHash(s.peaks[i].hash, h)
	}
	return h
}

// due returns how many tiles the last entry completed: the tiles of levels 0 to due-1.
func (s *spine) due() int {
	n := 0
	for size := s.size; size > 0 && size%TileWidth == 0; size /= TileWidth {
		n++
	}
	return n
}
