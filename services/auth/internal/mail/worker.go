package mail

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/auth/internal/queue"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

const (
	batch = 10
	// A message that cannot be sent is tried again after 10 s, 20 s, 40 s, … up to 30 min.
	firstPause   = 10 * time.Second
	longestPause = 30 * time.Minute
	// sendTimeout bounds one message; it is shorter than firstPause, so that no
	// other worker takes a message that is still being sent.
	sendTimeout = 8 * time.Second
)

// Sender hands one message to a mail server. The id makes a repeated delivery recognisable.
type Sender interface {
	Send(ctx context.Context, id string, m Message) error
}

// Worker sends what is queued. Several replicas may run one each.
type Worker struct {
	Store  *store.Store
	Sealer *seal.Sealer
	Sender Sender
	Log    *slog.Logger

	loop *queue.Loop
}

// NewWorker makes a worker that looks into the queue every five seconds.
func NewWorker(s *store.Store, sealer *seal.Sealer, sender Sender, log *slog.Logger) *Worker {
	return &Worker{Store: s, Sealer: sealer, Sender: sender, Log: log, loop: queue.New(5*time.Second, batch)}
}

// Poke makes the worker look now; it never blocks.
func (w *Worker) Poke() { w.loop.Poke() }

// Run sends until the context ends.
func (w *Worker) Run(ctx context.Context) {
	w.loop.Run(ctx, w.Log, "mail queue cannot be read", w.Round)
}

// Round takes due messages and tries each once. It returns how many there were.
func (w *Worker) Round(ctx context.Context) (int, error) {
	tx := w.Store.In(store.Platform)
	due := tx.TakeMail(batch, firstPause, longestPause)
	if err := tx.Read(ctx); err != nil {
		return 0, err
	}
	for _, m := range due.All() {
		if err := w.deliver(ctx, m); err != nil && ctx.Err() == nil {
			// Neither the address nor the text goes to the log.
			w.Log.WarnContext(ctx, "mail was not sent; it will be tried again",
				"mail", m.ID.String(), "tries", m.Tries, telemetry.KeyError, err.Error())
		}
	}
	return len(due.All()), nil
}

func (w *Worker) deliver(ctx context.Context, m store.Mail) error {
	if m.Expired {
		w.Log.WarnContext(ctx, "mail was given up: it is too old to be of use", "mail", m.ID.String(), "tries", m.Tries)
		return w.forget(ctx, m.ID)
	}
	raw, err := w.Sealer.Open(ctx, seal.Mail, m.ID, m.Sealed)
	if err != nil {
		return err
	}
	var message Message
	if err := json.Unmarshal(raw, &message); err != nil {
		return fmt.Errorf("the queued message is not JSON: %T", err) // the error itself would quote it
	}
	sending, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if err := w.Sender.Send(sending, m.ID.String(), message); err != nil {
		return err
	}
	return w.forget(ctx, m.ID)
}

func (w *Worker) forget(ctx context.Context, id uuid.UUID) error {
	tx := w.Store.In(store.Platform)
	tx.DeleteMail(id)
	return tx.Read(ctx)
}
