package code

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

var (
	errConsent = errs.New(errs.KindInvalid, "CONSENT_REQUIRED", "agree to codes by text message first").
			WithField("consent", "must be true")
	// errOnly: STOP ends codes for good, so a number must never be all that somebody has.
	errOnly = errs.New(errs.KindPrecondition, "FACTOR_NEEDED_FIRST", "set up a passkey or TOTP first; a number that says STOP gets no codes")
	errNone = errs.New(errs.KindPrecondition, "FACTOR_MISSING", "no telephone number is set up; enrol one first")
)

// EnrolPhone keeps the consent and the number until its first code comes back.
func (s *Codes) EnrolPhone(ctx context.Context, c *caller.Caller, number string, consent bool) (Challenge, error) {
	if !consent {
		return Challenge{}, errConsent
	}
	if err := session.Fresh(c, s.Now()); err != nil {
		return Challenge{}, err
	}
	standing, err := s.Sessions.Standing(ctx, c)
	if err != nil {
		return Challenge{}, err
	}
	if !standing.Factors.Any(method.Lasting) {
		return Challenge{}, errOnly
	}
	if number, err = sms.Number(number); err != nil {
		return Challenge{}, err
	}
	enrolment, err := s.SMS.PrepareEnrolment(ctx, c.Practice, c.User, number)
	if err != nil {
		return Challenge{}, err
	}
	sealed, err := s.Sealer.Seal(ctx, seal.Phone, c.User, []byte(number))
	if err != nil {
		return Challenge{}, err
	}
	return s.text(ctx, c, store.PurposePhone, number, func(tx *store.Tx, stored *store.NewCode) {
		stored.NumberSealed = sealed
		enrolment.Record(tx)
	})
}

// Confirmed is what came of confirming a number: the session with its new token, and
// what became of the others.
type Confirmed struct {
	Session     session.Opened
	Factors     method.Set
	Open, Ended int
}

// ConfirmPhone makes the number that got the code the caller's factor, in place of another.
// The code is a proof as well, so the session gets a new token.
func (s *Codes) ConfirmPhone(ctx context.Context, c *caller.Caller, challenge uuid.UUID, code string, endOthers bool) (Confirmed, error) {
	if err := session.Fresh(c, s.Now()); err != nil {
		return Confirmed{}, err
	}
	standing, err := s.Sessions.Standing(ctx, c)
	if err != nil {
		return Confirmed{}, err
	}
	tried, err := s.try(ctx, store.PurposePhone, c, challenge, code)
	if err != nil {
		return Confirmed{}, err
	}
	number, err := s.Sealer.Open(ctx, seal.Phone, c.User, tried.NumberSealed)
	if err != nil {
		return Confirmed{}, err
	}
	letter, err := s.Notices.Prepare(ctx, c.Practice, c.User, notice.FactorAdded,
		notice.Details{What: "codes by text message", Address: c.Address})
	if err != nil {
		return Confirmed{}, err
	}
	tx := s.Store.In(c.Practice)
	others := s.Sessions.Others(tx, c, endOthers)
	opening := s.Sessions.Raise(tx, c, standing.Proof, method.SMS)
	tx.SetPhone(c.User, tried.NumberSealed)
	tx.AddFactor(c.User, method.SMS)
	tx.RevokeEnrolments(c.User, s.SMS.Token(c.Practice, string(number)))
	letter.Queue(tx)
	result := Confirmed{Factors: standing.Offers() | method.SMS}
	result.Session, err = opening.Commit(ctx, tx, func() error {
		result.Open, result.Ended = others.Count()
		return nil
	}, func(e *auditv1.Event) { evidence.Count(result.Ended)(e) }, evidence.Resource("factors/sms", 0), evidence.Reason("FACTOR_ADDED"))
	if err != nil {
		return Confirmed{}, err
	}
	s.Notices.Poke()
	return result, nil
}

// SendSMS sends a code to the caller's number.
func (s *Codes) SendSMS(ctx context.Context, c *caller.Caller) (Challenge, error) {
	tx := s.Store.In(c.Practice)
	found := tx.Phone(c.User)
	if err := tx.Read(ctx); err != nil {
		return Challenge{}, err
	}
	sealed, ok := found.One()
	if !ok {
		return Challenge{}, errNone
	}
	number, err := s.Sealer.Open(ctx, seal.Phone, c.User, sealed)
	if err != nil {
		return Challenge{}, err
	}
	return s.text(ctx, c, store.PurposeSMS, string(number), func(*store.Tx, *store.NewCode) {})
}

// text makes a code and queues it; nothing is kept of it where the number must get none.
func (s *Codes) text(ctx context.Context, c *caller.Caller, purpose store.Purpose, number string, prepare func(*store.Tx, *store.NewCode)) (Challenge, error) {
	if err := s.Limiter.Sending(ctx, c.User); err != nil {
		return Challenge{}, err
	}
	code, stored := s.newCode(purpose, c)
	message, err := s.SMS.PrepareCode(ctx, c.Practice, c.User, number, code, Life)
	if err != nil {
		return Challenge{}, err
	}
	tx := s.Store.In(c.Practice)
	prepare(tx, &stored)
	kept := tx.SetCode(stored)
	message.Queue(tx)
	challenge, err := s.sent(ctx, tx, stored.ID, kept, message.Err)
	if err == nil {
		s.SMS.Poke()
	}
	return challenge, err
}

// VerifySMS raises the caller's session to two factors.
func (s *Codes) VerifySMS(ctx context.Context, c *caller.Caller, challenge uuid.UUID, code string) (session.Opened, method.Set, error) {
	standing, err := s.Sessions.Standing(ctx, c)
	if err != nil {
		return session.Opened{}, 0, err
	}
	if !standing.Factors.Any(method.SMS) {
		return session.Opened{}, 0, errNone
	}
	if _, err := s.try(ctx, store.PurposeSMS, c, challenge, code); err != nil {
		return session.Opened{}, 0, err
	}
	tx := s.Store.In(c.Practice)
	opening := s.Sessions.Raise(tx, c, standing.Proof, method.SMS)
	// The telephone network is a restricted authenticator (SP 800-63B-4 section 3.1.3.3).
	opened, err := opening.Commit(ctx, tx, func() error { return nil }, evidence.Reason("SMS_CODE"), evidence.Risk(auditv1.Risk_RISK_MEDIUM))
	return opened, standing.Offers(), err
}
