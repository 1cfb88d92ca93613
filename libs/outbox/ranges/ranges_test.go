package ranges_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/libs/outbox/ranges"
)

const top = 40

// pair is a set, and the same as a map of numbers.
func pair(t *rapid.T, name string) (ranges.Set, map[int64]bool) {
	var s ranges.Set
	plain := map[int64]bool{}
	for range rapid.IntRange(0, 12).Draw(t, name) {
		first := rapid.Int64Range(1, top).Draw(t, "first")
		last := rapid.Int64Range(first-1, min(top, first+5)).Draw(t, "last")
		s.Add(first, last)
		for n := first; n <= last; n++ {
			plain[n] = true
		}
	}
	return s, plain
}

func TestSetsAreSets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, inA := pair(t, "a")
		b, inB := pair(t, "b")
		for n := int64(0); n <= top+1; n++ {
			one := ranges.Of(n, n)
			require.Equal(t, inA[n], a.And(one).Len() == 1, "%d in %s", n, a)
			require.Equal(t, inA[n] || inB[n], a.Union(b).And(one).Len() == 1, "%d in %s or %s", n, a, b)
			require.Equal(t, inA[n] && !inB[n], a.Minus(b).And(one).Len() == 1, "%d in %s without %s", n, a, b)
			require.Equal(t, inA[n] && inB[n], a.And(b).And(one).Len() == 1, "%d in %s and %s", n, a, b)
			require.Equal(t, inA[n] && n >= 20, a.From(20).And(one).Len() == 1)
		}
		require.EqualValues(t, len(inA), a.Len())
		for i := 1; i < len(a); i++ {
			require.Greater(t, a[i].First, a[i-1].Last+1, "ranges that touch are one: %s", a)
		}
		again, err := ranges.Parse(a.String())
		require.NoError(t, err)
		require.Equal(t, a.String(), again.String())
		wire, err := ranges.FromProto(a.Proto())
		require.NoError(t, err)
		require.Equal(t, a.String(), wire.String())
	})
}

func TestWhatIsNoSetIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "[1,2)", "{[2,1)}", "{(1,2]}", "{x}"} {
		_, err := ranges.Parse(text)
		require.Error(t, err, text)
	}
	for _, r := range []ranges.Range{{0, 1}, {-1, 5}, {3, 2}, {1, 1<<63 - 1}} {
		_, err := ranges.FromProto(ranges.Set{r}.Proto())
		require.Error(t, err, r)
	}
	require.Equal(t, "1-3, 7", ranges.Set{{1, 3}, {7, 7}}.Text())
}
