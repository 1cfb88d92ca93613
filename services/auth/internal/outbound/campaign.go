package outbound

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

var (
	errSender = errs.New(errs.KindExists, "SENDER_TAKEN",
		"this number sends for a campaign already, or for the installation; replies to a number belong to one practice")
	errCampaign = errs.New(errs.KindPrecondition, "CAMPAIGN_MISSING",
		"messages to patients go out from a registered 10DLC campaign of the practice; register one, and name it in campaign")
)

// CampaignName is the resource name of a campaign.
func CampaignName(id uuid.UUID) string { return "campaigns/" + id.String() }

// CreateCampaign registers a campaign of the caller's practice.
func (s *SMS) CreateCampaign(ctx context.Context, c *caller.Caller, n store.Campaign) (store.Campaign, error) {
	number, err := sms.Number(n.Sender)
	if err != nil {
		return store.Campaign{}, err
	}
	if err := sms.CheckBrand(n.Brand); err != nil {
		return store.Campaign{}, invalid("brand", err)
	}
	if err := sms.CheckContact(n.Contact); err != nil {
		return store.Campaign{}, invalid("contact", err)
	}
	if s.On() && number == s.config.From {
		return store.Campaign{}, errSender
	}
	n.ID, n.Sender = uuid.Must(uuid.NewV7()), number
	tx := s.store.In(c.Practice)
	created := tx.InsertCampaign(n, c.User)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !created.Found() {
			return nil, errSender
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(CampaignName(n.ID), 0), evidence.Risk(auditv1.Risk_RISK_HIGH))}, nil
	})
	row, _ := created.One()
	return row, err
}

// Campaigns lists the campaigns of the caller's practice.
func (s *SMS) Campaigns(ctx context.Context, c *caller.Caller) ([]store.Campaign, error) {
	tx := s.store.In(c.Practice)
	rows := tx.Campaigns()
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("campaigns", 0), evidence.Count(len(rows.All())))}, nil
	})
	return rows.All(), err
}

func invalid(field string, err error) error {
	return errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request does not have the required form").WithField(field, err.Error())
}
