package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/practice"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// CreatePractice implements AuthService.
func (s *Service) CreatePractice(ctx context.Context, r *authv1.CreatePracticeRequest) (*authv1.Practice, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	request, err := requestID(r.GetRequestId())
	if err != nil {
		return nil, err
	}
	if err := line("display_name", r.GetDisplayName()); err != nil {
		return nil, err
	}
	if err := address("admin_email", r.GetAdminEmail()); err != nil {
		return nil, err
	}
	created, err := s.Practices.Create(ctx, c, practice.New{
		DisplayName: r.GetDisplayName(), AdminUsername: r.GetAdminUsername(), AdminEmail: r.GetAdminEmail(), Request: request,
	})
	if err != nil {
		return nil, err
	}
	return practiceMessage(created), nil
}

// GetPractice implements AuthService.
func (s *Service) GetPractice(ctx context.Context, r *authv1.GetPracticeRequest) (*authv1.Practice, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "practices")
	if err != nil {
		return nil, err
	}
	found, err := s.Practices.Get(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return practiceMessage(found), nil
}

// ListPractices implements AuthService.
func (s *Service) ListPractices(ctx context.Context, r *authv1.ListPracticesRequest) (*authv1.ListPracticesResponse, error) {
	list, next, err := listed(ctx, r, s.Practices.List, practiceMessage, func(row store.Practice) uuid.UUID { return row.ID })
	if err != nil {
		return nil, err
	}
	return &authv1.ListPracticesResponse{Practices: list, NextPageToken: next}, nil
}

// UpdatePractice implements AuthService.
func (s *Service) UpdatePractice(ctx context.Context, r *authv1.UpdatePracticeRequest) (*authv1.Practice, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	p := r.GetPractice()
	id, err := idOf("practice.name", p.GetName(), "practices")
	if err != nil {
		return nil, err
	}
	fields, err := newMask(r.GetUpdateMask(), map[string]bool{"display_name": p.GetDisplayName() != "", "disabled": p.GetDisabled()},
		"name", "etag", "create_time", "update_time")
	if err != nil {
		return nil, err
	}
	var change practice.Change
	if change.Version, err = versionOf("practice.etag", p.GetEtag()); err != nil {
		return nil, err
	}
	if fields.has("display_name") {
		if err := line("practice.display_name", p.GetDisplayName()); err != nil {
			return nil, err
		}
		name := p.GetDisplayName()
		change.DisplayName = &name
	}
	if fields.has("disabled") {
		disabled := p.GetDisabled()
		change.Disabled = &disabled
	}
	changed, err := s.Practices.Update(ctx, c, id, change)
	if err != nil {
		return nil, err
	}
	return practiceMessage(changed), nil
}

// GetBillingSettings implements AuthService.
func (s *Service) GetBillingSettings(ctx context.Context, _ *authv1.GetBillingSettingsRequest) (*authv1.BillingSettings, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	settings, err := s.Practices.Billing(ctx, c)
	if err != nil {
		return nil, err
	}
	return billingMessage(settings), nil
}

// UpdateBillingSettings implements AuthService.
func (s *Service) UpdateBillingSettings(ctx context.Context, r *authv1.UpdateBillingSettingsRequest) (*authv1.BillingSettings, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	b := r.GetBillingSettings()
	fields, err := newMask(r.GetUpdateMask(), map[string]bool{
		"legal_name": b.GetLegalName() != "", "billing_email": b.GetBillingEmail() != "", "currency": b.GetCurrency() != "",
	}, "etag")
	if err != nil {
		return nil, err
	}
	var change practice.BillingChange
	if change.Version, err = versionOf("billing_settings.etag", b.GetEtag()); err != nil {
		return nil, err
	}
	if fields.has("legal_name") {
		if err := printable("billing_settings.legal_name", b.GetLegalName()); err != nil {
			return nil, err
		}
		name := b.GetLegalName()
		change.LegalName = &name
	}
	if fields.has("billing_email") {
		email := b.GetBillingEmail()
		if email != "" {
			if err := address("billing_settings.billing_email", email); err != nil {
				return nil, err
			}
		}
		change.Email = &email
	}
	if fields.has("currency") {
		currency := b.GetCurrency()
		change.Currency = &currency
	}
	changed, err := s.Practices.UpdateBilling(ctx, c, change)
	if err != nil {
		return nil, err
	}
	return billingMessage(changed), nil
}

func practiceMessage(p store.Practice) *authv1.Practice {
	return &authv1.Practice{
		Name: practice.Name(p.ID), DisplayName: p.DisplayName, Disabled: p.Disabled,
		CreateTime: timestamppb.New(p.Created), UpdateTime: timestamppb.New(p.Updated), Etag: etag(p.Version),
	}
}

func billingMessage(b practice.Billing) *authv1.BillingSettings {
	return &authv1.BillingSettings{LegalName: b.LegalName, BillingEmail: b.Email, Currency: b.Currency, Etag: etag(b.Version)}
}
