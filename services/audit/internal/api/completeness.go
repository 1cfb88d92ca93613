package api

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/completeness"
)

const (
	longestPeriod = 24 * time.Hour
	// countedAfter is how long after a minute all services have told of it.
	countedAfter = 2 * time.Minute
)

// Completeness compares what was served with what is in the log.
type Completeness interface {
	Report(ctx context.Context, from, to time.Time) (methods []completeness.Method, runs int64, err error)
}

// GetCompleteness implements AuditService.
func (s *Service) GetCompleteness(ctx context.Context, req *auditv1.GetCompletenessRequest) (*auditv1.Completeness, error) {
	p, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	if p != uuid.Nil {
		return nil, errs.New(errs.KindDenied, "PLATFORM_ONLY", "the report counts calls of all practices and is for superadmins")
	}
	from, to := req.GetFromTime().AsTime().Truncate(time.Minute), req.GetToTime().AsTime().Truncate(time.Minute)
	switch {
	case !from.Before(to), to.Sub(from) > longestPeriod:
		return nil, errs.New(errs.KindInvalid, "PERIOD", "to_time must be 1 minute to 24 hours after from_time")
	case to.After(s.now().Add(-countedAfter)):
		return nil, errs.New(errs.KindInvalid, "PERIOD", "to_time must be 2 minutes past, so that all services have told what they served")
	}
	methods, runs, err := s.complete.Report(ctx, from, to)
	if err != nil {
		return nil, err
	}
	out := &auditv1.Completeness{FromTime: timestamppb.New(from), ToTime: timestamppb.New(to), JobRuns: runs}
	for _, m := range methods {
		out.Methods = append(out.Methods, &auditv1.MethodCompleteness{Service: m.Service, Method: m.Name, Served: m.Served, Stored: m.Stored})
	}
	return out, nil
}
