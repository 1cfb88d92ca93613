// Package counter counts events by key over sliding windows, in bounded memory: how
// many there were, how many different values they had, or how often a value changed.
// It knows neither events nor rules, and takes time only from what it is given.
package counter

import (
	"fmt"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Kind is what a counter counts.
type Kind int

// What counters count.
const (
	Events   Kind = iota // how many there were
	Distinct             // how many different values they had
	Changes              // how often the value was another than that of the event before
)

const (
	// Slices is how many parts a window has. It moves by whole parts, so a count covers
	// the last 63 to 64 sixty-fourths of the window.
	Slices = 64
	// MaxDistinct is how many different values one key tells apart; a count stops between seven eighths of it and it.
	MaxDistinct = 10_000
)

// Spec says what a counter counts.
type Spec struct {
	Kind   Kind
	Window time.Duration
	// Keys is how many keys are kept. Those not counted for longest make room.
	Keys int
}

// Counter counts. It is not safe for concurrent use.
type Counter struct {
	spec    Spec
	slice   int64 // milliseconds
	cells   *simplelru.LRU[uint64, *cell]
	evicted uint64
}

// cell is what is known of one key.
type cell struct {
	live   []slot // ascending, all within the window that ends at the last one
	total  int64
	last   uint64           // the value before, of Changes
	values map[uint64]int64 // value to the slice it was last seen in, of Distinct
}

// slot is what was counted in one slice of time.
type slot struct {
	at    int64
	n     int64
	first int64 // the smallest entry number
}

// New returns an empty counter.
func New(spec Spec) (*Counter, error) {
	if spec.Window < Slices*time.Millisecond || spec.Keys < 1 {
		return nil, fmt.Errorf("counter: a window of %s for %d keys", spec.Window, spec.Keys)
	}
	cells, err := simplelru.NewLRU[uint64, *cell](spec.Keys, nil)
	if err != nil {
		return nil, fmt.Errorf("counter: %w", err)
	}
	slice := (spec.Window.Milliseconds() + Slices - 1) / Slices
	return &Counter{spec: spec, slice: slice, cells: cells}, nil
}

// Evicted is how many keys made room although their window had not passed: what they
// had counted is lost.
func (c *Counter) Evicted() uint64 { return c.evicted }

// Keys is how many keys are kept now.
func (c *Counter) Keys() int { return c.cells.Len() }

// Add counts entry number seq of a key, at a time in Unix milliseconds. Events may come in any order;
// one that is older than the window that ends at the newest of its key is not counted.
func (c *Counter) Add(key, value uint64, at, seq int64) {
	slice := at / c.slice
	e, known := c.cells.Get(key)
	if !known {
		e = &cell{}
		c.makeRoom(slice)
		c.cells.Add(key, e)
	} else if e.over(slice) {
		*e, known = cell{}, false
	} else if slice <= e.live[len(e.live)-1].at-Slices {
		return
	}
	switch c.spec.Kind {
	case Events:
		e.add(slice, seq)
	case Distinct:
		e.addValue(value, slice, seq)
	case Changes:
		if known && e.last != value {
			e.add(slice, seq)
		} else {
			e.touch(slice, seq)
		}
		e.last = value
	}
	e.expire()
}

// Count is what was counted for a key in the window that ends at a time, or at the key's newest
// event where that is later; and the number of the first entry that is in it.
func (c *Counter) Count(key uint64, at int64) (n, first int64) {
	e, known := c.cells.Peek(key)
	if !known {
		return 0, 0
	}
	oldest := at/c.slice - Slices
	n = e.total
	for _, s := range e.live {
		if s.at > oldest {
			return n, s.first
		}
		n -= s.n
	}
	return 0, 0
}

// makeRoom forgets keys whose window has long passed, and where the table is full, the one not counted
// for longest. A key stays for a second window: an event that is late by less finds what it belongs to.
func (c *Counter) makeRoom(now int64) {
	for range 2 { // more than one for each that comes, so that the table shrinks
		if _, oldest, ok := c.cells.GetOldest(); !ok || !oldest.over(now-Slices) {
			break
		}
		c.cells.RemoveOldest()
	}
	if c.cells.Len() < c.spec.Keys {
		return
	}
	if _, oldest, ok := c.cells.RemoveOldest(); ok && !oldest.over(now) {
		c.evicted++
	}
}
