// Package factor changes and checks what a user proves their identity with: the
// password and the one-time code. Opening the first session is package signin's.
package factor

import (
	"context"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/guard"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/password"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/totp"
)

// reasonTotp says in events which factor raised a session.
const reasonTotp = "TOTP_CODE"

// Factors works on the factors of signed-in users.
type Factors struct {
	Store     *store.Store
	Sessions  *session.Sessions
	Limiter   *limit.Limiter
	Failures  *guard.Failures
	Hasher    *password.Hasher
	Passwords password.Policy
	Sealer    *seal.Sealer
	Notices   *notice.Notices
	Now       func() time.Time
}

var (
	errCode    = errs.New(errs.KindUnauthenticated, "CODE_WRONG", "the one-time code is wrong or was used; wait for the next one")
	errNone    = errs.New(errs.KindPrecondition, "FACTOR_MISSING", "no second factor is set up; enrol one first")
	errPending = errs.New(errs.KindPrecondition, "ENROLMENT_MISSING",
		"this session has no enrolment that waits for a code; enrol again, and confirm within 15 minutes")
	errStepUp   = errs.New(errs.KindDenied, "ASSURANCE_TOO_LOW", "verify the second factor that you have before you change it")
	errPassword = errs.New(errs.KindUnauthenticated, "PASSWORD_WRONG", "the current password is wrong")
	errProof    = errs.New(errs.KindUnauthenticated, "PROOF_WRONG", "the password or the one-time code is wrong, or the code was used")
	errChanged  = errs.New(errs.KindConflict, "FACTOR_CHANGED", "the factor was changed at the same time; try again")
)

// Totp checks a code against a user's sealed secret and returns its time step.
func (f *Factors) Totp(ctx context.Context, user uuid.UUID, sealed, code string, used int64) (step int64, ok bool, err error) {
	raw, err := f.Sealer.Open(ctx, seal.Totp, user, sealed)
	if err != nil {
		return 0, false, err
	}
	step, ok = totp.Verify(raw, code, f.Now(), used)
	clear(raw)
	return step, ok, nil
}

// VerifyTotp raises the caller's session to two factors.
func (f *Factors) VerifyTotp(ctx context.Context, c *caller.Caller, code string) (session.Opened, error) {
	creds, err := f.attempt(ctx, c)
	if err != nil {
		return session.Opened{}, err
	}
	if creds.TotpSealed == "" {
		return session.Opened{}, errNone
	}
	step, ok, err := f.Totp(ctx, c.User, creds.TotpSealed, code, creds.TotpStep)
	if err != nil {
		return session.Opened{}, err
	}
	if !ok {
		return session.Opened{}, f.Failures.Wrong(ctx, c, errCode)
	}
	tx := f.Store.In(c.Practice)
	opening := f.Sessions.Raise(tx, c, creds.proof, method.TOTP)
	used := tx.UseStep(c.User, creds.TotpSealed, step)
	return opening.Commit(ctx, tx, func() error {
		if !used.Found() {
			return errCode // another request used the same code first
		}
		return nil
	}, evidence.Reason(reasonTotp))
}

// Reauthenticate proves with password and code that the caller is still there; the
// session then counts as fully authenticated now. Whichever is wrong, the answer is one.
func (f *Factors) Reauthenticate(ctx context.Context, c *caller.Caller, pass, code string) (session.Opened, error) {
	creds, err := f.attempt(ctx, c)
	if err != nil {
		return session.Opened{}, err
	}
	if creds.TotpSealed == "" {
		return session.Opened{}, errNone
	}
	right, err := f.Hasher.Verify(ctx, creds.PasswordHash, pass)
	if err != nil {
		return session.Opened{}, err
	}
	step, ok, err := f.Totp(ctx, c.User, creds.TotpSealed, code, creds.TotpStep)
	if err != nil {
		return session.Opened{}, err
	}
	if !right || !ok {
		return session.Opened{}, f.Failures.Wrong(ctx, c, errProof)
	}
	tx := f.Store.In(c.Practice)
	opening := f.Sessions.Raise(tx, c, creds.proof, method.Password|method.TOTP)
	used := tx.UseStep(c.User, creds.TotpSealed, step)
	return opening.Commit(ctx, tx, func() error {
		if !used.Found() {
			return errProof // another request used the same code first
		}
		return nil
	}, evidence.Reason(reasonTotp))
}

// ChangePassword replaces the caller's password and ends the other sessions.
func (f *Factors) ChangePassword(ctx context.Context, c *caller.Caller, current, next string) error {
	creds, err := f.attempt(ctx, c)
	if err != nil {
		return err
	}
	ok, err := f.Hasher.Verify(ctx, creds.PasswordHash, current)
	if err != nil {
		return err
	}
	if !ok {
		return f.Failures.Wrong(ctx, c, errPassword)
	}
	if err := session.Fresh(c, f.Now()); err != nil {
		return err
	}
	if err := f.acceptable(ctx, c, current, next); err != nil {
		return err
	}
	hash, err := f.Hasher.Hash(ctx, next)
	if err != nil {
		return err
	}
	tx := f.Store.In(c.Practice)
	tx.LockUser(c.User)
	changed := tx.SetPassword(c.User, creds.PasswordHash, hash)
	ended := tx.EndSessions(c.User, c.Session, session.ReasonPassword)
	tx.EndResets(c.User)
	tx.Tell(c.User, string(notice.PasswordChanged), c.Address, "")
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !changed.Found() {
			return nil, errChanged
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("password", 0), evidence.Count(len(ended.All())))}, nil
	})
}

func (f *Factors) acceptable(ctx context.Context, c *caller.Caller, current, next string) error {
	if password.Same(current, next) {
		return errs.New(errs.KindInvalid, "PASSWORD_SAME", "choose a password other than the current one").
			WithField("new_password", "is the current password")
	}
	tx := f.Store.In(c.Practice)
	found := tx.User(c.User)
	if err := tx.Read(ctx); err != nil {
		return err
	}
	user, ok := found.One()
	if !ok {
		return session.ErrOver
	}
	email, err := f.Sealer.Open(ctx, seal.Email, user.ID, user.EmailSealed)
	if err != nil {
		return err
	}
	return f.Passwords.Check("new_password", next, []string{user.Username, user.DisplayName, string(email)})
}

// credentials are a user's, and what the caller's session was opened with so far.
type credentials struct {
	store.Credentials
	proof store.Proof
}

// attempt counts an attempt at a secret before anything is compared.
func (f *Factors) attempt(ctx context.Context, c *caller.Caller) (credentials, error) {
	if err := f.Limiter.Secret(ctx, c.User); err != nil {
		return credentials{}, err
	}
	return f.credentials(ctx, c)
}

func (f *Factors) credentials(ctx context.Context, c *caller.Caller) (credentials, error) {
	tx := f.Store.In(c.Practice)
	found, proofs := tx.Credentials(c.User), tx.Proof(c.Session, c.User)
	if err := tx.Read(ctx); err != nil {
		return credentials{}, err
	}
	creds, known := found.One()
	proof, open := proofs.One()
	if !known || !open {
		return credentials{}, session.ErrOver
	}
	return credentials{creds, proof}, nil
}
