package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/admit"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/signin"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// SignIn implements AuthService.
func (s *Service) SignIn(ctx context.Context, r *authv1.SignInRequest) (*authv1.SignInResponse, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	result, err := s.SignIns.SignIn(ctx, signin.Attempt{
		Username: storable(r.GetUsername()), Password: r.GetPassword(), Code: r.GetTotpCode(), Client: from,
	})
	if err != nil {
		return nil, err
	}
	return signedIn(result.Opened, result.Factors), nil
}

// VerifyTotp implements AuthService.
func (s *Service) VerifyTotp(ctx context.Context, r *authv1.VerifyTotpRequest) (*authv1.SignInResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	opened, err := s.Factors.VerifyTotp(ctx, c, r.GetTotpCode())
	if err != nil {
		return nil, err
	}
	return signedIn(opened, method.TOTP), nil
}

// SignOut implements AuthService.
func (s *Service) SignOut(ctx context.Context, _ *authv1.SignOutRequest) (*authv1.SignOutResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Sessions.SignOut(ctx, c); err != nil {
		return nil, err
	}
	return &authv1.SignOutResponse{}, nil
}

// AcceptInvitation implements AuthService.
func (s *Service) AcceptInvitation(ctx context.Context, r *authv1.AcceptInvitationRequest) (*authv1.SignInResponse, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	opened, err := s.Invites.Accept(ctx, r.GetInvitationToken(), r.GetPassword(), from)
	if err != nil {
		return nil, err
	}
	return signedIn(opened, 0), nil
}

// EnrolTotp implements AuthService.
func (s *Service) EnrolTotp(ctx context.Context, _ *authv1.EnrolTotpRequest) (*authv1.EnrolTotpResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	enrolment, err := s.Factors.Enrol(ctx, c)
	if err != nil {
		return nil, err
	}
	return &authv1.EnrolTotpResponse{Secret: enrolment.Secret, Uri: enrolment.URI}, nil
}

// ConfirmTotp implements AuthService.
func (s *Service) ConfirmTotp(ctx context.Context, r *authv1.ConfirmTotpRequest) (*authv1.SignInResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	confirmed, err := s.Factors.ConfirmTotp(ctx, c, r.GetTotpCode(), r.GetEndOtherSessions())
	if err != nil {
		return nil, err
	}
	response := signedIn(confirmed.Session, method.TOTP)
	change := factorChange(confirmed.Open, confirmed.Ended)
	response.OtherSessions, response.EndedSessions = change.GetOtherSessions(), change.GetEndedSessions()
	return response, nil
}

// ChangePassword implements AuthService.
func (s *Service) ChangePassword(ctx context.Context, r *authv1.ChangePasswordRequest) (*authv1.ChangePasswordResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Factors.ChangePassword(ctx, c, r.GetCurrentPassword(), r.GetNewPassword()); err != nil {
		return nil, err
	}
	return &authv1.ChangePasswordResponse{}, nil
}

// GetSelf implements AuthService.
func (s *Service) GetSelf(ctx context.Context, _ *authv1.GetSelfRequest) (*authv1.Self, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	self, err := s.Users.Get(ctx, c, c.User)
	if err != nil {
		return nil, err
	}
	return &authv1.Self{User: userMessage(self), Assurance: c.Assurance, Permissions: c.Permissions.List(), Gates: c.Gates.List()}, nil
}

// ListSessions implements AuthService.
func (s *Service) ListSessions(ctx context.Context, _ *authv1.ListSessionsRequest) (*authv1.ListSessionsResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Sessions.List(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &authv1.ListSessionsResponse{}
	for _, row := range list {
		response.Sessions = append(response.Sessions, &authv1.Session{
			Name: session.Name(row.ID), Assurance: row.Assurance, Current: row.ID == c.Session,
			CreateTime: timestamppb.New(row.Created), LastUseTime: timestamppb.New(row.LastUse),
			Address: row.Address, UserAgent: row.UserAgent, Methods: row.Methods.List(), Device: deviceName(row.Device),
		})
	}
	return response, nil
}

// EndSession implements AuthService.
func (s *Service) EndSession(ctx context.Context, r *authv1.EndSessionRequest) (*authv1.EndSessionResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "sessions")
	if err != nil {
		return nil, err
	}
	if err := s.Sessions.End(ctx, c, id); err != nil {
		return nil, err
	}
	return &authv1.EndSessionResponse{}, nil
}

// EndUserSessions implements AuthService.
func (s *Service) EndUserSessions(ctx context.Context, r *authv1.EndUserSessionsRequest) (*authv1.EndUserSessionsResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "users")
	if err != nil {
		return nil, err
	}
	ended, err := s.Sessions.EndAllOf(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return &authv1.EndUserSessionsResponse{Ended: int32(ended)}, nil
}

// Admit implements AuthService.
func (s *Service) Admit(ctx context.Context, r *authv1.AdmitRequest) (*authv1.AdmitResponse, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	token, err := s.Admitter.Admit(ctx, admit.Request{
		Token: r.GetSessionToken(), Audience: r.GetAudience(), Method: r.GetMethod(), Client: from,
		Purpose: r.GetPurpose(), Background: r.GetBackground(),
	})
	if err != nil {
		return nil, err
	}
	return &authv1.AdmitResponse{CallerToken: token}, nil
}

// signedIn says what came of an authentication, and which second factors the user could still give.
func signedIn(o session.Opened, factors method.Set) *authv1.SignInResponse {
	next := authv1.NextStep_NEXT_STEP_ENROL_TOTP
	switch {
	case o.Assurance == accessv1.Assurance_ASSURANCE_AAL2:
		next = authv1.NextStep_NEXT_STEP_NONE
	case factors.Any(method.TOTP):
		next = authv1.NextStep_NEXT_STEP_VERIFY_TOTP
	case factors&^method.Email != 0: // who could only have a code mailed had better enrol something
		next = authv1.NextStep_NEXT_STEP_VERIFY
	}
	return &authv1.SignInResponse{
		SecondFactors: factors.List(), DeviceToken: o.DeviceToken,
		SessionToken: o.Token, Assurance: o.Assurance, NextStep: next, User: user.Name(o.User),
		IdleExpireTime: timestamppb.New(o.IdleEnd), ExpireTime: timestamppb.New(o.End),
	}
}
