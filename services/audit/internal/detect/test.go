package detect

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/audit/internal/detect/engine"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// MaxTested is how many findings a test returns; it counts them all.
	MaxTested = 500
	// testFor is how long a test reads the log. It shares the processor with what serves care.
	testFor = 60 * time.Second
)

// History is the log as a caller may see it.
type History interface {
	// History returns at most limit entries of a practice from a number on, oldest first.
	History(ctx context.Context, practice uuid.UUID, from int64, limit int) ([]store.Logged, error)
}

// Test is a dry run: rules that are held against what is in the log already.
type Test struct {
	Practice uuid.UUID
	Pack     *rules.Pack
	From, To time.Time // of the append; To is exclusive
	Begin    int64     // the first entry to read, early enough for the longest window before From
	Zones    engine.Zones
	Keys     int
}

// Tested is what would have been found.
type Tested struct {
	Entries  int64
	Findings []engine.Finding // the first MaxTested
	Totals   []Total          // of the rules that held at all
	Stopped  time.Time        // the last entry's time where the time ran out; zero where all was looked at
}

// Total says how often a rule would have fired.
type Total struct {
	Rule        *rules.Rule
	Fired, Held int64
}

// Run reads the history and stores nothing.
func (t Test) Run(ctx context.Context, history History) (Tested, error) {
	var out Tested
	e, err := engine.New(engine.Options{Pack: t.Pack, Zones: t.Zones, Keys: t.Keys})
	if err != nil {
		return out, err
	}
	fired, deadline := map[*rules.Rule]int64{}, time.Now().Add(testFor)
	for from, over := t.Begin, false; !over; {
		entries, err := history.History(ctx, t.Practice, from, batch)
		if err != nil {
			return out, err
		}
		for _, l := range entries {
			if over = !l.AppendTime.Before(t.To); over {
				break
			}
			if l.AppendTime.Before(t.From) {
				e.Replay(engine.Entry(l), func(string) bool { return false })
				continue
			}
			out.Entries++
			for _, f := range e.Take(engine.Entry(l)) {
				if fired[f.Rule]++; len(out.Findings) < MaxTested {
					out.Findings = append(out.Findings, f)
				}
			}
		}
		if len(entries) < batch {
			break
		}
		last := entries[len(entries)-1]
		from = last.Seq + 1
		if !over && time.Now().After(deadline) {
			out.Stopped = last.AppendTime
			break
		}
	}
	for place, held := range e.Held() {
		if r := t.Pack.Rules[place]; held > 0 {
			out.Totals = append(out.Totals, Total{Rule: r, Fired: fired[r], Held: held})
		}
	}
	return out, nil
}

// Shown is a finding as it would be stored.
func Shown(f engine.Finding) store.Detection { return detection(f, f.AppendTime) }
