// Package invite lets a new user choose the first password: a token, sent by
// mail, good for one use within 24 hours. Nobody but the user ever chooses a
// password (ASVS 6.4.6).
package invite

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/mail"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/password"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/token"
)

// Life is how long an invitation can be accepted.
const Life = 24 * time.Hour

// Invites makes and accepts invitations.
type Invites struct {
	Store     *store.Store
	Sessions  *session.Sessions
	Limiter   *limit.Limiter
	Hasher    *password.Hasher
	Passwords password.Policy
	Sealer    *seal.Sealer
	// PublicURL is where users reach the front end; the link leads there.
	PublicURL string
	// Queued is told after an invitation's mail was queued.
	Queued func()
}

// Invitation is one that is ready to join the transaction that creates its user.
type Invitation struct {
	Token string
	user  uuid.UUID
	mail  mail.Queued
}

// Prepare makes an invitation and seals its mail.
func (i *Invites) Prepare(ctx context.Context, user uuid.UUID, username, email string) (Invitation, error) {
	secret := token.New(token.Invitation)
	queued, err := mail.Prepare(ctx, i.Sealer, mail.Message{
		To: email, Subject: "Your carekeep invitation", Text: i.text(username, secret),
	}, Life)
	if err != nil {
		return Invitation{}, err
	}
	return Invitation{Token: secret, user: user, mail: queued}, nil
}

// Queue adds invitation and mail to a transaction in the user's practice.
// Invitations of the user that are still open end.
func (v Invitation) Queue(tx *store.Tx) {
	v.QueueToken(tx)
	v.mail.Queue(tx, v.user)
}

// QueueToken is Queue without the mail, for a token that is handed over otherwise.
func (v Invitation) QueueToken(tx *store.Tx) {
	tx.InsertInvitation(uuid.Must(uuid.NewV7()), v.user, token.Hash(v.Token), Life)
}

// text puts the token behind a # in the link: browsers send that part to no
// server, so it stands in no access log and no Referer.
func (i *Invites) text(username, secret string) string {
	return fmt.Sprintf(`You have been invited to carekeep. Your sign-in name is %s.

Choose your password within 24 hours:

%s/invitation#%s

Or give this invitation token yourself:

%s

It works once. If you did not expect this mail, ignore it: without the token nothing happens.
`, username, i.PublicURL, secret, secret)
}

var errInvalid = errs.New(errs.KindUnauthenticated, "INVITATION_INVALID",
	"the invitation is wrong, used or older than 24 hours; ask your administrator for a new one")

// Accept sets the first password and opens a session with one factor. A
// password that is too weak does not use the invitation up.
func (i *Invites) Accept(ctx context.Context, secret, chosen string, client session.Client) (session.Opened, error) {
	if err := i.Limiter.Address(ctx, client.Address); err != nil {
		return session.Opened{}, err
	}
	invitation, err := i.find(ctx, secret)
	if err != nil {
		return session.Opened{}, err
	}
	email, err := i.Sealer.Open(ctx, seal.Email, invitation.User, invitation.EmailSealed)
	if err != nil {
		return session.Opened{}, err
	}
	if err := i.Passwords.Check("password", chosen, []string{invitation.Username, invitation.DisplayName, string(email)}); err != nil {
		return session.Opened{}, err
	}
	hash, err := i.Hasher.Hash(ctx, chosen)
	if err != nil {
		return session.Opened{}, err
	}
	return i.accept(ctx, invitation, hash, client)
}

func (i *Invites) find(ctx context.Context, secret string) (store.Invitation, error) {
	if !token.Plausible(token.Invitation, secret) {
		return store.Invitation{}, errInvalid
	}
	tx := i.Store.In(store.Platform)
	found := tx.InvitationOf(token.Hash(secret))
	if err := tx.Read(ctx); err != nil {
		return store.Invitation{}, err
	}
	invitation, ok := found.One()
	if !ok || invitation.Used || invitation.Disabled {
		return store.Invitation{}, errInvalid
	}
	return invitation, nil
}

func (i *Invites) accept(ctx context.Context, v store.Invitation, hash string, client session.Client) (session.Opened, error) {
	tx := i.Store.In(v.Practice)
	opening := i.Sessions.Open(tx, session.Subject{User: v.User, Username: v.Username}, method.Password, client)
	used := tx.UseInvitation(v.ID)
	// The hash that is replaced is the empty one: an invitation never replaces a password.
	set := tx.SetPassword(v.User, "", hash)
	var opened session.Opened
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !used.Found() || !set.Found() {
			return nil, errInvalid
		}
		opened, _ = opening.Result()
		recorder := evidence.From(ctx)
		who := []func(*auditv1.Event){
			evidence.User(v.User, v.Username), evidence.Practice(v.Practice), evidence.Address(client.Address), evidence.Session(opened.ID),
		}
		return append(opening.Events(recorder, who...), recorder.Event(append(who, evidence.Resource("password", 0))...)), nil
	})
	if err != nil {
		return session.Opened{}, err
	}
	return opened, nil
}
