// Package notice tells users by mail what happened to their own account: a new
// device, a changed factor, a freeze. It writes to users only, never to
// patients, and a notice holds neither patient data nor a secret nor a link.
package notice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/auth/internal/mail"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// life is how long the mail server may be away before a notice is of no use.
const life = 72 * time.Hour

// Notices prepares notices.
type Notices struct {
	Store  *store.Store
	Sealer *seal.Sealer
	Now    func() time.Time
	// Poke wakes the worker that sends mail; call it after the commit.
	Poke func()
}

// Details are what is said of the occasion. All of it was seen by auth itself or
// chosen by the user; control characters are dropped.
type Details struct {
	// What it is about, as the name of a passkey. Where the text has nothing of the kind it is left out.
	What      string
	Address   string
	UserAgent string
	// Reference is what to ask for, as an id of the audit log.
	Reference string
	// Note is a sentence of auth's own about the notices before and after this one.
	Note string
}

// Queued is a notice that is ready to join a transaction in the user's practice.
type Queued struct {
	mail mail.Queued
	user uuid.UUID
}

// Queue adds the notice to a transaction.
func (q Queued) Queue(tx *store.Tx) { q.mail.Queue(tx, q.user) }

// Prepare reads the user's mail address, writes the notice to it and seals it. It
// takes a round trip to the database and two to transit, so prepare only what will be sent.
func (n *Notices) Prepare(ctx context.Context, practice, user uuid.UUID, kind Kind, d Details) (Queued, error) {
	tx := n.Store.In(practice)
	found := tx.User(user)
	if err := tx.Read(ctx); err != nil {
		return Queued{}, err
	}
	row, ok := found.One()
	if !ok {
		return Queued{}, errors.New("notice: there is no such user")
	}
	address, err := n.Sealer.Open(ctx, seal.Email, user, row.EmailSealed)
	if err != nil {
		return Queued{}, err
	}
	return n.To(ctx, user, string(address), row.Username, kind, d)
}

// To is Prepare where the address is known already, or is no longer the user's.
func (n *Notices) To(ctx context.Context, user uuid.UUID, address, username string, kind Kind, d Details) (Queued, error) {
	message, err := Compose(username, kind, d, n.Now())
	if err != nil {
		return Queued{}, err
	}
	message.To = address
	queued, err := mail.Prepare(ctx, n.Sealer, message, life)
	return Queued{mail: queued, user: user}, err
}

// Compose writes a notice.
func Compose(username string, kind Kind, d Details, at time.Time) (mail.Message, error) {
	t, ok := texts[kind]
	if !ok {
		return mail.Message{}, fmt.Errorf("notice: no text for %q", kind)
	}
	what := printable(d.What)
	if strings.HasSuffix(t.body, ": %s.") && what == "" {
		what = "without a name"
	}
	if !strings.HasSuffix(t.body, ": %s.") && what != "" {
		what = " (" + what + ")"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Account: %s\n\n", username)
	fmt.Fprintf(&b, t.body, what)
	fmt.Fprintf(&b, "\n\nWhen: %s\n", at.UTC().Format("2 January 2006, 15:04 UTC"))
	if d.Address != "" {
		fmt.Fprintf(&b, "From: %s\n", printable(d.Address))
	}
	if d.UserAgent != "" {
		fmt.Fprintf(&b, "With: %s\n", printable(d.UserAgent))
	}
	if d.Reference != "" {
		fmt.Fprintf(&b, "Reference: %s\n", printable(d.Reference))
	}
	if d.Note != "" {
		fmt.Fprintf(&b, "\n%s\n", d.Note)
	}
	if special, ok := adviceAbout[kind]; ok {
		b.WriteString("\n" + special)
	} else {
		b.WriteString("\n" + advice)
	}
	return mail.Message{Subject: "carekeep: " + t.subject, Text: b.String()}, nil
}

// printable keeps what a client chose on one line and short.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > 120 {
		text = string(runes[:120]) + "…"
	}
	return text
}
