package ledger

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// tampering changes the log as somebody would who can write to every table but
// does not have the signing key. It returns the entries that the report must name.
var tampering = map[string]func(t *rapid.T, s *sample, n int64) (first, last int64, kind Kind){
	"edit a byte of the event": func(t *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		s.edit(n, func(e *Entry) { e.Event[rapid.IntRange(0, len(e.Event)-1).Draw(t, "at")] ^= 1 })
		return n, n, EntryAltered
	},
	"edit the salt": func(t *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		s.edit(n, func(e *Entry) { e.Salt[rapid.IntRange(0, SaltSize-1).Draw(t, "at")] ^= 128 })
		return n, n, EntryAltered
	},
	"edit the leaf hash": func(_ *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		s.edit(n, func(e *Entry) { e.Leaf[3] ^= 1 })
		return n, n, EntryAltered
	},
	"destroy event and salt": func(_ *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		s.edit(n, func(e *Entry) { e.Event, e.Salt = nil, nil })
		return n, n, EntryAltered
	},
	"edit an index column": func(t *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		s.edit(n, func(e *Entry) {
			switch rapid.IntRange(0, 6).Draw(t, "column") {
			case 0:
				e.Index.EventID[15] ^= 1
			case 1:
				e.Index.Practice = uuid.Nil
			case 2:
				e.Index.User = uuid.Nil
			case 3:
				e.Index.Patient = uuid.Nil
			case 4:
				e.Index.Action++
			case 5:
				e.Index.Outcome = int16(auditv1.Outcome_OUTCOME_DENIED)
			case 6:
				e.Index.EventTime = e.Index.EventTime.Add(time.Microsecond)
			}
		})
		return n, n, IndexAltered
	},
	"forge event, index and leaf": func(t *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		s.edit(n, func(e *Entry) { *e = forged(t, *e) })
		return s.groupOf(n)
	},
	"delete": func(_ *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		s.lines = slices.Delete(s.lines, s.at(n), s.at(n)+1)
		if n == s.size()-1 {
			return n, n, Truncated
		}
		return n, n, EntryMissing
	},
	"delete and renumber": func(_ *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		s.lines = slices.Delete(s.lines, s.at(n), s.at(n)+1)
		for i, l := range s.lines {
			if l.Entry != nil && l.Entry.Seq > n {
				e := *l.Entry
				e.Seq--
				s.lines[i].Entry = &e
			}
		}
		return -1, -1, ""
	},
	"insert a copy": func(t *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		copied := s.entries[rapid.Int64Range(0, s.size()-1).Draw(t, "copied")]
		s.lines = slices.Insert(s.lines, s.at(n)+1, line{Entry: &copied})
		return -1, -1, ""
	},
	"append a forged entry": func(t *rapid.T, s *sample, _ int64) (int64, int64, Kind) {
		e := forged(t, s.entries[s.size()-1])
		e.Seq++
		s.lines = append(s.lines, line{Entry: &e})
		return e.Seq, e.Seq, Uncovered
	},
	"swap two entries": func(t *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		m := rapid.Int64Range(0, s.size()-1).Filter(func(m int64) bool { return m != n }).Draw(t, "with")
		i, j := s.at(n), s.at(m)
		s.lines[i], s.lines[j] = s.lines[j], s.lines[i]
		return -1, -1, ""
	},
	"swap two entries and their numbers": func(t *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		m := rapid.Int64Range(0, s.size()-1).Filter(func(m int64) bool { return m != n }).Draw(t, "with")
		s.edit(n, func(e *Entry) { *e = s.entries[m]; e.Seq = n; e.AppendTime = s.entries[n].AppendTime })
		s.edit(m, func(e *Entry) { *e = s.entries[n]; e.Seq = m; e.AppendTime = s.entries[m].AppendTime })
		return s.groupOf(min(n, m))
	},
	"truncate the tail": func(_ *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		s.lines = slices.DeleteFunc(s.lines, func(l line) bool { return l.Entry != nil && l.Entry.Seq >= n })
		return -1, -1, ""
	},
	"roll back tail and checkpoints": func(t *rapid.T, s *sample, _ int64) (int64, int64, Kind) {
		keep := rapid.IntRange(0, len(s.checkpoints)-1).Draw(t, "keep")
		size := int64(0)
		if keep > 0 {
			size = s.checkpoints[keep-1].Size
		}
		s.trust.Kept = s.checkpoints
		s.lines = s.lines[:1]
		*s = *s.rebuilt(t, keep)
		return size, s.trust.Kept[len(s.trust.Kept)-1].Size - 1, RolledBack
	},
	"rewrite with the stolen key": func(t *rapid.T, s *sample, n int64) (int64, int64, Kind) {
		kept := s.checkpoints
		entries := slices.Clone(s.entries)
		entries[n] = forged(t, entries[n])
		*s = *s.resigned(t, entries)
		s.trust.Kept = kept
		return -1, -1, Rewritten
	},
	"delete a checkpoint": func(t *rapid.T, s *sample, _ int64) (int64, int64, Kind) {
		i := s.checkpointLine(t)
		s.lines = slices.Delete(s.lines, i, i+1)
		return -1, -1, ""
	},
	"edit a checkpoint": func(t *rapid.T, s *sample, _ int64) (int64, int64, Kind) {
		l := s.lines[s.checkpointLine(t)].Checkpoint
		text := []byte(l.Note)
		text[rapid.IntRange(0, len(text)-1).Draw(t, "at")] ^= 1
		l.Note = string(text)
		return -1, -1, CheckpointInvalid
	},
	"move a checkpoint": func(t *rapid.T, s *sample, _ int64) (int64, int64, Kind) {
		i := s.checkpointLine(t)
		l := s.lines[i]
		j := rapid.IntRange(1, len(s.lines)-1).Filter(func(j int) bool { return j != i }).Draw(t, "to")
		s.lines = slices.Insert(slices.Delete(s.lines, i, i+1), j, l)
		return -1, -1, ""
	},
	"turn the clock back": func(t *rapid.T, s *sample, _ int64) (int64, int64, Kind) {
		last := s.checkpoints[len(s.checkpoints)-1]
		*s = *s.resigned(t, append(slices.Clone(s.entries), testEntry(t, last.Size)), last.Time.Add(-time.Hour))
		return last.Size, last.Size, ClockBack
	},
}

