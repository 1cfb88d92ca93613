package api

import (
	"context"

	"github.com/google/uuid"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/watch"
)

// WatchService implements the marks of patients who are watched more closely.
type WatchService struct {
	recordsv1.UnimplementedWatchServiceServer
	watch *watch.Watch
}

// NewWatch makes the service.
func NewWatch(w *watch.Watch) *WatchService { return &WatchService{watch: w} }

func namesOf(list []uuid.UUID) []string {
	out := make([]string, len(list))
	for i, id := range list {
		out[i] = patients + id.String()
	}
	return out
}

func (s *WatchService) set(ctx context.Context, name string, mark watch.Mark, on bool) error {
	patient, err := patientID("name", name)
	if err != nil {
		return err
	}
	return s.watch.Set(ctx, patient, mark, on)
}

// SetVip implements the RPC.
func (s *WatchService) SetVip(ctx context.Context, r *recordsv1.SetVipRequest) (*recordsv1.SetVipResponse, error) {
	return &recordsv1.SetVipResponse{}, s.set(ctx, r.GetName(), watch.VIP, r.GetVip())
}

// ListVips implements the RPC.
func (s *WatchService) ListVips(ctx context.Context, _ *recordsv1.ListVipsRequest) (*recordsv1.ListVipsResponse, error) {
	list, err := s.watch.List(ctx, watch.VIP)
	return &recordsv1.ListVipsResponse{Patients: namesOf(list)}, err
}

// SetDecoy implements the RPC.
func (s *WatchService) SetDecoy(ctx context.Context, r *recordsv1.SetDecoyRequest) (*recordsv1.SetDecoyResponse, error) {
	return &recordsv1.SetDecoyResponse{}, s.set(ctx, r.GetName(), watch.Decoy, r.GetArmed())
}

// ListDecoys implements the RPC.
func (s *WatchService) ListDecoys(ctx context.Context, _ *recordsv1.ListDecoysRequest) (*recordsv1.ListDecoysResponse, error) {
	list, err := s.watch.List(ctx, watch.Decoy)
	return &recordsv1.ListDecoysResponse{Patients: namesOf(list)}, err
}
