package practice

import (
	"context"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// Billing are billing settings with the mail address opened.
type Billing struct {
	LegalName string
	Email     string
	Currency  string
	Version   int64
}

const billingName = "billingSettings"

// Billing reads the billing settings of the caller's practice.
func (p *Practices) Billing(ctx context.Context, c *caller.Caller) (Billing, error) {
	tx := p.Store.In(c.Practice)
	found := tx.Billing()
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !found.Found() {
			return nil, errNotFound
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(billingName, 0))}, nil
	})
	if err != nil {
		return Billing{}, err
	}
	row, _ := found.One()
	return p.openBilling(ctx, c, row)
}

// BillingChange is what UpdateBilling may change; nil leaves a value alone.
type BillingChange struct {
	Version   int64
	LegalName *string
	Email     *string
	Currency  *string
}

// UpdateBilling changes the billing settings, if they are still the version that the caller read.
func (p *Practices) UpdateBilling(ctx context.Context, c *caller.Caller, change BillingChange) (Billing, error) {
	var sealed *string
	if change.Email != nil {
		text, err := p.Sealer.Seal(ctx, seal.BillingEmail, c.Practice, []byte(*change.Email))
		if err != nil {
			return Billing{}, err
		}
		sealed = &text
	}
	tx := p.Store.In(c.Practice)
	found := tx.Billing()
	changed := tx.UpdateBilling(change.Version, change.LegalName, sealed, change.Currency)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !found.Found() {
			return nil, errNotFound
		}
		after, ok := changed.One()
		if !ok {
			return nil, user.ErrStale
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(billingName, after.Version))}, nil
	})
	if err != nil {
		return Billing{}, err
	}
	row, _ := changed.One()
	return p.openBilling(ctx, c, row)
}

func (p *Practices) openBilling(ctx context.Context, c *caller.Caller, row store.Billing) (Billing, error) {
	email, err := p.Sealer.Open(ctx, seal.BillingEmail, c.Practice, row.EmailSealed)
	if err != nil {
		return Billing{}, err
	}
	return Billing{LegalName: row.LegalName, Email: string(email), Currency: row.Currency, Version: row.Version}, nil
}
