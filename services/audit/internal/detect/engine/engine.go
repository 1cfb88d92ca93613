// Package engine holds the events of the log, one after the other, against a pack of rules. It
// reads no log and tells nobody: what it finds it returns. What it knows of the past are
// counters and silences, in bounded memory.
package engine

import (
	"fmt"
	"hash/maphash"
	"time"

	"cel.dev/cel-go/common/types"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/detect/counter"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
	auditevent "github.com/carekeep/carekeep/services/audit/internal/event"
)

// Entry is an event at its place in the log.
type Entry struct {
	Seq        int64
	AppendTime time.Time
	Event      *auditv1.Event
}

// at is when the event happened. One that lies ahead of the log's own time would blind
// counters to all that comes before it, so it counts as of when it was appended.
func (e Entry) at() time.Time {
	if at := e.Event.GetEventTime().AsTime(); at.Before(e.AppendTime) {
		return at
	}
	return e.AppendTime
}

// Finding is a rule that fired.
type Finding struct {
	Rule *rules.Rule
	Entry
	// FirstSeq is the first entry that the finding rests on: of what was kept back since the finding
	// before, or of what the rule's counters hold.
	FirstSeq int64
	// Count is how often the rule held since the finding before, this time included.
	Count int32
}

// Options are what an engine works with.
type Options struct {
	Pack  *rules.Pack
	Zones Zones
	// Keys is how many keys each counter keeps, and how many silences there are.
	Keys int
}

// Engine is not safe for concurrent use.
type Engine struct {
	pack     *rules.Pack
	counters []*counter.Counter
	// What looks at events of an action; places in the pack, in its order.
	countersOf, rulesOf map[accessv1.Action][]int
	silences            *simplelru.LRU[silenceKey, *silence]
	facts               *facts
	seed                maphash.Seed
	now                 time.Time
	minute              time.Time // of the log
	told                map[int]int
	held                []int64 // by place of the rule
	stats               Stats
}

// New returns an engine that knows nothing of the past.
func New(o Options) (*Engine, error) {
	e := &Engine{pack: o.Pack, seed: maphash.MakeSeed(), told: map[int]int{}, countersOf: map[accessv1.Action][]int{}, rulesOf: map[accessv1.Action][]int{}}
	for i, c := range o.Pack.Counters {
		made, err := counter.New(counter.Spec{Kind: c.Kind, Window: c.Window, Keys: o.Keys})
		if err != nil {
			return nil, fmt.Errorf("counter %s: %w", c.Name, err)
		}
		e.counters = append(e.counters, made)
		spread(e.countersOf, c.On, i)
	}
	e.held = make([]int64, len(o.Pack.Rules))
	for i, r := range o.Pack.Rules {
		spread(e.rulesOf, r.On, i)
	}
	var err error
	if e.silences, err = simplelru.NewLRU[silenceKey, *silence](o.Keys, nil); err != nil {
		return nil, fmt.Errorf("silences: %w", err)
	}
	e.facts = newFacts(o.Pack, o.Zones, e.count)
	return e, nil
}

// spread notes a place under each action that it looks at.
func spread(of map[accessv1.Action][]int, on map[accessv1.Action]bool, place int) {
	for value := range accessv1.Action_name {
		if a := accessv1.Action(value); on == nil || on[a] {
			of[a] = append(of[a], place)
		}
	}
}

// Take counts an entry and returns what it makes fire.
func (e *Engine) Take(entry Entry) []Finding {
	var found []Finding
	e.look(entry, func(place int, r *rules.Rule) {
		e.held[place]++
		if f, loud := e.silenced(place, r, entry); loud {
			found = append(found, f)
		}
	})
	return found
}

// Replay counts an entry that another process has taken before. Which rules it made
// fire then is known, and decides about silences.
func (e *Engine) Replay(entry Entry, fired func(rule string) bool) {
	e.look(entry, func(place int, r *rules.Rule) {
		if fired(r.ID) {
			e.silence(place, r, entry)
			return
		}
		if s, ok := e.silences.Get(e.silenceKey(place, r)); ok {
			s.add(entry.Seq)
		}
	})
}

// Silence notes that a rule fired at an entry, without counting the entry.
func (e *Engine) Silence(entry Entry, rule string) {
	e.facts.set(entry.Event, entry.at())
	for place, r := range e.pack.Rules {
		if r.ID == rule {
			e.silence(place, r, entry)
		}
	}
}

// look counts an entry and tells which rules hold for it.
func (e *Engine) look(entry Entry, holds func(place int, r *rules.Rule)) {
	if auditevent.DetectionOf(entry.Event) != auditevent.NotDetected {
		return // told already; to look at it again would never end
	}
	e.now = entry.at()
	e.facts.set(entry.Event, e.now)
	action := entry.Event.GetAction()
	if _, known := accessv1.Action_name[int32(action)]; !known {
		action = accessv1.Action_ACTION_UNSPECIFIED
	}
	for _, i := range e.countersOf[action] {
		e.add(i, entry.Seq)
	}
	for _, i := range e.rulesOf[action] {
		if r := e.pack.Rules[i]; e.holds(r.When) {
			holds(i, r)
		}
	}
}

func (e *Engine) add(place int, seq int64) {
	c := e.pack.Counters[place]
	key, whole := e.key(c.By)
	if !whole || c.When != nil && !e.holds(c.When) {
		return
	}
	var value uint64
	if c.Kind != counter.Events {
		text := e.facts.text(c.Value)
		if text == "" {
			return
		}
		value = maphash.String(e.seed, text)
	}
	e.counters[place].Add(key, value, e.now.UnixMilli(), seq)
}

// count is what a counter says for the event at hand.
func (e *Engine) count(place int) int64 {
	key, whole := e.key(e.pack.Counters[place].By)
	if !whole {
		return 0
	}
	n, _ := e.counters[place].Count(key, e.now.UnixMilli())
	return n
}

// holds evaluates a condition. One that fails, as an index out of range does, does not hold.
func (e *Engine) holds(c *rules.Condition) bool {
	out, _, err := c.Program.Eval(e.facts)
	if err != nil {
		e.stats.Failed++
		return false
	}
	return out == types.True
}

// key is of the fields of the event; not whole where one is empty.
func (e *Engine) key(by []rules.Field) (key uint64, whole bool) {
	if len(by) == 1 {
		text := e.facts.text(by[0])
		return maphash.String(e.seed, text), text != ""
	}
	var h maphash.Hash
	h.SetSeed(e.seed)
	whole = true
	for _, field := range by {
		text := e.facts.text(field)
		whole = whole && text != ""
		_, _ = h.WriteString(text)
		_ = h.WriteByte(0)
	}
	return h.Sum64(), whole
}

// Held is how often each rule of the pack, in its order, held for what Take was given.
func (e *Engine) Held() []int64 { return e.held }

// Stats are what an engine knows about itself.
type Stats struct {
	Keys    int    // that counters keep
	Evicted uint64 // that made room although they still counted
	Failed  uint64 // conditions that could not be evaluated
	Dropped uint64 // findings beyond what one rule is told of in a minute
}

// Stats returns the engine's numbers since it was made.
func (e *Engine) Stats() Stats {
	s := e.stats
	for _, c := range e.counters {
		s.Keys += c.Keys()
		s.Evicted += c.Evicted()
	}
	return s
}
