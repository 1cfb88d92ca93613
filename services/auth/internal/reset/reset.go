// Package reset lets a user who forgot the password choose a new one, with a
// token that is mailed to the address on file. It touches no second factor, and
// says nothing about who has an account.
package reset

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/mail"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/password"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/token"
)

const (
	// Life is how long a reset can be used.
	Life = 30 * time.Minute
	// Settle is how old a mail address must be that an administrator gave in place of another: whoever
	// changes it could choose the password otherwise (ASVS 6.4.6). The old address was told.
	Settle = 24 * time.Hour
)

// Resets asks for and performs resets.
type Resets struct {
	Store     *store.Store
	Limiter   *limit.Limiter
	Hasher    *password.Hasher
	Passwords password.Policy
	Sealer    *seal.Sealer
	Notices   *notice.Notices
	PublicURL string
	Queued    func()
	decoy     string // opened where there is no user, so that it takes as long
}

// Prepare must come before the first request.
func (r *Resets) Prepare(ctx context.Context) (err error) {
	r.decoy, err = r.Sealer.Seal(ctx, seal.Email, uuid.Nil, []byte("nobody@invalid"))
	return err
}

var errInvalid = errs.New(errs.KindUnauthenticated, "RESET_INVALID",
	"the token is wrong, used or older than 30 minutes; ask for a new one")

// Request queues a mail with a token, if there is such a user. It does the same
// work for a name that does not exist, as far as a client can measure: opening an
// address, sealing a mail, one write; the mail itself leaves later, from the queue.
func (r *Resets) Request(ctx context.Context, username string, client session.Client) error {
	username = strings.ToLower(username)
	account, known, err := r.Limiter.Recovery(ctx, username, client.Address)
	if err != nil {
		return err
	}
	tx := r.Store.In(account.Practice)
	found, mailbox := tx.User(account.User), tx.MailboxSettled(account.User, Settle)
	if err := tx.Read(ctx); err != nil {
		return err
	}
	row, _ := found.One()
	settled, _ := mailbox.One()
	known = known && settled && account.PasswordHash != "" && !account.UserDisabled && !account.PracticeDisabled
	owner, sealed := uuid.Nil, r.decoy
	if known {
		owner, sealed = account.User, row.EmailSealed
	}
	address, err := r.Sealer.Open(ctx, seal.Email, owner, sealed)
	if err != nil {
		return err
	}
	secret := token.New(token.Reset)
	queued, err := mail.Prepare(ctx, r.Sealer, mail.Message{To: string(address), Subject: "Your new carekeep password", Text: r.text(username, secret)}, Life)
	if err != nil {
		return err
	}
	tx = r.Store.In(account.Practice)
	if known {
		tx.InsertReset(uuid.Must(uuid.NewV7()), account.User, token.Hash(secret), Life)
		queued.Queue(tx, account.User)
	}
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		reason := "RESET_REQUESTED"
		switch {
		case account.User == uuid.Nil:
			reason = "UNKNOWN_USER"
		case !settled:
			reason = "MAILBOX_TOO_NEW"
		case !known:
			reason = "ACCOUNT_NOT_OPEN"
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.User(account.User, username), evidence.Practice(account.Practice),
			evidence.Address(client.Address), evidence.Resource("password", 0), evidence.Reason(reason))}, nil
	})
	if err == nil {
		r.Queued()
	}
	return err
}

// text puts the token behind a # in the link, as in invitations.
func (r *Resets) text(username, secret string) string {
	return fmt.Sprintf(`Somebody, we hope you, asked for a new password for %s at carekeep.

Choose it within 30 minutes:

%s/reset#%s

Or give this token yourself:

%s

It works once. Your second factor stays as it is. If you did not ask for this, ignore this mail: without the token nothing happens.
`, username, r.PublicURL, secret, secret)
}

// Perform sets the new password, ends all sessions and reopens an account that too
// many failures closed; a frozen one stays frozen. A password that is too weak does not
// use the token up.
func (r *Resets) Perform(ctx context.Context, secret, chosen string, client session.Client) error {
	if err := r.Limiter.Address(ctx, client.Address); err != nil {
		return err
	}
	reset, err := r.find(ctx, secret)
	if err != nil {
		return err
	}
	email, err := r.Sealer.Open(ctx, seal.Email, reset.User, reset.EmailSealed)
	if err != nil {
		return err
	}
	if err := r.Passwords.Check("new_password", chosen, []string{reset.Username, reset.DisplayName, string(email)}); err != nil {
		return err
	}
	hash, err := r.Hasher.Hash(ctx, chosen)
	if err != nil {
		return err
	}
	told, err := r.Notices.To(ctx, reset.User, string(email), reset.Username, notice.PasswordChanged,
		notice.Details{Address: client.Address, UserAgent: client.UserAgent})
	if err != nil {
		return err
	}
	tx := r.Store.In(reset.Practice)
	tx.LockUser(reset.User)
	used, set := tx.UseReset(reset.ID), tx.SetPassword(reset.User, reset.PasswordHash, hash)
	ended := tx.EndSessions(reset.User, uuid.Nil, session.ReasonPassword)
	tx.Reopen(reset.User)
	r.Limiter.Succeeded(tx, reset.Username)
	told.Queue(tx)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !used.Found() || !set.Found() {
			return nil, errInvalid
		}
		return []*auditv1.Event{evidence.From(ctx).Event(
			evidence.User(reset.User, reset.Username), evidence.Practice(reset.Practice), evidence.Address(client.Address),
			evidence.Resource("password", 0), evidence.Reason("PASSWORD_RESET"), evidence.Count(len(ended.All())),
			evidence.Risk(auditv1.Risk_RISK_HIGH))}, nil
	})
	if err == nil {
		r.Queued()
	}
	return err
}

func (r *Resets) find(ctx context.Context, secret string) (store.Reset, error) {
	if !token.Plausible(token.Reset, secret) {
		return store.Reset{}, errInvalid
	}
	tx := r.Store.In(store.Platform)
	found := tx.ResetOf(token.Hash(secret))
	if err := tx.Read(ctx); err != nil {
		return store.Reset{}, err
	}
	reset, ok := found.One()
	if !ok || reset.Used || reset.Disabled {
		return store.Reset{}, errInvalid
	}
	return reset, nil
}
