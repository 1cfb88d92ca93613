package factor

import (
	"context"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/totp"
)

// enrolmentLife is how long an enrolment waits for its first code.
const enrolmentLife = 15 * time.Minute

// Enrol makes a secret for the caller; ConfirmTotp makes it count.
func (f *Factors) Enrol(ctx context.Context, c *caller.Caller) (totp.Enrolment, error) {
	creds, err := f.credentials(ctx, c)
	if err != nil {
		return totp.Enrolment{}, err
	}
	if err := f.mayReplace(c, creds); err != nil {
		return totp.Enrolment{}, err
	}
	enrolment, err := totp.Enrol(c.Username)
	if err != nil {
		return totp.Enrolment{}, err
	}
	raw, err := totp.Raw(enrolment.Secret)
	if err != nil {
		return totp.Enrolment{}, err
	}
	sealed, err := f.Sealer.Seal(ctx, seal.Totp, c.User, raw)
	if err != nil {
		return totp.Enrolment{}, err
	}
	tx := f.Store.In(c.Practice)
	kept := tx.SetPending(c.User, creds.TotpSealed, sealed, c.Session)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !kept.Found() {
			return nil, errChanged
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("totp/pending", 0))}, nil
	})
	if err != nil {
		return totp.Enrolment{}, err
	}
	return enrolment, nil
}

// Confirmed is a session that was raised with a new factor, and what became of the others.
type Confirmed struct {
	Session     session.Opened
	Open, Ended int
}

// ConfirmTotp makes the pending enrolment the caller's factor, in place of another, and raises the session.
func (f *Factors) ConfirmTotp(ctx context.Context, c *caller.Caller, code string, endOthers bool) (Confirmed, error) {
	creds, err := f.attempt(ctx, c)
	if err != nil {
		return Confirmed{}, err
	}
	if err := f.mayReplace(c, creds); err != nil {
		return Confirmed{}, err
	}
	step, err := f.pending(ctx, c, creds, code)
	if err != nil {
		return Confirmed{}, err
	}
	what := "one-time codes of an app"
	if creds.TotpSealed != "" {
		what += ", in place of another"
	}
	letter, err := f.Notices.Prepare(ctx, c.Practice, c.User, notice.FactorAdded, notice.Details{What: what, Address: c.Address})
	if err != nil {
		return Confirmed{}, err
	}
	tx := f.Store.In(c.Practice)
	others := f.Sessions.Others(tx, c, endOthers)
	opening := f.Sessions.Raise(tx, c, creds.proof, method.TOTP)
	confirmed := tx.ConfirmPending(c.User, creds.PendingSealed, step)
	letter.Queue(tx)
	var result Confirmed
	result.Session, err = opening.Commit(ctx, tx, func() error {
		if !confirmed.Found() {
			return errChanged
		}
		result.Open, result.Ended = others.Count()
		return nil
	}, evidence.Reason(reasonTotp))
	if err != nil {
		return Confirmed{}, err
	}
	f.Notices.Poke()
	return result, nil
}

// pending checks the first code of the enrolment that waits. It is bound to the session
// that enrolled: another session of the same user, perhaps somebody else's, cannot
// confirm a secret that it has never seen, nor have its own confirmed.
func (f *Factors) pending(ctx context.Context, c *caller.Caller, creds credentials, code string) (int64, error) {
	if creds.PendingSealed == "" || creds.PendingSession == nil || *creds.PendingSession != c.Session ||
		creds.PendingAge == nil || *creds.PendingAge >= enrolmentLife {
		return 0, errPending
	}
	step, ok, err := f.Totp(ctx, c.User, creds.PendingSealed, code, 0)
	if err == nil && !ok {
		err = errCode
	}
	return step, err
}

// mayReplace: who has a second factor proves two of them afresh to get another (ASVS
// 7.5.1). Who has none enrols the first one and cannot.
func (f *Factors) mayReplace(c *caller.Caller, creds credentials) error {
	switch {
	case creds.Factors == 0:
		return nil
	case c.Assurance < accessv1.Assurance_ASSURANCE_AAL2:
		return errStepUp
	}
	return session.Fresh(c, f.Now())
}
