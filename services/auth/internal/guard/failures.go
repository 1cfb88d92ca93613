package guard

import (
	"context"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// StageClosed names, in events, an account that too many failures closed.
const StageClosed = "ACCOUNT_CLOSED"

// Failures holds wrong passwords and wrong second factors against accounts and
// addresses (claims DH-32 and DH-39). A password alone does not end a row of
// failures while the account has a second factor: package session ends it.
type Failures struct {
	Store   *store.Store
	Limiter *limit.Limiter
}

// Account is whom a failure is held against.
type Account struct {
	User     uuid.UUID // uuid.Nil where no such user exists
	Practice uuid.UUID
	Username string
	Address  string
}

func (a Account) mods(more ...func(*auditv1.Event)) []func(*auditv1.Event) {
	return append([]func(*auditv1.Event){
		evidence.User(a.User, a.Username), evidence.Practice(a.Practice), evidence.Address(a.Address),
	}, more...)
}

// Count adds a failure to a transaction in the account's practice. What it returns
// gives the events of what follows from it, once the transaction has its results.
func (f *Failures) Count(ctx context.Context, tx *store.Tx, a Account) func() []*auditv1.Event {
	points := limit.PointsFailure
	if a.User == uuid.Nil {
		points = limit.PointsUnknown
	} else {
		tx.LockUser(a.User) // the hundredth failure ends sessions
	}
	failed := f.Limiter.Failed(tx, a.Username, a.User, a.Address)
	blocks := Blame(ctx, f.Limiter, tx, a.Address, points, ReasonSignIns)
	return func() []*auditv1.Event {
		events := blocks()
		if row, _ := failed.One(); row.Closed {
			events = append(events, evidence.From(ctx).Event(a.mods(
				evidence.Action(accessv1.Action_ACTION_ACCOUNT_CHANGE), evidence.Reason(StageClosed), evidence.Risk(auditv1.Risk_RISK_HIGH))...))
		}
		return events
	}
}

// Blame adds to a transaction what speaks against an address. What it returns gives the
// event of the block that follows, if one does, once the transaction has its results.
func Blame(ctx context.Context, limiter *limit.Limiter, tx *store.Tx, address string, points int, reason string) func() []*auditv1.Event {
	until := limiter.Blame(tx, address, points, reason)
	return func() []*auditv1.Event {
		if end, _ := until.One(); end == nil {
			return nil
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Action(accessv1.Action_ACTION_BLOCK_CHANGE),
			evidence.Address(network.Client(address)), evidence.Reason(reason), evidence.Risk(auditv1.Risk_RISK_HIGH))}
	}
}

// Wrong counts a wrong second factor or password of a signed-in user, records it and
// returns the error that answers it.
func (f *Failures) Wrong(ctx context.Context, c *caller.Caller, wrong error, mods ...func(*auditv1.Event)) error {
	tx := f.Store.In(c.Practice)
	follows := f.Count(ctx, tx, Account{User: c.User, Practice: c.Practice, Username: c.Username, Address: c.Address})
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		mods := append([]func(*auditv1.Event){evidence.Failure(wrong)}, mods...)
		return append(follows(), evidence.From(ctx).Event(mods...)), nil
	})
	if err != nil {
		return err
	}
	return wrong
}
