package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

func showExit(e store.Exit, err error) (*recordsv1.PracticeExit, error) {
	if err != nil {
		return nil, err
	}
	out := &recordsv1.PracticeExit{
		State: recordsv1.PracticeExitState(e.State), RequestedBy: "users/" + e.RequestedBy.String(), RequestTime: timestamppb.New(e.Requested),
		ManifestDigest: e.ManifestDigest, Certificate: e.Certificate,
	}
	if e.ApprovedBy != uuid.Nil {
		out.ApprovedBy, out.ApproveTime = "users/"+e.ApprovedBy.String(), timestamppb.New(e.Approved)
	}
	return out, nil
}

// RequestPracticeExit implements the RPC.
func (s *Lifecycle) RequestPracticeExit(ctx context.Context, _ *recordsv1.RequestPracticeExitRequest) (*recordsv1.PracticeExit, error) {
	return showExit(s.life.RequestExit(ctx))
}

// CancelPracticeExit implements the RPC.
func (s *Lifecycle) CancelPracticeExit(ctx context.Context, _ *recordsv1.CancelPracticeExitRequest) (*recordsv1.PracticeExit, error) {
	return showExit(s.life.CancelExit(ctx))
}

// ApprovePracticeExit implements the RPC.
func (s *Lifecycle) ApprovePracticeExit(ctx context.Context, _ *recordsv1.ApprovePracticeExitRequest) (*recordsv1.PracticeExit, error) {
	return showExit(s.life.ApproveExit(ctx))
}

// GetPracticeExit implements the RPC.
func (s *Lifecycle) GetPracticeExit(ctx context.Context, _ *recordsv1.GetPracticeExitRequest) (*recordsv1.PracticeExit, error) {
	return showExit(s.life.Exit(ctx))
}

// ExportPractice implements the RPC.
func (s *Lifecycle) ExportPractice(_ *recordsv1.ExportPracticeRequest, stream grpc.ServerStreamingServer[recordsv1.ExportPracticeResponse]) error {
	manifest, err := s.life.Export(stream.Context(), func(chunk []byte) error {
		return stream.Send(&recordsv1.ExportPracticeResponse{Item: &recordsv1.ExportPracticeResponse_Chunk{Chunk: chunk}})
	})
	if err != nil {
		return err
	}
	return stream.Send(&recordsv1.ExportPracticeResponse{Item: &recordsv1.ExportPracticeResponse_Manifest{Manifest: manifest}})
}

// DestroyPractice implements the RPC.
func (s *Lifecycle) DestroyPractice(ctx context.Context, r *recordsv1.DestroyPracticeRequest) (*recordsv1.PracticeExit, error) {
	return showExit(s.life.DestroyExit(ctx, r.GetManifestDigest()))
}
