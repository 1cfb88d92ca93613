package ledger

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// verification is the state of one run over an export.
type verification struct {
	trust  Trust
	report Report
	tree   spine

	started, ended bool
	end            *End
	// Counts of lines, right or wrong, to be compared with the end.
	entryLines, checkpointLines int64

	next      int64      // the number that the next entry must have
	gap       bool       // an entry is missing, so no later root can be computed
	good      int64      // size of the last checkpoint whose root was right
	rootWrong bool       // a root was wrong, so all later ones are
	rewritten bool       // a kept checkpoint had another root
	last      Checkpoint // the last checkpoint with a valid signature
	tiles     int        // tiles that came after the last entry
	since     *time.Time // append time of the entries since the last checkpoint
	kept      []Checkpoint
	// Entries that are gone, by the number of the entry that has to say so; those whose
	// checkpoint has not come yet.
	runs, undated map[int64]*goneRun
}

func newVerification(trust Trust) *verification {
	kept := slices.Clone(trust.Kept)
	slices.SortFunc(kept, func(a, b Checkpoint) int { return int(a.Size - b.Size) })
	return &verification{trust: trust, kept: kept, report: Report{Log: trust.Log}, runs: map[int64]*goneRun{}, undated: map[int64]*goneRun{}}
}

func (v *verification) add(kind Kind, first, last int64, format string, args ...any) {
	v.addProblem(Problem{Kind: kind, First: first, Last: last, Detail: fmt.Sprintf(format, args...)})
}

func (v *verification) addProblem(p Problem) {
	if len(v.report.Problems) == maxProblems {
		v.report.Omitted++
		return
	}
	v.report.Problems = append(v.report.Problems, p)
}

// take looks at the next line.
func (v *verification) take(c checked) {
	if c.problem != nil {
		v.addProblem(*c.problem)
	}
	if v.ended {
		v.add(Malformed, -1, -1, "line %d comes after the end", c.number)
		return
	}
	if !v.started {
		v.started = true
		v.header(c)
		return
	}
	switch l := c.line; {
	case l.Header != nil:
		v.add(Malformed, -1, -1, "line %d is a second header", c.number)
	case l.Entry != nil:
		v.entryLines++
		v.entry(*l.Entry, c.problem == nil, c.letGo)
	case l.Tile != nil:
		v.tile(*l.Tile)
	case l.Checkpoint != nil:
		v.checkpointLines++
		if c.problem == nil {
			v.checkpoint(c.checkpoint)
		} else {
			v.since = nil
		}
	case l.End != nil:
		v.ended, v.end = true, l.End
		if l.End.SHA256 != c.digest {
			v.add(Malformed, -1, -1, "the file is not the one that was written: its digest differs")
		}
	}
}

func (v *verification) header(c checked) {
	h := c.line.Header
	switch {
	case h == nil:
		v.add(Malformed, -1, -1, "the first line is no header")
	case h.Format != Format:
		v.add(Malformed, -1, -1, "format %q is not %q", h.Format, Format)
	case h.Log != v.trust.Log:
		v.add(Malformed, -1, -1, "the export is of log %q, the key of log %q", h.Log, v.trust.Log)
	case h.Scope != ScopeFull && h.Scope != ScopePractice:
		v.add(Malformed, -1, -1, "scope %q is neither %q nor %q", h.Scope, ScopeFull, ScopePractice)
	default:
		v.report.Scope, v.report.CreateTime = h.Scope, h.CreateTime
		older := slices.DeleteFunc(v.kept, func(k Checkpoint) bool { return k.Time.After(h.CreateTime) })
		v.report.Younger = int64(len(v.kept) - len(older))
		v.kept = older
	}
}

func (v *verification) entry(e Entry, right bool, says *LetGo) {
	v.tilesMissing()
	switch {
	case e.Seq < v.next:
		v.add(EntryDisplaced, e.Seq, e.Seq, "stands again or too late, where entry %d should be", v.next)
		v.gap = true
		return
	case e.Seq > v.next:
		v.add(EntryMissing, v.next, e.Seq-1, "not in the log; entry %d stands in its place", e.Seq)
		v.gap = true
	}
	v.next = e.Seq + 1
	v.report.Entries++
	if e.Whole() && right {
		v.report.Whole++
	}
	if v.report.Scope == ScopeFull {
		v.fullEntry(e)
		v.announced(e, says)
	}
	if v.gap {
		return
	}
	v.tree.add(e.Leaf)
	v.tiles = 0
	v.keptCheckpoint()
}

// fullEntry checks what only an export of the whole database holds.
func (v *verification) fullEntry(e Entry) {
	switch {
	case e.LetGo != nil && e.Whole():
		v.add(Malformed, e.Seq, e.Seq, "it is there and said to be gone")
		return
	case e.LetGo != nil:
		v.gone(e)
		return
	case !e.Whole():
		v.add(EntryAltered, e.Seq, e.Seq, "the event is gone, only its leaf hash is left")
		return
	case e.Index == nil || e.AppendTime == nil:
		v.add(Malformed, e.Seq, e.Seq, "its index columns are not in the export")
		return
	}
	if v.since == nil {
		v.since = e.AppendTime
	}
	if !e.AppendTime.Equal(*v.since) {
		v.add(IndexAltered, e.Seq, e.Seq, "its append time is not that of the entry before it, yet no checkpoint stands between them")
	}
}

