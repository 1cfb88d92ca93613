package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

const (
	batch = 10
	every = 5 * time.Second
	// A message that cannot be sent is tried again after 10 s, 20 s, 40 s, … up to 10 min.
	firstPause   = 10 * time.Second
	longestPause = 10 * time.Minute
	// sendTimeout is shorter than firstPause, so that no other worker takes a message that is still being sent.
	sendTimeout = 8 * time.Second
)

// Sender hands one message to a provider.
type Sender interface {
	Send(ctx context.Context, m sms.Message) error
}

// Run sends what is queued until the context ends. Several replicas may run one each.
func (s *SMS) Run(ctx context.Context) {
	if !s.On() {
		return
	}
	s.loop.Run(ctx, s.log, "the queue of text messages cannot be read", s.Round)
}

// Round takes due messages and tries each once. It returns how many there were.
func (s *SMS) Round(ctx context.Context) (int, error) {
	tx := s.store.In(store.Platform)
	due := tx.TakeTexts(batch, firstPause, longestPause)
	if err := tx.Read(ctx); err != nil {
		return 0, err
	}
	for _, text := range due.All() {
		if err := s.deliver(ctx, text); err != nil && ctx.Err() == nil {
			// Neither the number nor the text goes to the log.
			s.log.WarnContext(ctx, "a text message was not sent; it will be tried again",
				"message", text.ID.String(), "tries", text.Tries, telemetry.KeyError, err.Error())
		}
	}
	return len(due.All()), nil
}

func (s *SMS) deliver(ctx context.Context, text store.Text) error {
	ctx = evidence.With(ctx, evidence.NewJob(accessv1.Service_SERVICE_AUTH, "jobs/SendText", accessv1.Action_ACTION_MESSAGE_SEND))
	if text.Expired {
		return s.finish(ctx, text, store.TextExpired, "EXPIRED", nil)
	}
	// Somebody may have said stop since the message was queued.
	tx := s.store.In(text.Practice)
	found := tx.TextVerdict(text.ID)
	if err := tx.Read(ctx); err != nil {
		return err
	}
	if verdict, ok := found.One(); !ok || verdict.Refusal != "" {
		return s.finish(ctx, text, store.TextWithheld, verdict.Refusal, nil)
	}
	raw, err := s.sealer.Open(ctx, seal.Text, text.ID, text.Sealed)
	if err != nil {
		return err
	}
	var m sms.Message
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("the queued message is not JSON: %T", err) // the error itself would quote it
	}
	sending, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err = s.sender.Send(sending, m)
	var refusal sms.Refusal
	switch {
	case err == nil:
		return s.finish(ctx, text, store.TextSent, "", nil)
	case errors.As(err, &refusal) && refusal.OptedOut():
		return s.finish(ctx, text, store.TextWithheld, "OPTED_OUT", s.Token(text.Practice, m.To))
	case errors.As(err, &refusal):
		return s.finish(ctx, text, store.TextFailed, refusal.Reason(), nil)
	}
	return err
}

// finish takes a message out of the queue and records how it ended. A token stops
// everything to its number: the provider knows that it said stop.
func (s *SMS) finish(ctx context.Context, text store.Text, state store.TextState, reason string, stop []byte) error {
	tx := s.store.In(text.Practice)
	tx.FinishText(text.ID, state, reason)
	if stop != nil {
		tx.Suppress(stop)
	}
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		mods := []func(*auditv1.Event){evidence.Practice(text.Practice), evidence.Resource("messages/"+text.ID.String(), 0), evidence.Reason(reason)}
		if state != store.TextSent {
			mods = append(mods, evidence.Risk(auditv1.Risk_RISK_MEDIUM))
		}
		return []*auditv1.Event{evidence.From(ctx).Event(mods...)}, nil
	})
}
