package detect

import (
	"context"
	"time"

	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/detect/engine"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
)

// warm makes a new engine know what one would that had been there all the time: its counters
// count the history of the longest window again, and it is silent about what was told lately.
func (t *term) warm(ctx context.Context, pack *rules.Pack) error {
	started := time.Now()
	before, err := t.Log.Entries(ctx, t.cursor-1, t.cursor)
	if err != nil {
		return err
	}
	if len(before) == 0 || before[0].Seq >= t.cursor {
		return nil // nothing comes before the cursor
	}
	at := before[0].AppendTime
	from, err := t.Log.SeqAt(ctx, at.Add(-pack.Window))
	if err != nil {
		return err
	}
	fired, err := t.silence(ctx, at.Add(-max(pack.Window, pack.Quiet)), from)
	if err != nil {
		return err
	}
	total := 0
	for from < t.cursor {
		entries, err := t.Log.Entries(ctx, from, min(from+batch, t.cursor))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Seq >= t.cursor {
				break
			}
			t.engine.Replay(engine.Entry(e), func(rule string) bool { return fired[firing{e.Seq, rule}] })
			total++
		}
		if len(entries) == 0 {
			break
		}
		from = entries[len(entries)-1].Seq + 1
	}
	t.Logger.InfoContext(ctx, "detection knows the history of its counters", "entries", total,
		telemetry.KeyDuration, time.Since(started).Milliseconds(), telemetry.KeySeq, t.cursor)
	return nil
}

// firing is a rule that fired at an entry.
type firing struct {
	seq  int64
	rule string
}

// silence reads what fired since a time. What lies before the replay is noted at once; the rest is returned.
func (t *term) silence(ctx context.Context, since time.Time, replayed int64) (map[firing]bool, error) {
	rows, err := t.Log.Since(ctx, since)
	if err != nil {
		return nil, err
	}
	fired := map[firing]bool{}
	for _, f := range rows {
		if f.Seq < replayed {
			t.engine.Silence(engine.Entry(f.Logged), f.Rule)
		} else {
			fired[firing{f.Seq, f.Rule}] = true
		}
	}
	return fired, nil
}
