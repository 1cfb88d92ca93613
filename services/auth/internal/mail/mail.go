// Package mail queues outgoing mail in the database, sealed, and sends it by
// SMTP with retries, so that an operation does not fail because a mail server
// is down. It sends to users of the suite only, never to patients, and no
// message holds patient data.
package mail

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Message is one mail in plain text.
type Message struct {
	To      string `json:"to"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

// Queued is a message that is sealed and ready to join a transaction.
type Queued struct {
	id     uuid.UUID
	sealed string
	life   time.Duration
}

// Prepare seals a message. After life it is of no use and not sent any more.
func Prepare(ctx context.Context, sealer *seal.Sealer, m Message, life time.Duration) (Queued, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return Queued{}, fmt.Errorf("mail: %w", err)
	}
	id := uuid.Must(uuid.NewV7())
	sealed, err := sealer.Seal(ctx, seal.Mail, id, raw)
	if err != nil {
		return Queued{}, fmt.Errorf("mail: %w", err)
	}
	return Queued{id: id, sealed: sealed, life: life}, nil
}

// Queue adds the message to a transaction that writes to the user.
func (q Queued) Queue(tx *store.Tx, user uuid.UUID) { tx.QueueMail(q.id, user, q.sealed, q.life) }
