package keys

import (
	"context"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
)

// auditedVault unwraps keys and commits an event for each before anybody gets
// one (claim DTD-22). It stands below the cache, so a key that is in memory leaves none,
// and callers who wait for the same unwrap wait for its event too.
type auditedVault struct{ *Keys }

// Decrypt implements envelope.Unwrapper. The context says whose keys they are.
func (a auditedVault) Decrypt(ctx context.Context, name string, wrapped []string) ([][]byte, error) {
	raw, err := a.vault.Decrypt(ctx, name, wrapped)
	err = refused(err)
	if recordErr := a.record(ctx, wrapped, err); recordErr != nil && err == nil {
		for _, key := range raw {
			clear(key)
		}
		return nil, recordErr
	}
	return raw, err
}

func (a auditedVault) record(ctx context.Context, wrapped []string, failure error) error {
	owners := ownersOf(ctx)
	return a.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) {
		events := make([]*auditv1.Event, 0, len(wrapped))
		for _, blob := range wrapped {
			mods := []func(*auditv1.Event){evidence.Action(accessv1.Action_ACTION_KEY_UNWRAP), about(owners[blob])}
			if failure != nil {
				mods = append(mods, evidence.Failure(failure), alarming(failure))
			}
			events = append(events, evidence.From(ctx).Event(mods...))
		}
		return events, nil
	}})
}

// alarming marks a wrapped key that does not open: somebody changed it, or an
// old backup was restored past a trim of the practice's key.
func alarming(failure error) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		if errs.KindOf(failure) == errs.KindDataLoss {
			e.Risk = auditv1.Risk_RISK_CRITICAL
		}
	}
}

type ownersKey struct{}

// withOwners tells auditedVault whose keys may be unwrapped under the context.
func withOwners(ctx context.Context, list ...Wrapped) context.Context {
	return context.WithValue(ctx, ownersKey{}, list)
}

func ownersOf(ctx context.Context) map[string]Wrapped {
	list, _ := ctx.Value(ownersKey{}).([]Wrapped)
	owners := make(map[string]Wrapped, len(list))
	for _, w := range list {
		owners[w.Blob] = w
	}
	return owners
}

// refused keeps Vault's refusal of this service from reading as a refusal of the
// user: it is a fault of the installation.
func refused(err error) error {
	if errs.KindOf(err) == errs.KindDenied {
		return errs.Wrap(err, errs.KindInternal, "KEY_SERVICE_REFUSED", "internal error")
	}
	return err
}
