package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/review"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const reviewPage = 50

// LogReviewService implements the API of reviews.
type LogReviewService struct {
	auditv1.UnimplementedLogReviewServiceServer
	reviews *review.Reviews
}

// NewLogReviews makes the service.
func NewLogReviews(r *review.Reviews) *LogReviewService { return &LogReviewService{reviews: r} }

// PrepareLogReview implements the RPC.
func (s *LogReviewService) PrepareLogReview(ctx context.Context, _ *auditv1.PrepareLogReviewRequest) (*auditv1.LogReviewTask, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	task, err := s.reviews.Prepare(ctx, own)
	if err != nil {
		return nil, err
	}
	out := &auditv1.LogReviewTask{FromSeq: task.From, ToSeq: task.To, RootHash: task.Root[:]}
	if out.Openings, err = describeAll(task.Openings); err != nil {
		return nil, err
	}
	out.Sample, err = describeAll(task.Sample)
	return out, err
}

func describeAll(entries []ledger.Entry) ([]*auditv1.Entry, error) {
	out := make([]*auditv1.Entry, len(entries))
	for i, e := range entries {
		var err error
		if out[i], err = describe(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// CreateLogReview implements the RPC.
func (s *LogReviewService) CreateLogReview(ctx context.Context, r *auditv1.CreateLogReviewRequest) (*auditv1.LogReview, error) {
	c, ok := caller.From(ctx)
	if !ok {
		return nil, errs.New(errs.KindUnauthenticated, "CALLER_MISSING", "no caller")
	}
	made, err := s.reviews.Attest(ctx, review.Attestation{
		Practice: c.Practice, Reviewer: c.User, From: r.GetFromSeq(), To: r.GetToSeq(), Root: r.GetRootHash(), Findings: r.GetFindings(),
	})
	if err != nil {
		return nil, err
	}
	return describeReview(made), nil
}

// ListLogReviews implements the RPC.
func (s *LogReviewService) ListLogReviews(ctx context.Context, r *auditv1.ListLogReviewsRequest) (*auditv1.ListLogReviewsResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	from, err := readToken(r.GetPageToken(), fingerprint(r))
	if err != nil {
		return nil, err
	}
	before, err := uuid.Parse(from.Reason)
	if err != nil && from.Reason != "" {
		return nil, badToken
	}
	size := reviewPage
	if r.GetPageSize() > 0 {
		size = int(r.GetPageSize())
	}
	rows, err := s.reviews.List(ctx, own, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListLogReviewsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		out.NextPageToken = writeToken(store.AlertKey{Reason: rows[size-1].ID.String()}, fingerprint(r))
	}
	for _, row := range rows {
		out.LogReviews = append(out.LogReviews, describeReview(row))
	}
	return out, nil
}

func describeReview(v review.Review) *auditv1.LogReview {
	return &auditv1.LogReview{
		Name: review.Name(v.ID), ReviewerId: v.Reviewer.String(), FromSeq: v.From, ToSeq: v.To, RootHash: v.Root[:],
		Findings: v.Text, CreateTime: timestamppb.New(v.Time), Note: v.Note,
	}
}
