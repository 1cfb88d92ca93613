// Package rounds repeats what one replica does for all, at fixed times. It does not know what
// that is, or who leads.
package rounds

import (
	"context"
	"log/slog"
	"time"

	"github.com/carekeep/carekeep/libs/telemetry"
)

// Rounds say when, and what is logged where a round fails.
type Rounds struct {
	Every   time.Duration
	Leading func() bool // whether this replica goes
	Log     *slog.Logger
	Failed  string // the log line; the next round tries again
}

// Run goes until ctx ends, first after Every.
func (r Rounds) Run(ctx context.Context, round func(context.Context) error) {
	tick := time.NewTicker(r.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !r.Leading() {
			continue
		}
		if err := round(ctx); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, r.Failed, telemetry.KeyError, err.Error())
		}
	}
}
