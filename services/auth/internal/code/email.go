package code

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/mail"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// errWeak: where codes by mail are no second factor, one cannot renew what two factors gave.
var errWeak = errs.New(errs.KindPrecondition, "EMAIL_CODE_TOO_WEAK",
	"the practice does not accept codes by mail as a second factor; give one that it accepts")

// SendEmail mails a code to the caller's address.
func (s *Codes) SendEmail(ctx context.Context, c *caller.Caller) (Challenge, error) {
	standing, err := s.Sessions.Standing(ctx, c)
	if err != nil {
		return Challenge{}, err
	}
	if err := helps(standing.Proof); err != nil {
		return Challenge{}, err
	}
	if err := s.Limiter.Sending(ctx, c.User); err != nil {
		return Challenge{}, err
	}
	code, stored := s.newCode(store.PurposeEmail, c)
	letter, err := s.letter(ctx, c, code)
	if err != nil {
		return Challenge{}, err
	}
	tx := s.Store.In(c.Practice)
	kept := tx.SetCode(stored)
	letter.Queue(tx, c.User)
	challenge, err := s.sent(ctx, tx, stored.ID, kept, func() error { return nil })
	if err == nil {
		s.Notices.Poke()
	}
	return challenge, err
}

// helps refuses a code by mail that could only stand in for something stronger: it would
// renew an AAL2 session, or verify a network for it.
func helps(p store.Proof) error {
	if !p.AcceptEmail && p.Methods.Level(false) >= accessv1.Assurance_ASSURANCE_AAL2 {
		return errWeak
	}
	return nil
}

func (s *Codes) letter(ctx context.Context, c *caller.Caller, code string) (mail.Queued, error) {
	tx := s.Store.In(c.Practice)
	found := tx.User(c.User)
	if err := tx.Read(ctx); err != nil {
		return mail.Queued{}, err
	}
	user, ok := found.One()
	if !ok {
		return mail.Queued{}, session.ErrOver
	}
	address, err := s.Sealer.Open(ctx, seal.Email, user.ID, user.EmailSealed)
	if err != nil {
		return mail.Queued{}, err
	}
	return mail.Prepare(ctx, s.Sealer, mail.Message{
		To: string(address), Subject: "carekeep: your code",
		Text: fmt.Sprintf("Account: %s\n\nYour code is %s\n\nIt counts once, within ten minutes, in the window where you asked for it. "+
			"Nobody from us will ever ask\nfor it. If you did not ask for a code, somebody knows your password: change it.\n", user.Username, code),
	}, Life)
}

// sent commits a code that was made.
func (s *Codes) sent(ctx context.Context, tx *store.Tx, id uuid.UUID, kept *store.Rows[time.Time], check func() error) (Challenge, error) {
	challenge := Challenge{ID: id}
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if err := check(); err != nil {
			return nil, err
		}
		var ok bool
		if challenge.Expires, ok = kept.One(); !ok {
			return nil, session.ErrOver
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(name(id), 0), evidence.Reason("CODE_SENT"))}, nil
	})
	if err != nil {
		return Challenge{}, err
	}
	return challenge, nil
}

// VerifyEmail adds the mail address to what the session was proved with.
func (s *Codes) VerifyEmail(ctx context.Context, c *caller.Caller, challenge uuid.UUID, code string) (session.Opened, method.Set, error) {
	standing, err := s.Sessions.Standing(ctx, c)
	if err != nil {
		return session.Opened{}, 0, err
	}
	if err := helps(standing.Proof); err != nil {
		return session.Opened{}, 0, err
	}
	if _, err := s.try(ctx, store.PurposeEmail, c, challenge, code); err != nil {
		return session.Opened{}, 0, err
	}
	mods := []func(*auditv1.Event){evidence.Reason("EMAIL_CODE")}
	if standing.AcceptEmail {
		// SP 800-63B-4 section 3.1.3.1 forbids it; the practice chose it (claim DH-23).
		mods = append(mods, evidence.Risk(auditv1.Risk_RISK_HIGH))
	}
	tx := s.Store.In(c.Practice)
	opening := s.Sessions.Raise(tx, c, standing.Proof, method.Email)
	opened, err := opening.Commit(ctx, tx, func() error { return nil }, mods...)
	return opened, standing.Offers(), err
}
