// Package ranges is sets of whole numbers that mostly follow each other, as those of
// outbox rows do: a set of a million is one range. It knows nothing of rows.
package ranges

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// Range is numbers, both ends included.
type Range struct{ First, Last int64 }

// Set is ranges in order that do not touch. Its zero value is empty.
type Set []Range

// Of is the set of one range; empty where last is below first.
func Of(first, last int64) Set {
	if last < first {
		return nil
	}
	return Set{{first, last}}
}

// Add adds the numbers of a range, in place where it can. Numbers are below 2^63-1.
func (s *Set) Add(first, last int64) {
	if last < first {
		return
	}
	from := sort.Search(len(*s), func(i int) bool { return (*s)[i].Last >= first-1 })
	to := from
	for to < len(*s) && (*s)[to].First <= last+1 {
		first, last = min(first, (*s)[to].First), max(last, (*s)[to].Last)
		to++
	}
	*s = slices.Replace(*s, from, to, Range{first, last})
}

// Union is the numbers of either.
func (s Set) Union(other Set) Set {
	out := slices.Clone(s)
	for _, r := range other {
		out.Add(r.First, r.Last)
	}
	return out
}

// Minus is the numbers that are not in the other.
func (s Set) Minus(other Set) Set {
	var out Set
	i := 0
	for _, r := range s {
		for i < len(other) && other[i].Last < r.First {
			i++
		}
		first := r.First
		for j := i; j < len(other) && other[j].First <= r.Last; j++ {
			if first < other[j].First {
				out = append(out, Range{first, other[j].First - 1})
			}
			first = other[j].Last + 1
		}
		if first <= r.Last {
			out = append(out, Range{first, r.Last})
		}
	}
	return out
}

// And is the numbers of both.
func (s Set) And(other Set) Set { return s.Minus(s.Minus(other)) }

// From is the numbers that are first or more.
func (s Set) From(first int64) Set { return s.And(Of(first, math.MaxInt64-1)) }

// Len is how many numbers are in it.
func (s Set) Len() (n int64) {
	for _, r := range s {
		n += r.Last - r.First + 1
	}
	return n
}

// Newest is the last n ranges.
func (s Set) Newest(n int) Set { return s[max(0, len(s)-n):] }

// Proto is the set on the wire.
func (s Set) Proto() []*auditv1.NumberRange {
	out := make([]*auditv1.NumberRange, len(s))
	for i, r := range s {
		out[i] = &auditv1.NumberRange{First: r.First, Last: r.Last}
	}
	return out
}

// FromProto reads a set from the wire. Its error says that it holds what no number of a row is.
func FromProto(list []*auditv1.NumberRange) (Set, error) {
	var s Set
	for _, r := range list {
		if r.GetFirst() < 1 || r.GetLast() < r.GetFirst() || r.GetLast() == math.MaxInt64 {
			return nil, fmt.Errorf("%d to %d is no range of numbers", r.GetFirst(), r.GetLast())
		}
		s.Add(r.GetFirst(), r.GetLast())
	}
	return s, nil
}

// String is the set as PostgreSQL spells an int8multirange: {[1,4),[7,8)}.
func (s Set) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, r := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "[%d,%d)", r.First, r.Last+1)
	}
	b.WriteByte('}')
	return b.String()
}

// Text is the set for people: 1-3, 7.
func (s Set) Text() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = strconv.FormatInt(r.First, 10)
		if r.Last > r.First {
			parts[i] += "-" + strconv.FormatInt(r.Last, 10)
		}
	}
	return strings.Join(parts, ", ")
}

// Parse reads what String writes.
func Parse(text string) (Set, error) {
	inner, ok := strings.CutPrefix(text, "{")
	if inner, ok2 := strings.CutSuffix(inner, "}"); ok && ok2 {
		return parse(inner)
	}
	return nil, fmt.Errorf("%q is no set of ranges", text)
}

func parse(inner string) (Set, error) {
	var s Set
	for len(inner) > 0 {
		var first, end int64
		if _, err := fmt.Sscanf(inner, "[%d,%d)", &first, &end); err != nil || end <= first {
			return nil, fmt.Errorf("%q is no range", inner)
		}
		s.Add(first, end-1)
		_, inner, _ = strings.Cut(inner, ")")
		inner = strings.TrimPrefix(inner, ",")
	}
	return s, nil
}
