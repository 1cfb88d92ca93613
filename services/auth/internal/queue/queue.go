// Package queue turns to what waits in a table, every few seconds and when it is
// told to. What a round does, and how rows are shared between replicas, is the caller's.
package queue

import (
	"context"
	"log/slog"
	"time"

	"github.com/carekeep/carekeep/libs/telemetry"
)

// Loop makes rounds. Make it with New.
type Loop struct {
	every time.Duration
	batch int
	poke  chan struct{}
}

// New makes a loop that looks every so often, and again at once while rounds find a whole batch.
func New(every time.Duration, batch int) *Loop {
	return &Loop{every: every, batch: batch, poke: make(chan struct{}, 1)}
}

// Poke makes the loop look now; it never blocks.
func (l *Loop) Poke() {
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// Run makes rounds until the context ends. A round says how many rows it found; its
// error goes to the log under the message, and the next round is the next try.
func (l *Loop) Run(ctx context.Context, log *slog.Logger, message string, round func(context.Context) (int, error)) {
	ticker := time.NewTicker(l.every)
	defer ticker.Stop()
	for {
		for ctx.Err() == nil {
			n, err := round(ctx)
			if err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, message, telemetry.KeyError, err.Error())
			}
			if n < l.batch || err != nil {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-l.poke:
		}
	}
}
