package notice

import (
	"context"
	"log/slog"
	"time"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/mail"
	"github.com/carekeep/carekeep/services/auth/internal/queue"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

const (
	batch = 20
	// every is the pause between looks at what waits: short, for a notice of a break-in
	// is worth most while it happens; the look costs one statement on an empty table.
	every = 2 * time.Second
)

// Worker writes the notices of occasions that transactions left. Several replicas may run one each.
type Worker struct {
	Notices *Notices
	Log     *slog.Logger
}

// Run writes until the context ends.
func (w *Worker) Run(ctx context.Context) {
	queue.New(every, batch).Run(ctx, w.Log, "notices cannot be written; they wait", w.Round)
}

// Round writes what waits now, and says how much there was.
func (w *Worker) Round(ctx context.Context) (int, error) {
	tx := w.Notices.Store.In(store.Platform)
	waiting := tx.WaitingOccasions(batch)
	if err := tx.Read(ctx); err != nil {
		return 0, err
	}
	var failed error
	for _, o := range waiting.All() {
		if err := w.write(ctx, o); err != nil {
			failed = err // the others are not held up
		}
	}
	if len(waiting.All()) > 0 {
		w.Notices.Poke()
	}
	return len(waiting.All()), failed
}

var errTaken = errs.New(errs.KindConflict, "OCCASION_TAKEN", "another worker was faster")

// write queues the mail and removes the occasion in one transaction, so that it is sent once.
func (w *Worker) write(ctx context.Context, o store.Occasion) error {
	n := w.Notices
	read := n.Store.In(o.Practice)
	found := read.User(o.User)
	if err := read.Read(ctx); err != nil {
		return err
	}
	row, _ := found.One() // the foreign key keeps it there
	address, err := n.Sealer.Open(ctx, seal.Email, o.User, row.EmailSealed)
	if err != nil {
		return err
	}
	tx := n.Store.In(o.Practice)
	taken := tx.TakeOccasion(o.ID)
	if len(address) > 0 { // a purged account has none
		message, err := Compose(row.Username, Kind(o.Kind), Details{Address: o.Address, UserAgent: o.UserAgent}, o.Created)
		if err != nil {
			return err
		}
		message.To = string(address)
		queued, err := mail.Prepare(ctx, n.Sealer, message, life)
		if err != nil {
			return err
		}
		queued.Queue(tx, o.User)
	}
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !taken.Found() {
			return nil, errTaken
		}
		return nil, nil
	})
	if errs.ReasonOf(err) == errTaken.Reason() {
		return nil
	}
	return err
}
