// Package guard lists and lifts blocks of addresses, takes reports of probes, and
// reopens accounts that failures closed. What leads to a block or a closed account
// is counted in package limit.
package guard

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// Why an address is blocked.
const (
	ReasonSignIns = "FAILED_SIGN_INS"
	ReasonProbes  = "PROBES"
)

// Guard works on blocks and locked accounts.
type Guard struct {
	Store   *store.Store
	Limiter *limit.Limiter
	Users   *user.Users
	Notices *notice.Notices
}

var (
	errNoBlock  = errs.New(errs.KindNotFound, "BLOCK_NOT_FOUND", "this network is not blocked")
	errSelf     = errs.New(errs.KindDenied, "SELF_APPROVAL", "somebody else has to reopen your account")
	errUnlocked = errs.New(errs.KindPrecondition, "USER_NOT_LOCKED", "the account was not closed by failed sign-ins; thaw one that is frozen, and reset the password of one that was thawed")
)

// Blocks reads a page of the blocks in force, and whether there are more.
func (g *Guard) Blocks(ctx context.Context, after string, size int) ([]store.Block, bool, error) {
	tx := g.Store.In(store.Platform)
	page := tx.Blocks(after, size+1)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(min(size, len(page.All()))))}, nil
	})
	rows := page.All()
	return rows[:min(size, len(rows))], len(rows) > size, err
}

// Lift ends a block.
func (g *Guard) Lift(ctx context.Context, c *caller.Caller, blocked string) error {
	tx := g.Store.In(store.Platform)
	lifted := tx.DeleteBlock(blocked, c.User)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !lifted.Found() {
			return nil, errNoBlock
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Address(blocked), evidence.Reason("BLOCK_LIFTED"))}, nil
	})
}

// Probe counts that a client asked for a path that only scanners ask for.
func (g *Guard) Probe(ctx context.Context, client session.Client) error {
	tx := g.Store.In(store.Platform)
	blocks := Blame(ctx, g.Limiter, tx, client.Address, limit.PointsProbe, ReasonProbes)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		probe := evidence.From(ctx).Event(evidence.Address(client.Address), evidence.Reason("PROBE"), evidence.Risk(auditv1.Risk_RISK_MEDIUM))
		return append([]*auditv1.Event{probe}, blocks()...), nil
	})
}

// Unlock reopens the account of somebody else in the caller's practice.
func (g *Guard) Unlock(ctx context.Context, c *caller.Caller, id uuid.UUID) (user.User, error) {
	if c.User == id {
		return user.User{}, errSelf
	}
	before, err := g.Users.Get(ctx, c, id)
	if err != nil {
		return user.User{}, err
	}
	told, err := g.Notices.Prepare(ctx, c.Practice, id, notice.AccountReopened, notice.Details{})
	if err != nil {
		return user.User{}, err
	}
	tx := g.Store.In(c.Practice)
	after := tx.Unlock(id)
	g.Limiter.Succeeded(tx, before.Username)
	told.Queue(tx)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		row, ok := after.One()
		if !ok || row.Version == before.Version {
			return nil, errUnlocked
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(user.Name(id), row.Version), evidence.Reason("ACCOUNT_REOPENED"))}, nil
	})
	if err != nil {
		return user.User{}, err
	}
	g.Notices.Poke()
	before.User, _ = after.One()
	return before, nil
}