func TestEveryTamperingIsFoundAndNamed(t *testing.T) {
	for name, tamper := range tampering {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				groups := rapid.SliceOfN(rapid.IntRange(1, 90), 2, 4).Draw(t, "groups")
				s := newSample(t, groups...)
				require.NoError(t, s.verify(t).Err())
				n := rapid.Int64Range(0, s.size()-1).Draw(t, "entry")
				first, last, kind := tamper(t, s, n)
				report := s.verify(t)
				require.ErrorIs(t, report.Err(), ErrNotWhole)
				if kind == "" {
					return
				}
				require.True(t, slices.ContainsFunc(report.Problems, func(p Problem) bool {
					return p.Kind == kind && p.First == first && p.Last == last
				}), "want %s at %d to %d among %v", kind, first, last, report.Problems)
			})
		})
	}
}

// Any damage to the file itself is found, too, whatever it hits.
func TestEveryDamagedByteIsFound(t *testing.T) {
	whole := newSample(t, 3, 260, 5)
	file := whole.file(t)
	rapid.Check(t, func(t *rapid.T) {
		damaged := bytes.Clone(file)
		at := rapid.IntRange(0, len(file)-1).Draw(t, "at")
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			damaged[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		case 1:
			damaged = damaged[:at]
		case 2:
			damaged = slices.Delete(damaged, at, at+1)
		case 3:
			damaged = slices.Insert(damaged, at, rapid.Byte().Draw(t, "byte"))
		}
		if bytes.Equal(damaged, file) {
			return
		}
		report, err := Verify(bytes.NewReader(damaged), whole.trust)
		require.NoError(t, err)
		require.ErrorIs(t, report.Err(), ErrNotWhole)
	})
}

// Where a tile is complete, it names the very entry of which event and leaf were forged together.
func TestATileNamesTheForgedEntry(t *testing.T) {
	s := newSample(t, 400, 400)
	s.edit(123, func(e *Entry) { *e = forged(t, *e) })
	report := s.verify(t)
	require.Equal(t, Problem{Kind: TileDiffers, First: 123, Last: 123, Detail: "not what tile 0/0 was computed over"}, report.Problems[0])
	require.Equal(t, "entry 123: TILE_DIFFERS: not what tile 0/0 was computed over", report.Problems[0].String())
	require.Equal(t, RootDiffers, report.Problems[1].Kind)
}

func TestAMissingTileIsFound(t *testing.T) {
	s := newSample(t, 300)
	s.lines = slices.DeleteFunc(s.lines, func(l line) bool { return l.Tile != nil })
	require.ErrorContains(t, s.verify(t).Err(), string(TileDiffers))
}

