// Package watch knows which patients are watched more closely: those in the public eye
// (VIP), and charts of nobody that catch who looks (decoys). The marks of a practice are one
// sealed list; each access is held against it where its audit events are committed, so that no
// way into a chart can forget it.
package watch

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Mark says how a patient is watched.
type Mark byte

// Marks; a patient may have both.
const (
	VIP Mark = 1 << iota
	Decoy
)

const (
	// maxMarked bounds a list. The least size holds as many as most practices ever mark.
	maxMarked   = 4096
	leastMarked = 256
	entryBytes  = len(uuid.UUID{}) + 1
	countBytes  = 4
)

// list is a practice's marks. It is shared and never changed.
type list struct {
	// row is the digest of the stored row that it was opened from.
	row   [sha256.Size]byte
	marks map[uuid.UUID]Mark
	// vips are the patients with the mark, for statements.
	vips []uuid.UUID
	// broken says that the row did not open when it was last tried; the marks are those known before.
	broken bool
	tried  time.Time
}

func newList(row store.WatchList, marks map[uuid.UUID]Mark) *list {
	l := &list{row: digest(row), marks: marks}
	l.vips = l.with(VIP)
	return l
}

func digest(row store.WatchList) [sha256.Size]byte {
	raw := binary.BigEndian.AppendUint64(row.KeyID[:], uint64(row.Generation)) //nolint:gosec // only compared
	raw = append(append(raw, row.Sealed...), row.Wrapped...)
	return sha256.Sum256(raw)
}

// with are the patients that have a mark, in order.
func (l *list) with(m Mark) []uuid.UUID {
	out := []uuid.UUID{}
	for id, mark := range l.marks {
		if mark&m != 0 {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return out
}

// encode writes a list in a size that does not tell how many it holds, but for powers of two
// from 256 on.
func encode(marks map[uuid.UUID]Mark) []byte {
	size := leastMarked
	for size < len(marks) {
		size *= 2
	}
	out := make([]byte, 0, countBytes+size*entryBytes)
	out = binary.BigEndian.AppendUint32(out, uint32(len(marks))) //nolint:gosec // at most maxMarked
	for id, mark := range marks {
		out = append(append(out, id[:]...), byte(mark))
	}
	return out[:cap(out)]
}

func decode(row store.WatchList, raw []byte) (*list, error) {
	if len(raw) < countBytes {
		return nil, envelope.ErrBroken
	}
	n := int(binary.BigEndian.Uint32(raw))
	raw = raw[countBytes:]
	if n > maxMarked || len(raw) < n*entryBytes {
		return nil, envelope.ErrBroken
	}
	marks := make(map[uuid.UUID]Mark, n)
	for entry := range slices.Chunk(raw[:n*entryBytes], entryBytes) {
		marks[uuid.UUID(entry[:len(uuid.UUID{})])] = Mark(entry[entryBytes-1])
	}
	return newList(row, marks), nil
}

func binding(practice uuid.UUID, generation int64, key uuid.UUID) envelope.Binding {
	return envelope.Binding{Practice: practice, Type: store.TypeWatchList, ID: practice, Version: generation, KeyID: key}
}
