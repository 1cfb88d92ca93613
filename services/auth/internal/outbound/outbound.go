// Package outbound decides whether a text message may be sent, queues it sealed in
// the transaction of the operation that wants it sent, and sends it with retries.
// Nothing is sent without a consent for that number and category, nothing ever
// again to a number that said stop, and nothing that is not a template of package sms.
package outbound

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/queue"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// SMS prepares and sends text messages. Where the installation has no provider
// every call that would send answers errOff.
type SMS struct {
	store  *store.Store
	sealer *seal.Sealer
	config *sms.Config
	sender Sender
	key    []byte
	log    *slog.Logger
	now    func() time.Time

	loop *queue.Loop
}

// Options are what text messages need. Config is nil where there is no provider.
type Options struct {
	Store  *store.Store
	Sealer *seal.Sealer
	Config *sms.Config
	// PublicURL is where replies come in, unless Config says it.
	PublicURL string
	Log       *slog.Logger
	Now       func() time.Time
}

const keyName = "numbers"

var errOff = errs.New(errs.KindPrecondition, "SMS_OFF", "this installation has no provider of text messages; set sms in the configuration of auth")

// New takes the installation's key for blind indexes, making it where there is none.
func New(ctx context.Context, o Options) (*SMS, error) {
	key, err := limit.InstallationKey(ctx, o.Store, o.Sealer, keyName)
	if err != nil {
		return nil, fmt.Errorf("outbound: %w", err)
	}
	s := &SMS{store: o.Store, sealer: o.Sealer, key: key, log: o.Log, now: o.Now, loop: queue.New(every, batch)}
	if o.Config == nil {
		return s, nil
	}
	c := *o.Config
	if c.Webhook == "" {
		c.Webhook = o.PublicURL + sms.WebhookPath
	}
	s.config = &c
	s.sender, err = sms.NewClient(c)
	return s, err
}

// On reports whether the installation can send text messages.
func (s *SMS) On() bool { return s.config != nil }

// Poke makes the worker look into the queue now; call it after the commit. It never blocks.
func (s *SMS) Poke() { s.loop.Poke() }

// Token is the blind index of a number in a practice: equal numbers give equal
// tokens there and others elsewhere, and without the key a token says nothing.
func (s *SMS) Token(practice uuid.UUID, number string) []byte {
	mac := hmac.New(sha256.New, s.practiceKey(practice))
	mac.Write([]byte(number))
	return mac.Sum(nil)
}

func (s *SMS) practiceKey(practice uuid.UUID) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("practice/1"))
	mac.Write(practice[:])
	return mac.Sum(nil)
}

// Queued is a text message that is sealed and ready to join a transaction in its practice.
type Queued struct {
	text    store.NewText
	refusal *store.Rows[string]
}

// ID names the message in audit events: "messages/{uuid}".
func (q *Queued) ID() uuid.UUID { return q.text.ID }

// Queue adds the message to a transaction. It is queued only if nothing speaks
// against it; ask Err once the transaction has answered.
func (q *Queued) Queue(tx *store.Tx) { q.refusal = tx.QueueText(q.text) }

// Err says, where the transaction decides, why the message may not be sent.
func (q *Queued) Err() error {
	reason, _ := q.refusal.One()
	return refused(reason)
}

var refusals = map[string]string{
	"OPTED_OUT":       "this number opted out of text messages, for good; reach its owner another way",
	"SUSPENDED":       "this number wrote back and nobody has read it; review the reply first",
	"CONSENT_MISSING": "there is no consent for this number and category; record one first",
	"DAILY_LIMIT":     "this number got a message within 24 hours; one a day may be sent",
	"WEEKLY_LIMIT":    "this number got three messages within seven days; no more may be sent",
}

func refused(reason string) error {
	if reason == "" {
		return nil
	}
	return errs.New(errs.KindPrecondition, reason, refusals[reason])
}

// prepare composes and seals a message to a number.
func (s *SMS) prepare(ctx context.Context, practice uuid.UUID, n store.NewText, m sms.Message) (*Queued, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("outbound: %w", err)
	}
	if n.ID == uuid.Nil {
		n.ID = uuid.Must(uuid.NewV7())
	}
	n.Token, n.Wide = s.Token(practice, m.To), s.Token(store.Platform, m.To)
	if n.Sealed, err = s.sealer.Seal(ctx, seal.Text, n.ID, raw); err != nil {
		return nil, err
	}
	return &Queued{text: n}, nil
}