// tile compares a stored tile with the hashes of the entries below it.
func (v *verification) tile(t tileLine) {
	v.tiles++
	if v.gap {
		return
	}
	if t.Level != v.tiles-1 || t.Level >= v.tree.due() || t.Index != v.tree.full[t.Level].index {
		v.add(Malformed, -1, -1, "tile %d/%d stands in the wrong place", t.Level, t.Index)
		return
	}
	full := v.tree.full[t.Level]
	if len(t.Hashes) != TileWidth*tlog.HashSize {
		v.add(TileDiffers, -1, -1, "tile %d/%d has %d bytes", t.Level, t.Index, len(t.Hashes))
		return
	}
	width := int64(1) << (t.Level * TileHeight)
	for i, h := range full.hashes {
		if tlog.Hash(t.Hashes[i*tlog.HashSize:(i+1)*tlog.HashSize]) != h {
			first := (t.Index*TileWidth + int64(i)) * width
			v.add(TileDiffers, first, first+width-1, "not what tile %d/%d was computed over", t.Level, t.Index)
		}
	}
}

// tilesMissing is called when no more tiles can follow the last entry.
func (v *verification) tilesMissing() {
	if v.report.Scope != ScopeFull || v.gap {
		return
	}
	if due := v.tree.due(); v.tiles < due {
		v.add(TileDiffers, -1, -1, "%d tiles over the entries before %d are missing", due-v.tiles, v.next)
	}
	v.tiles = v.tree.due()
}

func (v *verification) checkpoint(c Checkpoint) {
	v.tilesMissing()
	switch {
	case c.Log != v.trust.Log:
		v.add(CheckpointInvalid, -1, -1, "checkpoint of size %d is of log %q", c.Size, c.Log)
		return
	case c.Size <= v.last.Size:
		v.add(CheckpointInvalid, -1, -1, "checkpoint of size %d stands after one of size %d", c.Size, v.last.Size)
		return
	case c.Time.Before(v.last.Time):
		v.add(ClockBack, v.last.Size, c.Size-1, "appended at %s, before the entries in front of them", c.Time.Format(time.RFC3339))
	}
	previous := v.last
	v.last = c
	since := v.since
	v.since = nil
	if c.Size > v.next {
		v.add(Truncated, v.next, c.Size-1, "signed by the checkpoint of size %d and not in the log before it", c.Size)
		v.gap = true
		return
	}
	if c.Size < v.next {
		v.add(CheckpointInvalid, c.Size, v.next-1, "the checkpoint of size %d stands after them", c.Size)
		return
	}
	if v.gap || v.rootWrong {
		return
	}
	if v.tree.root() != c.Root {
		v.rootWrong = true
		v.add(RootDiffers, v.good, c.Size-1, "one or more of them are not what the checkpoint of size %d signed", c.Size)
		return
	}
	if since != nil && !since.Equal(c.Time) {
		v.add(IndexAltered, previous.Size, c.Size-1, "their append time is not that of their checkpoint")
	}
	v.date(c.Time)
	v.good = c.Size
	v.report.Checkpoints++
	v.report.Size, v.report.Root, v.report.Time = c.Size, c.Root, c.Time
}

// keptCheckpoint compares the tree with the checkpoints of this size that were kept elsewhere.
func (v *verification) keptCheckpoint() {
	for len(v.kept) > 0 && v.kept[0].Size <= v.tree.size {
		k := v.kept[0]
		v.kept = v.kept[1:]
		switch {
		case k.Size < v.tree.size: // of size 0 or less; there is no such checkpoint
		case v.tree.root() == k.Root:
			v.report.Kept++
		case !v.rewritten && !v.rootWrong: // one is enough: all later ones differ too
			v.rewritten = true
			v.add(Rewritten, -1, -1, "the checkpoint of size %d that was kept elsewhere signed other entries", k.Size)
		}
	}
}

// finish looks at what is missing when the file ends.
func (v *verification) finish() {
	v.tilesMissing()
	v.unannounced()
	switch {
	case !v.started:
		v.add(Malformed, -1, -1, "the file is empty")
	case !v.ended:
		v.add(Malformed, -1, -1, "the file is cut off: it has no end")
	case v.end.Entries != v.entryLines || v.end.Checkpoints != v.checkpointLines:
		v.add(Malformed, -1, -1, "the file holds %d entries and %d checkpoints, its end says %d and %d",
			v.entryLines, v.checkpointLines, v.end.Entries, v.end.Checkpoints)
	}
	if v.next > v.last.Size {
		v.add(Uncovered, v.last.Size, v.next-1, "no checkpoint covers them")
	}
	if n := len(v.kept); n > 0 && v.kept[n-1].Size > v.next {
		size := v.kept[n-1].Size
		v.add(RolledBack, v.next, size-1, "gone: a checkpoint of size %d, kept elsewhere, covers them", size)
	}
}
