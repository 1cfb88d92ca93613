package ledger

import "fmt"

// Kind is a way in which a log can be wrong.
type Kind string

const (
	// EntryAltered: the stored bytes of an entry are not those that its leaf committed to.
	EntryAltered Kind = "ENTRY_ALTERED"
	// IndexAltered: a column beside the bytes says something else than the bytes.
	IndexAltered Kind = "INDEX_ALTERED"
	// EntryMissing: a number is missing from the sequence.
	EntryMissing Kind = "ENTRY_MISSING"
	// EntryDisplaced: an entry stands twice or out of order.
	EntryDisplaced Kind = "ENTRY_DISPLACED"
	// TileDiffers: the entries are not those over which a stored tile was computed.
	TileDiffers Kind = "TILE_DIFFERS"
	// RootDiffers: the entries are not those that a checkpoint signed.
	RootDiffers Kind = "ROOT_DIFFERS"
	// CheckpointInvalid: a checkpoint has no valid signature, or stands in the wrong place.
	CheckpointInvalid Kind = "CHECKPOINT_INVALID"
	// Uncovered: the newest entries are covered by no checkpoint.
	Uncovered Kind = "UNCOVERED"
	// Truncated: the newest entries that a checkpoint covers are gone.
	Truncated Kind = "TRUNCATED"
	// RolledBack: a checkpoint kept elsewhere covers more than the log holds.
	RolledBack Kind = "ROLLED_BACK"
	// Rewritten: a checkpoint kept elsewhere has another root than the log at its size.
	Rewritten Kind = "REWRITTEN"
	// ClockBack: the log's time runs backwards.
	ClockBack Kind = "CLOCK_BACK"
	// Malformed: the export itself is damaged.
	Malformed Kind = "MALFORMED"
)

// Problem is one thing that is wrong. First and Last are the entries that it is
// about, or -1 where it is about none.
type Problem struct {
	Kind        Kind
	First, Last int64
	Detail      string
}

// String names the entry first, since that is what the reader looks for.
func (p Problem) String() string {
	switch {
	case p.First < 0:
		return fmt.Sprintf("%s: %s", p.Kind, p.Detail)
	case p.First == p.Last:
		return fmt.Sprintf("entry %d: %s: %s", p.First, p.Kind, p.Detail)
	default:
		return fmt.Sprintf("entries %d to %d: %s: %s", p.First, p.Last, p.Kind, p.Detail)
	}
}
