// Package account freezes and thaws accounts. A frozen account opens no session in
// any way; whose hands it is in is for an administrator to find out. Accounts that
// close after too many failures, and their recovery, are not its business.
package account

import (
	"context"
	"errors"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Why accounts change, as events and ended sessions say.
const (
	reasonFrozen = "COMPROMISE_REPORTED"
	reasonThawed = "ACCOUNT_THAWED"
	// reasonReported is for what another service saw; the user is told nothing more than that.
	reasonReported = "MISUSE_REPORTED"
	reasonRepeated = "MISUSE_REPORTED_BEFORE"
)

var errUnknown = errs.New(errs.KindNotFound, "USER_NOT_FOUND", "there is no such user in the practice")

// errRepeated rolls back a freeze that was carried out before; no client sees it.
var errRepeated = errs.New(errs.KindConflict, reasonRepeated, "the reports were carried out before")

var errNotFrozen = errs.New(errs.KindNotFound, "ACCOUNT_NOT_FROZEN", "there is no such user whose account is frozen")

// Accounts works on accounts.
type Accounts struct{ Store *store.Store }

// Report freezes the caller's account and ends all sessions, the caller's too (claim DC-30).
func (a *Accounts) Report(ctx context.Context, c *caller.Caller) (int, error) {
	tx := a.Store.In(c.Practice)
	tx.LockUser(c.User)
	frozen := tx.Freeze(c.User)
	ended := tx.EndSessions(c.User, uuid.Nil, reasonFrozen)
	tx.Tell(c.User, string(notice.AccountFrozen), c.Address, "")
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !frozen.Found() {
			return nil, session.ErrOver
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("users/"+c.User.String(), 0),
			evidence.Count(len(ended.All())), evidence.Reason(reasonFrozen), evidence.Risk(auditv1.Risk_RISK_CRITICAL))}, nil
	})
	return len(ended.All()), err
}

// Freeze freezes the account of a user whom another service saw misuse it, and ends all its
// sessions. One that is frozen stays so, and has no session afterwards either. Reports that were all
// carried out before change nothing: the account may have been thawed since.
func (a *Accounts) Freeze(ctx context.Context, home, user uuid.UUID, reports []uuid.UUID) (int, error) {
	read := a.Store.In(home)
	known := read.User(user)
	if err := read.Read(ctx); err != nil {
		return 0, err
	}
	if !known.Found() {
		return 0, errUnknown
	}
	ended, err := a.freeze(ctx, home, user, reports)
	if errors.Is(err, errRepeated) {
		return 0, a.Store.In(home).Do(ctx, func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{reported(ctx, home, user, reasonRepeated, auditv1.Risk_RISK_LOW)}, nil
		})
	}
	return ended, err
}

func (a *Accounts) freeze(ctx context.Context, home, user uuid.UUID, reports []uuid.UUID) (int, error) {
	tx := a.Store.In(home)
	tx.LockUser(user)
	fresh := tx.Report(user, reports)
	frozen := tx.Freeze(user)
	ended := tx.EndSessions(user, uuid.Nil, reasonReported)
	tx.Tell(user, string(notice.AccountFrozen), "", "")
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if len(reports) > 0 && !fresh.Found() {
			return nil, errRepeated
		}
		risk := auditv1.Risk_RISK_HIGH // said before
		if frozen.Found() {
			risk = auditv1.Risk_RISK_CRITICAL
		}
		return []*auditv1.Event{reported(ctx, home, user, reasonReported, risk, evidence.Count(len(ended.All())))}, nil
	})
	return len(ended.All()), err
}

func reported(ctx context.Context, home, user uuid.UUID, reason string, risk auditv1.Risk, mods ...func(*auditv1.Event)) *auditv1.Event {
	return evidence.From(ctx).Event(append(mods, evidence.Resource("users/"+user.String(), 0), evidence.Practice(home),
		evidence.Reason(reason), evidence.Risk(risk))...)
}

// Thaw ends a freeze and leaves the account closed: the password that somebody else
// may know opens nothing before it was reset. A superadmin thaws in any practice,
// for the only administrator of one may be who is frozen.
func (a *Accounts) Thaw(ctx context.Context, c *caller.Caller, user uuid.UUID) error {
	home := c.Practice
	if home == store.Platform {
		read := a.Store.In(store.Platform)
		found := read.AccountOf(user)
		if err := read.Read(ctx); err != nil {
			return err
		}
		account, _ := found.One()
		home = account.Practice
	}
	tx := a.Store.In(home)
	tx.LockUser(user)
	thawed := tx.Thaw(user, c.User)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !thawed.Found() {
			return nil, errNotFrozen
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("users/"+user.String(), 0), evidence.Practice(home),
			evidence.Reason(reasonThawed), evidence.Risk(auditv1.Risk_RISK_CRITICAL))}, nil
	})
}
