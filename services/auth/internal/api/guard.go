package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/account"
	"github.com/carekeep/carekeep/services/auth/internal/guard"
	"github.com/carekeep/carekeep/services/auth/internal/reset"
)

// GuardService implements carekeep.auth.v1.GuardService.
type GuardService struct {
	authv1.UnimplementedGuardServiceServer

	Guard    *guard.Guard
	Resets   *reset.Resets
	Accounts *account.Accounts
}

// RequestPasswordReset implements GuardService.
func (s *GuardService) RequestPasswordReset(ctx context.Context, r *authv1.RequestPasswordResetRequest) (*authv1.RequestPasswordResetResponse, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	if err := s.Resets.Request(ctx, storable(r.GetUsername()), from); err != nil {
		return nil, err
	}
	return &authv1.RequestPasswordResetResponse{}, nil
}

// ResetPassword implements GuardService.
func (s *GuardService) ResetPassword(ctx context.Context, r *authv1.ResetPasswordRequest) (*authv1.ResetPasswordResponse, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	if err := s.Resets.Perform(ctx, r.GetResetToken(), r.GetNewPassword(), from); err != nil {
		return nil, err
	}
	return &authv1.ResetPasswordResponse{}, nil
}

// UnlockUser implements GuardService.
func (s *GuardService) UnlockUser(ctx context.Context, r *authv1.UnlockUserRequest) (*authv1.User, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "users")
	if err != nil {
		return nil, err
	}
	unlocked, err := s.Guard.Unlock(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return userMessage(unlocked), nil
}

// ListBlocks implements GuardService.
func (s *GuardService) ListBlocks(ctx context.Context, r *authv1.ListBlocksRequest) (*authv1.ListBlocksResponse, error) {
	size := int(r.GetPageSize())
	if size == 0 {
		size = usualPage
	}
	blocks, more, err := s.Guard.Blocks(ctx, r.GetPageToken(), size)
	if err != nil {
		return nil, err
	}
	response := &authv1.ListBlocksResponse{}
	for _, b := range blocks {
		response.Blocks = append(response.Blocks, &authv1.Block{
			Network: b.Network, Reason: b.Reason, Strikes: b.Strikes,
			ExpireTime: timestamppb.New(b.Until), CreateTime: timestamppb.New(b.Created),
		})
	}
	if more {
		response.NextPageToken = blocks[len(blocks)-1].Network
	}
	return response, nil
}

// LiftBlock implements GuardService.
func (s *GuardService) LiftBlock(ctx context.Context, r *authv1.LiftBlockRequest) (*authv1.LiftBlockResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Guard.Lift(ctx, c, storable(r.GetNetwork())); err != nil {
		return nil, err
	}
	return &authv1.LiftBlockResponse{}, nil
}

// ReportProbe implements GuardService.
func (s *GuardService) ReportProbe(ctx context.Context, r *authv1.ReportProbeRequest) (*authv1.ReportProbeResponse, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	if err := s.Guard.Probe(ctx, from); err != nil {
		return nil, err
	}
	return &authv1.ReportProbeResponse{}, nil
}

// FreezeUser implements GuardService.
func (s *GuardService) FreezeUser(ctx context.Context, r *authv1.FreezeUserRequest) (*authv1.FreezeUserResponse, error) {
	id, err := idOf("user", r.GetUser(), "users")
	if err != nil {
		return nil, err
	}
	practice, err := idOf("practice", r.GetPractice(), "practices")
	if err != nil {
		return nil, err
	}
	reports := make([]uuid.UUID, len(r.GetReports()))
	for i, report := range r.GetReports() {
		if reports[i], err = uuid.Parse(report); err != nil {
			return nil, invalid("reports", "must be UUIDs")
		}
	}
	ended, err := s.Accounts.Freeze(ctx, practice, id, reports)
	if err != nil {
		return nil, err
	}
	return &authv1.FreezeUserResponse{Ended: int32(ended)}, nil //nolint:gosec // a user has a handful of sessions
}
