package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/device"
	"github.com/carekeep/carekeep/services/auth/internal/qr"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// BeginQrSignIn implements CodeService.
func (s *Codes) BeginQrSignIn(ctx context.Context, r *authv1.BeginQrSignInRequest) (*authv1.BeginQrSignInResponse, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	begun, err := s.QR.Begin(ctx, from)
	if err != nil {
		return nil, err
	}
	return &authv1.BeginQrSignInResponse{
		Request: begun.ID.String(), BrowserSecret: begun.Secret, Uri: begun.URI, Svg: begun.SVG, Number: begun.Number,
		ExpireTime: timestamppb.New(begun.Expires),
	}, nil
}

// GetQrRequest implements CodeService.
func (s *Codes) GetQrRequest(ctx context.Context, r *authv1.GetQrRequestRequest) (*authv1.QrRequest, error) {
	c, id, err := codeRequest(ctx, r.GetRequest())
	if err != nil {
		return nil, err
	}
	row, err := s.QR.Get(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return &authv1.QrRequest{
		Network: row.Network, Browser: device.Label(row.UserAgent), Numbers: row.Numbers, SameNetwork: row.SameNetwork,
		CreateTime: timestamppb.New(row.Created), ExpireTime: timestamppb.New(row.Expires),
	}, nil
}

// ApproveQrSignIn implements CodeService.
func (s *Codes) ApproveQrSignIn(ctx context.Context, r *authv1.ApproveQrSignInRequest) (*authv1.ApproveQrSignInResponse, error) {
	c, id, err := codeRequest(ctx, r.GetRequest())
	if err != nil {
		return nil, err
	}
	if err := s.QR.Approve(ctx, c, id, r.GetNumber()); err != nil {
		return nil, err
	}
	return &authv1.ApproveQrSignInResponse{}, nil
}

// DenyQrSignIn implements CodeService.
func (s *Codes) DenyQrSignIn(ctx context.Context, r *authv1.DenyQrSignInRequest) (*authv1.DenyQrSignInResponse, error) {
	c, id, err := codeRequest(ctx, r.GetRequest())
	if err != nil {
		return nil, err
	}
	if err := s.QR.Deny(ctx, c, id); err != nil {
		return nil, err
	}
	return &authv1.DenyQrSignInResponse{}, nil
}

// PollQrSignIn implements CodeService.
func (s *Codes) PollQrSignIn(ctx context.Context, r *authv1.PollQrSignInRequest) (*authv1.PollQrSignInResponse, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	id, err := requestID(r.GetRequest())
	if err != nil || id == nil {
		return nil, invalid("request", "must be a UUID")
	}
	answer, err := s.QR.Poll(ctx, *id, r.GetBrowserSecret(), from)
	if err != nil {
		return nil, err
	}
	return pollResponse(answer), nil
}

func pollResponse(a qr.Answer) *authv1.PollQrSignInResponse {
	switch {
	case a.State == store.QRUsed:
		return &authv1.PollQrSignInResponse{State: authv1.PollQrSignInResponse_STATE_SIGNED_IN, Session: signedIn(a.Session, 0)}
	case a.State == store.QRDenied:
		return &authv1.PollQrSignInResponse{State: authv1.PollQrSignInResponse_STATE_DENIED}
	case a.Expired:
		return &authv1.PollQrSignInResponse{State: authv1.PollQrSignInResponse_STATE_EXPIRED}
	}
	return &authv1.PollQrSignInResponse{State: authv1.PollQrSignInResponse_STATE_PENDING}
}
