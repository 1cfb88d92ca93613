package outbox

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/outbox/ranges"
)

func set(t require.TestingT, list []*auditv1.NumberRange) ranges.Set {
	s, err := ranges.FromProto(list)
	require.NoError(t, err)
	return s
}

// Whatever order transactions begin and end in, a row and a heartbeat claim what was
// committed before, and never what was not.
func TestDTD08_RowsClaimWhatIsCommittedAndNothingElse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := NewCounter()
		kept := ranges.Set{}
		open := map[int64]func(bool){}
		lost := ranges.Set{} // connections that broke in the commit
		var last int64
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch n := rapid.Int64Range(1, last+1).Draw(t, "number"); {
			case open[n] == nil:
				b := &pgx.Batch{}
				ended := c.Append(b, []*auditv1.Event{{EventId: "x"}, {EventId: "y"}})
				last++
				open[last] = ended
				var batch auditv1.Batch
				require.NoError(t, proto.Unmarshal(b.QueuedQueries[0].Arguments[1].([]byte), &batch))
				row := batch.GetRows()[0]
				require.Equal(t, last, row.GetNumber())
				require.EqualValues(t, 2, row.GetEvents())
				require.Equal(t, kept.Newest(claims).String(), set(t, row.GetCommitted()).String())
			case rapid.Bool().Draw(t, "known"):
				keep := rapid.Bool().Draw(t, "kept")
				open[n](keep)
				delete(open, n)
				if keep {
					kept.Add(n, n)
				}
			default:
				delete(open, n)
				lost.Add(n, n)
			}
		}
		unsettled := lost
		for n := range open {
			unsettled = unsettled.Union(ranges.Of(n, n))
		}
		beat := c.Heartbeat()
		require.Equal(t, kept.String(), set(t, beat.GetCommitted()).String())
		require.Equal(t, unsettled.String(), set(t, beat.GetUnsettled()).String())
		require.EqualValues(t, 1, beat.GetFirstNumber())
	})
}

// What a process remembers is bounded, and it says from where on.
func TestTheCounterForgetsOldRanges(t *testing.T) {
	t.Parallel()
	c := NewCounter()
	for range 2 * (mostRanges + 10) {
		ended := c.Append(&pgx.Batch{}, []*auditv1.Event{{}})
		ended(c.last%2 == 0) // every other one is rolled back
	}
	beat := c.Heartbeat()
	require.Len(t, beat.GetCommitted(), mostRanges)
	require.Equal(t, beat.GetCommitted()[0].GetFirst(), beat.GetFirstNumber())
	require.Empty(t, beat.GetUnsettled())
}

func TestEventsThatCannotBeWrittenFailTheirUnit(t *testing.T) {
	t.Parallel()
	c, b := NewCounter(), &pgx.Batch{}
	c.Append(b, []*auditv1.Event{{Username: "\xff"}})(false)
	require.Contains(t, b.QueuedQueries[0].SQL, "event_is_not_utf8")
	require.Empty(t, c.Heartbeat().GetUnsettled())
}
