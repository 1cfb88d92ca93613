package engine

import (
	"time"

	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
)

// perMinute is how often one rule is told of in a minute of the log, whatever its keys. A rule that
// holds for everything must not fill the log with what it finds there.
const perMinute = 100

type silenceKey struct {
	rule int
	key  uint64
}

// silence is how long a rule is not told of again, and what it would have told.
type silence struct {
	until time.Time
	count int32
	first int64
}

func (e *Engine) silenceKey(place int, r *rules.Rule) silenceKey {
	key, _ := e.key(r.By)
	return silenceKey{place, key}
}

// silenced makes a finding, unless the rule was told of too recently.
func (e *Engine) silenced(place int, r *rules.Rule, entry Entry) (Finding, bool) {
	f := Finding{Rule: r, Entry: entry, FirstSeq: e.first(r, entry.Seq), Count: 1}
	if s, ok := e.silences.Get(e.silenceKey(place, r)); ok {
		if entry.AppendTime.Before(s.until) {
			s.add(entry.Seq)
			return Finding{}, false
		}
		if s.count > 0 {
			f.Count, f.FirstSeq = f.Count+s.count, min(f.FirstSeq, s.first)
		}
	}
	if e.crowded(place, entry) {
		return Finding{}, false
	}
	e.silence(place, r, entry)
	return f, true
}

// crowded counts a finding, and drops it where its rule has had too many of them.
func (e *Engine) crowded(place int, entry Entry) bool {
	if minute := entry.AppendTime.Truncate(time.Minute); !minute.Equal(e.minute) {
		e.minute = minute
		clear(e.told)
	}
	if e.told[place]++; e.told[place] <= perMinute {
		return false
	}
	e.stats.Dropped++
	return true
}

// first is the first entry that the counters of a rule hold.
func (e *Engine) first(r *rules.Rule, seq int64) int64 {
	for _, place := range r.When.Counters {
		key, whole := e.key(e.pack.Counters[place].By)
		if !whole {
			continue
		}
		if n, first := e.counters[place].Count(key, e.now.UnixMilli()); n > 0 {
			seq = min(seq, first)
		}
	}
	return seq
}

func (e *Engine) silence(place int, r *rules.Rule, entry Entry) {
	if r.Quiet > 0 {
		e.silences.Add(e.silenceKey(place, r), &silence{until: entry.AppendTime.Add(r.Quiet)})
	}
}

func (s *silence) add(seq int64) {
	if s.count == 0 {
		s.first = seq
	}
	if s.count < 1<<31-2 {
		s.count++
	}
}
