package copies

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/telemetry"
)

// writeTime bounds one copy, also the last one at the end.
const writeTime = 30 * time.Second

// queue writes the newest checkpoint: at once when the last copy is older than every, else when it is.
type queue struct {
	every time.Duration
	write func(ctx context.Context, signed string) error
	log   *slog.Logger

	mu     sync.Mutex
	latest string
	fault  error
	wake   chan struct{}
}

func newQueue(every time.Duration, write func(context.Context, string) error, log *slog.Logger) *queue {
	return &queue{every: every, write: write, log: log, wake: make(chan struct{}, 1)}
}

// Keep takes a signed checkpoint to be written. Under load only the newest is.
func (q *queue) Keep(signed string) {
	q.mu.Lock()
	q.latest = signed
	q.mu.Unlock()
	q.wakeUp()
}

// Run writes what Keep takes until ctx ends, and then what is left.
func (q *queue) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			q.flush(ctx)
			return
		case <-q.wake:
			q.flush(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(q.every):
		}
		if q.Ready(ctx) != nil {
			q.wakeUp() // the last one could not be written
		}
	}
}

func (q *queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Ready says whether the last copy could be written.
func (q *queue) Ready(context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.fault
}

func (q *queue) flush(ctx context.Context) {
	q.mu.Lock()
	signed := q.latest
	q.latest = ""
	q.mu.Unlock()
	if signed == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	err := q.write(ctx, signed)
	if err != nil {
		q.log.ErrorContext(ctx, "a checkpoint was not copied outside the database", telemetry.KeyError, err.Error())
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fault = err
	if err != nil && q.latest == "" {
		q.latest = signed // again with the next one
	}
}

// parse reads a checkpoint that the appender signed.
func parse(signed string) (ledger.Checkpoint, error) {
	text, _, _ := strings.Cut(signed, "\n\n")
	return ledger.ParseCheckpoint(text + "\n")
}

// sizeOf reads the name of a copy.
func sizeOf(name string) (int64, bool) {
	digits, found := strings.CutSuffix(name, suffix)
	size, err := strconv.ParseInt(digits, 10, 64)
	return size, found && err == nil
}