func TestVerifyRefusesForeignKeysAndFormats(t *testing.T) {
	s := newSample(t, 5)
	s.trust.Log = "other.example/audit"
	require.ErrorContains(t, s.verify(t).Err(), `log "test.example/audit"`)

	s = newSample(t, 5)
	s.lines[0].Header.Format = "carekeep-audit-export/2"
	require.ErrorContains(t, s.verify(t).Err(), "carekeep-audit-export/1")

	report, err := Verify(bytes.NewReader(nil), s.trust)
	require.NoError(t, err)
	require.ErrorContains(t, report.Err(), "empty")
}

func TestVerifyReportsReadErrors(t *testing.T) {
	broken := errors.New("disk gone")
	_, err := Verify(&failingReader{err: broken}, newSample(t, 1).trust)
	require.ErrorIs(t, err, broken)
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestManyProblemsAreCounted(t *testing.T) {
	s := newSample(t, 300)
	for n := range int64(150) {
		s.edit(n, func(e *Entry) { e.Salt[0] ^= 1 })
	}
	report := s.verify(t)
	require.Len(t, report.Problems, maxProblems)
	require.EqualValues(t, 50, report.Omitted)
}

func (s *sample) size() int64 { return int64(len(s.entries)) }

// edit changes a deep copy of entry n in the export.
func (s *sample) edit(n int64, change func(*Entry)) {
	e := *s.lines[s.at(n)].Entry
	e.Event, e.Salt = bytes.Clone(e.Event), bytes.Clone(e.Salt)
	index := *e.Index
	e.Index = &index
	at := s.at(n)
	change(&e)
	s.lines[at].Entry = &e
}

// groupOf says which entries a wrong root must be narrowed down to.
func (s *sample) groupOf(n int64) (int64, int64, Kind) {
	first := int64(0)
	for _, c := range s.checkpoints {
		if n < c.Size {
			return first, c.Size - 1, RootDiffers
		}
		first = c.Size
	}
	return -1, -1, ""
}

func (s *sample) checkpointLine(t *rapid.T) int {
	var at []int
	for i, l := range s.lines {
		if l.Checkpoint != nil {
			at = append(at, i)
		}
	}
	return rapid.SampledFrom(at).Draw(t, "checkpoint")
}

// rebuilt is the log as it was after its first groups.
func (s *sample) rebuilt(t require.TestingT, groups int) *sample {
	var sizes []int
	before := int64(0)
	for _, c := range s.checkpoints[:groups] {
		sizes = append(sizes, int(c.Size-before))
		before = c.Size
	}
	out := newSample(t, sizes...)
	out.trust = s.trust
	return out
}

// resigned is a log of other entries under valid signatures, at the times of the
// old checkpoints and then at the given ones.
func (s *sample) resigned(t require.TestingT, entries []Entry, more ...time.Time) *sample {
	out := &sample{trust: s.trust, signer: s.signer, lines: s.lines[:1:1]}
	tree := NewFrontier()
	ends := slices.Clone(s.checkpoints)
	for i, at := range more {
		ends = append(ends, Checkpoint{Size: s.size() + int64(i) + 1, Time: at})
	}
	for _, end := range ends {
		for tree.Size() < end.Size {
			e := entries[tree.Size()]
			e.AppendTime = &end.Time
			out.entries = append(out.entries, e)
			out.lines = append(out.lines, line{Entry: &e})
			tiles, err := tree.Append(e.Leaf)
			require.NoError(t, err)
			for _, tile := range tiles {
				out.lines = append(out.lines, line{Tile: &tileLine{Level: tile.Level, Index: tile.Index, Hashes: tile.Hashes}})
			}
		}
		root, err := tree.Root()
		require.NoError(t, err)
		out.checkpoint(t, Checkpoint{Log: testLog, Size: tree.Size(), Root: root, Time: end.Time})
	}
	return out
}

// forged turns an entry into one that is right in itself and says something else.
func forged(t require.TestingT, e Entry) Entry {
	event := new(auditv1.Event)
	require.NoError(t, proto.Unmarshal(e.Event, event))
	event.Username = "somebody.else"
	var err error
	e.Event, err = proto.Marshal(event)
	require.NoError(t, err)
	e.Leaf, err = LeafHash(e.Salt, e.Event)
	require.NoError(t, err)
	return e
}
