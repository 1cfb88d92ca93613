package store

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDC23_AnEvidenceRangeIsInTheLogAndBounded(t *testing.T) {
	const end = 3_000_000
	for r, want := range map[Range]string{
		{0, 0}: "", {0, 999_999}: "", {end - 1, end - 1}: "", {end - 1_000_000, end - 1}: "",
		{1, 0}: "smaller", {0, 1_000_000}: "at most 1000000", {0, end - 1}: "at most", {end - 1, end}: "no such entry",
		{0, 1 << 62}: "no such entry", {0, math.MaxInt64}: "no such entry", {math.MaxInt64, math.MaxInt64}: "no such entry",
	} {
		if flaw := r.flaw(end); want == "" {
			require.Empty(t, flaw, "%v", r)
		} else {
			require.Contains(t, flaw, want, "%v", r)
		}
	}
}
