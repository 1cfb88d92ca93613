package counter

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// naive is what a counter should say, worked out from all that ever came.
type naive struct {
	spec   Spec
	slice  int64
	events map[uint64][]seen
}

type seen struct {
	value   uint64
	slice   int64
	seq     int64
	changed bool
}

func (m *naive) newest(key uint64) int64 {
	newest := int64(-1)
	for _, e := range m.events[key] {
		newest = max(newest, e.slice)
	}
	return newest
}

func (m *naive) add(key, value uint64, at, seq int64) {
	e := seen{value: value, slice: at / m.slice, seq: seq}
	if all := m.events[key]; len(all) > 0 {
		newest := m.newest(key)
		if e.slice <= newest-Slices {
			return // too late
		}
		e.changed = e.slice < newest+Slices && all[len(all)-1].value != value
	}
	m.events[key] = append(m.events[key], e)
}

func (m *naive) count(key uint64, at int64) int64 {
	end := max(m.newest(key), at/m.slice)
	values, changes, events := map[uint64]bool{}, 0, 0
	for _, e := range m.events[key] {
		if e.slice <= end-Slices {
			continue
		}
		values[e.value] = true
		events++
		if e.changed {
			changes++
		}
	}
	return map[Kind]int64{Events: int64(events), Distinct: int64(len(values)), Changes: int64(changes)}[m.spec.Kind]
}

// Whatever comes, late and reordered by up to a window, for keys in any mix: the counter
// says what one says that keeps everything and counts anew each time.
func TestCountersAgreeWithANaiveModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := Spec{
			Kind: Kind(rapid.IntRange(0, 2).Draw(t, "kind")), Keys: 100,
			Window: time.Duration(rapid.IntRange(64, 7000).Draw(t, "window")) * time.Millisecond,
		}
		c, err := New(spec)
		require.NoError(t, err)
		m := &naive{spec: spec, slice: c.slice, events: map[uint64][]seen{}}
		now := int64(1_000_000)
		for seq := range int64(rapid.IntRange(1, 120).Draw(t, "events")) {
			now += int64(rapid.IntRange(0, int(spec.Window.Milliseconds())/4).Draw(t, "step"))
			if rapid.IntRange(0, 15).Draw(t, "pause") == 0 {
				now += int64(rapid.IntRange(0, 4).Draw(t, "windows")) * spec.Window.Milliseconds()
			}
			late := int64(rapid.IntRange(0, int(spec.Window.Milliseconds())).Draw(t, "late"))
			key, value := uint64(rapid.IntRange(0, 3).Draw(t, "key")), uint64(rapid.IntRange(0, 5).Draw(t, "value"))
			at := now - late
			c.Add(key, value, at, seq)
			m.add(key, value, at, seq)
			for key := range uint64(4) {
				for _, at := range []int64{at, now, now + spec.Window.Milliseconds()/2} {
					n, _ := c.Count(key, at)
					if want := m.count(key, at); n != want {
						t.Fatalf("after entry %d, key %d at %d: %d, a naive count says %d", seq, key, at, n, want)
					}
				}
			}
		}
	})
}

func TestTheFirstEntryOfAWindowIsNamed(t *testing.T) {
	t.Parallel()
	c, err := New(Spec{Window: time.Minute, Keys: 10})
	require.NoError(t, err)
	for i := range int64(5) {
		c.Add(1, 0, i*20_000, 100+i)
	}
	n, first := c.Count(1, 80_000)
	require.EqualValues(t, 3, n)
	require.EqualValues(t, 102, first)
	n, first = c.Count(2, 80_000)
	require.Zero(t, n)
	require.Zero(t, first)
}

// Memory is bounded: keys whose window has passed go for nothing, others are counted as they go.
func TestKeysMakeRoomAndThatIsCounted(t *testing.T) {
	t.Parallel()
	c, err := New(Spec{Window: time.Second, Keys: 100})
	require.NoError(t, err)
	for key := range uint64(100) {
		c.Add(key, 0, 1000, int64(key))
	}
	require.Zero(t, c.Evicted())
	c.Add(0, 0, 1100, 100) // counted again, so it is not the first to go
	c.Add(1000, 0, 1200, 101)
	require.EqualValues(t, 1, c.Evicted())
	require.Equal(t, 100, c.Keys())
	n, _ := c.Count(0, 1200)
	require.EqualValues(t, 2, n)
	n, _ = c.Count(1, 1200)
	require.Zero(t, n, "the one not counted for longest made room")
	for key := range uint64(200) {
		c.Add(2000+key, 0, 10_000, 102)
	}
	require.EqualValues(t, 1+100, c.Evicted(), "the first hundred were over, the second made room for the third")
	require.Equal(t, 100, c.Keys())
}

func TestDifferentValuesAreToldApartUpToABound(t *testing.T) {
	t.Parallel()
	c, err := New(Spec{Kind: Distinct, Window: time.Minute, Keys: 1})
	require.NoError(t, err)
	for i := range uint64(MaxDistinct + 500) {
		c.Add(1, i, 1000, int64(i))
	}
	n, _ := c.Count(1, 1000)
	require.EqualValues(t, MaxDistinct, n)
	c.Add(1, 1<<40, 1000+time.Minute.Milliseconds()*3/4, 0)
	c.Add(1, 1<<41, 1000+time.Minute.Milliseconds()*3/2, 0)
	e, _ := c.cells.Peek(1)
	require.Less(t, len(e.values), MaxDistinct/2, "values out of the window are forgotten")
}

// Whoever makes very many different values must not slow down what looks at everybody.
func TestManyDifferentValuesStayCheap(t *testing.T) {
	t.Parallel()
	c, err := New(Spec{Kind: Distinct, Window: time.Hour, Keys: 1})
	require.NoError(t, err)
	// Takes a second; to look through all values for each of them takes minutes.
	window, deadline := time.Hour.Milliseconds(), time.Now().Add(20*time.Second)
	for i := range 40 * MaxDistinct {
		c.Add(1, uint64(i), int64(i)*window/(4*MaxDistinct), int64(i))
		if i%1000 == 0 {
			require.True(t, time.Now().Before(deadline), "%d values after 20 s", i)
		}
	}
	n, _ := c.Count(1, 39*MaxDistinct*window/(4*MaxDistinct))
	require.GreaterOrEqual(t, n, int64(MaxDistinct)*7/8-1)
}

func BenchmarkAdd(b *testing.B) {
	for name, kind := range map[string]Kind{"events": Events, "distinct": Distinct, "changes": Changes} {
		b.Run(name, func(b *testing.B) {
			c, err := New(Spec{Kind: kind, Window: time.Hour, Keys: 50_000})
			require.NoError(b, err)
			keys := rand.Perm(10_000)
			var at int64
			for b.Loop() {
				at++
				c.Add(uint64(keys[at%10_000]), uint64(at%97), at, at)
			}
		})
	}
}
