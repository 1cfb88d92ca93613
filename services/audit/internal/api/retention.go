package api

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/retention"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// RetentionService implements the API of the log's retention.
type RetentionService struct {
	auditv1.UnimplementedRetentionServiceServer
	retention *retention.Retention
}

// NewRetention makes the service.
func NewRetention(r *retention.Retention) *RetentionService { return &RetentionService{retention: r} }

// PlanRetention implements the RPC.
func (s *RetentionService) PlanRetention(ctx context.Context, _ *auditv1.PlanRetentionRequest) (*auditv1.PlanRetentionResponse, error) {
	plan, err := s.retention.Plan(ctx)
	if err != nil {
		return nil, err
	}
	out := &auditv1.PlanRetentionResponse{Purges: s.retention.Purge}
	for _, d := range plan {
		out.Classes = append(out.Classes, &auditv1.RetentionClass{
			Name: string(d.Class), CutoffTime: timestamppb.New(d.Cutoff), Due: d.Free, Spared: d.Due - d.Free,
		})
	}
	return out, nil
}

// RunRetention implements the RPC.
func (s *RetentionService) RunRetention(ctx context.Context, _ *auditv1.RunRetentionRequest) (*auditv1.RunRetentionResponse, error) {
	done, err := s.retention.Asked(ctx)
	if err != nil {
		return nil, err
	}
	out := &auditv1.RunRetentionResponse{Deleted: done.Deleted, More: done.More}
	for _, month := range done.Months {
		out.Months = append(out.Months, month.Format("2006-01"))
	}
	return out, nil
}

// PlaceLogHold implements the RPC.
func (s *RetentionService) PlaceLogHold(ctx context.Context, r *auditv1.PlaceLogHoldRequest) (*auditv1.LogHold, error) {
	practice := uuid.Nil
	if r.GetPractice() != "" {
		var err error
		if practice, err = uuid.Parse(strings.TrimPrefix(r.GetPractice(), practices)); err != nil {
			return nil, invalid("practice", `must be like "practices/{uuid}"`)
		}
	}
	return logHold(s.retention.Place(ctx, practice, r.GetReference()))
}

// ReleaseLogHold implements the RPC.
func (s *RetentionService) ReleaseLogHold(ctx context.Context, r *auditv1.ReleaseLogHoldRequest) (*auditv1.LogHold, error) {
	id, err := uuid.Parse(r.GetName()[strings.LastIndexByte(r.GetName(), '/')+1:])
	if err != nil {
		return nil, invalid("name", `must be like "logHolds/{uuid}"`)
	}
	return logHold(s.retention.Release(ctx, id))
}

// ListLogHolds implements the RPC.
func (s *RetentionService) ListLogHolds(ctx context.Context, _ *auditv1.ListLogHoldsRequest) (*auditv1.ListLogHoldsResponse, error) {
	list, err := s.retention.Holds(ctx)
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListLogHoldsResponse{}
	for _, h := range list {
		shown, _ := logHold(h, nil)
		out.LogHolds = append(out.LogHolds, shown)
	}
	return out, nil
}

const (
	practices = "practices/"
	users     = "users/"
)

func logHold(h store.LogHold, err error) (*auditv1.LogHold, error) {
	if err != nil {
		return nil, err
	}
	out := &auditv1.LogHold{
		Name: retention.HoldName(h.ID), Reference: h.Reference, PlacedBy: users + h.PlacedBy.String(), PlaceTime: timestamppb.New(h.Placed),
	}
	if h.Practice != uuid.Nil {
		out.Practice = practices + h.Practice.String()
	}
	if h.Released != nil {
		out.ReleasedBy, out.ReleaseTime = users+h.ReleasedBy.String(), timestamppb.New(*h.Released)
	}
	return out, nil
}
