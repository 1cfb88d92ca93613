package counter

import "slices"

// over reports whether the window of the cell has passed at a slice.
func (e *cell) over(slice int64) bool { return slice >= e.live[len(e.live)-1].at+Slices }

// add counts one in a slice.
func (e *cell) add(slice, seq int64) {
	e.touch(slice, seq).n++
	e.total++
}

// touch finds or makes the slot of a slice. Mostly it is the last one.
func (e *cell) touch(slice, seq int64) *slot {
	i := len(e.live)
	for i > 0 && e.live[i-1].at > slice {
		i--
	}
	if i > 0 && e.live[i-1].at == slice {
		s := &e.live[i-1]
		s.first = min(s.first, seq)
		return s
	}
	e.live = slices.Insert(e.live, i, slot{at: slice, first: seq})
	return &e.live[i]
}

// addValue counts a value in the newest slice that it was seen in.
func (e *cell) addValue(value uint64, slice, seq int64) {
	seen, known := e.values[value]
	switch {
	case known && seen >= slice:
		e.touch(slice, seq)
		return
	case known:
		e.forget(seen)
	case len(e.values) >= MaxDistinct && !e.stale():
		e.touch(slice, seq)
		return
	case len(e.values) >= MaxDistinct:
		e.sweep(e.live[len(e.live)-1].at - Slices)
	}
	if e.values == nil {
		e.values = make(map[uint64]int64, 1)
	}
	e.values[value] = slice
	e.add(slice, seq)
}

// forget takes one away from a slice that a value has left.
func (e *cell) forget(slice int64) {
	for i := range e.live {
		if e.live[i].at == slice {
			e.live[i].n--
			e.total--
			return
		}
	}
}

// expire drops what is no longer in the window that ends at the newest slot.
func (e *cell) expire() {
	oldest := e.live[len(e.live)-1].at - Slices
	gone := 0
	for e.live[gone].at <= oldest {
		e.total -= e.live[gone].n
		gone++
	}
	e.live = slices.Delete(e.live, 0, gone)
	if gone > 0 && len(e.values) > 2*int(e.total)+16 {
		e.sweep(oldest)
	}
}

// stale reports whether an eighth of the values has left the window. To look through all costs as much as
// there are: somebody who makes thousands of different ones must not make each of them cost that.
func (e *cell) stale() bool { return (len(e.values)-int(e.total))*8 > len(e.values) }

// sweep drops the values that were not seen after a slice.
func (e *cell) sweep(oldest int64) {
	for value, seen := range e.values {
		if seen <= oldest {
			delete(e.values, value)
		}
	}
}
