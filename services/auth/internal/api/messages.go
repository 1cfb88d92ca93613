package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/outbound"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Messages implements carekeep.auth.v1.MessageService.
type Messages struct {
	authv1.UnimplementedMessageServiceServer

	SMS *outbound.SMS
}

// CreateCampaign implements MessageService.
func (s *Messages) CreateCampaign(ctx context.Context, r *authv1.CreateCampaignRequest) (*authv1.Campaign, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	created, err := s.SMS.CreateCampaign(ctx, c, store.Campaign{
		Registration: r.GetRegistration(), Sender: r.GetSender(), Brand: r.GetBrand(), Contact: r.GetContact(),
	})
	if err != nil {
		return nil, err
	}
	return campaignMessage(created), nil
}

// ListCampaigns implements MessageService.
func (s *Messages) ListCampaigns(ctx context.Context, _ *authv1.ListCampaignsRequest) (*authv1.ListCampaignsResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.SMS.Campaigns(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &authv1.ListCampaignsResponse{}
	for _, row := range list {
		response.Campaigns = append(response.Campaigns, campaignMessage(row))
	}
	return response, nil
}

// ListMessageTemplates implements MessageService.
func (s *Messages) ListMessageTemplates(context.Context, *authv1.ListMessageTemplatesRequest) (*authv1.ListMessageTemplatesResponse, error) {
	response := &authv1.ListMessageTemplatesResponse{}
	for _, name := range sms.PatientTemplates() {
		t := sms.Templates[name]
		m := &authv1.MessageTemplate{
			Template: name, Category: authv1.MessageCategory(t.Category), Text: t.Text, Parameters: map[string]string{},
		}
		for param, form := range t.Params {
			m.Parameters[param] = form.Form.String()
		}
		response.Templates = append(response.Templates, m)
	}
	return response, nil
}

// SendSms implements MessageService.
func (s *Messages) SendSms(ctx context.Context, r *authv1.SendSmsRequest) (*authv1.TextMessage, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	request, err := requestID(r.GetRequestId())
	if err != nil {
		return nil, err
	}
	draft := outbound.Draft{Number: r.GetNumber(), Template: r.GetTemplate(), Params: r.GetParameters(), Request: request}
	if r.GetCampaign() != "" {
		if draft.Campaign, err = idOf("campaign", r.GetCampaign(), "campaigns"); err != nil {
			return nil, err
		}
	}
	queued, err := s.SMS.Send(ctx, c, draft)
	if err != nil {
		return nil, err
	}
	return textMessage(queued), nil
}

// ListMessages implements MessageService.
func (s *Messages) ListMessages(ctx context.Context, r *authv1.ListMessagesRequest) (*authv1.ListMessagesResponse, error) {
	list, next, err := listed(ctx, r, s.SMS.Messages, textMessage, func(row store.Message) uuid.UUID { return row.ID })
	if err != nil {
		return nil, err
	}
	return &authv1.ListMessagesResponse{Messages: list, NextPageToken: next}, nil
}

// ReceiveSms implements MessageService.
func (s *Messages) ReceiveSms(ctx context.Context, r *authv1.ReceiveSmsRequest) (*authv1.ReceiveSmsResponse, error) {
	if err := s.SMS.Receive(ctx, r.GetForm(), r.GetSignature()); err != nil {
		return nil, err
	}
	return &authv1.ReceiveSmsResponse{}, nil
}

func campaignMessage(c store.Campaign) *authv1.Campaign {
	return &authv1.Campaign{
		Name: outbound.CampaignName(c.ID), Registration: c.Registration, Sender: c.Sender, Brand: c.Brand, Contact: c.Contact,
		CreateTime: timestamppb.New(c.Created),
	}
}

func textMessage(m store.Message) *authv1.TextMessage {
	message := &authv1.TextMessage{
		Name: outbound.MessageName(m.ID), Category: authv1.MessageCategory(m.Category), Template: m.Template,
		State: authv1.MessageState(m.State), Reason: m.Reason, CreateTime: timestamppb.New(m.Created), UpdateTime: timestamppb.New(m.Updated),
	}
	if m.Campaign != nil && *m.Campaign != uuid.Nil {
		message.Campaign = outbound.CampaignName(*m.Campaign)
	}
	return message
}
