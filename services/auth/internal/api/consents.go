package api

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/outbound"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// reviewPage is how many replies a page holds where the request does not say; each is decrypted.
const reviewPage = 50

// RecordConsent implements MessageService.
func (s *Messages) RecordConsent(ctx context.Context, r *authv1.RecordConsentRequest) (*authv1.Consent, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	var given *time.Time
	if r.GiveTime != nil {
		if err := r.GiveTime.CheckValid(); err != nil {
			return nil, invalid("give_time", "must be a time")
		}
		at := r.GiveTime.AsTime()
		given = &at
	}
	recorded, err := s.SMS.RecordConsent(ctx, c, outbound.Agreement{
		Number: r.GetNumber(), Category: store.Category(r.GetCategory()), Source: outbound.Source(r.GetSource()), Given: given, //nolint:gosec // 1 to 4
	})
	if err != nil {
		return nil, err
	}
	return consentMessage(recorded), nil
}

// RevokeConsent implements MessageService.
func (s *Messages) RevokeConsent(ctx context.Context, r *authv1.RevokeConsentRequest) (*authv1.Consent, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "consents")
	if err != nil {
		return nil, err
	}
	revoked, err := s.SMS.RevokeConsent(ctx, c, id, r.GetOptOut())
	if err != nil {
		return nil, err
	}
	return consentMessage(revoked), nil
}

// ListConsents implements MessageService.
func (s *Messages) ListConsents(ctx context.Context, r *authv1.ListConsentsRequest) (*authv1.ListConsentsResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	list, standing, err := s.SMS.Consents(ctx, c, r.GetNumber())
	if err != nil {
		return nil, err
	}
	response := &authv1.ListConsentsResponse{OptedOut: standing.OptedOut, Suspended: standing.Suspended}
	for _, row := range list {
		response.Consents = append(response.Consents, consentMessage(row))
	}
	return response, nil
}

// EraseNumber implements MessageService.
func (s *Messages) EraseNumber(ctx context.Context, r *authv1.EraseNumberRequest) (*authv1.EraseNumberResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.SMS.EraseNumber(ctx, c, r.GetNumber()); err != nil {
		return nil, err
	}
	return &authv1.EraseNumberResponse{}, nil
}

// ListReviews implements MessageService.
func (s *Messages) ListReviews(ctx context.Context, r *authv1.ListReviewsRequest) (*authv1.ListReviewsResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	after, size, err := page(r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	if r.GetPageSize() == 0 {
		size = reviewPage
	}
	list, more, err := s.SMS.Reviews(ctx, c, after, size)
	if err != nil {
		return nil, err
	}
	response := &authv1.ListReviewsResponse{}
	for _, row := range list {
		response.Reviews = append(response.Reviews, &authv1.Review{
			Name: outbound.ReviewName(row.ID), Number: row.Number, Text: row.Text, ReceiveTime: timestamppb.New(row.Received),
		})
	}
	if more {
		response.NextPageToken = pageToken(list[len(list)-1].ID)
	}
	return response, nil
}

// ResolveReview implements MessageService.
func (s *Messages) ResolveReview(ctx context.Context, r *authv1.ResolveReviewRequest) (*authv1.ResolveReviewResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "reviews")
	if err != nil {
		return nil, err
	}
	stop := r.GetResolution() == authv1.ReviewResolution_REVIEW_RESOLUTION_OPT_OUT
	if err := s.SMS.ResolveReview(ctx, c, id, stop); err != nil {
		return nil, err
	}
	return &authv1.ResolveReviewResponse{}, nil
}

func consentMessage(c store.Consent) *authv1.Consent {
	message := &authv1.Consent{
		Name: outbound.ConsentName(c.ID), Category: authv1.MessageCategory(c.Category), Source: authv1.ConsentSource(c.Source),
		GiveTime: timestamppb.New(c.Given), CreateTime: timestamppb.New(c.Created),
	}
	if c.Revoked != nil {
		message.RevokeTime = timestamppb.New(*c.Revoked)
	}
	return message
}
