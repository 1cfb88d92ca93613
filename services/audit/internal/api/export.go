package api

import (
	"fmt"

	"google.golang.org/grpc"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/ledger"
)

// Export implements AuditService. Its own event is in the log before the first entry
// leaves, and so is part of what leaves.
func (s *Service) Export(_ *auditv1.ExportRequest, stream grpc.ServerStreamingServer[auditv1.ExportResponse]) error {
	ctx := stream.Context()
	own, err := practice(ctx)
	if err != nil {
		return err
	}
	recorder := evidence.From(ctx)
	event := recorder.Event()
	if err := s.sink.Record(ctx, event); err != nil {
		return err
	}
	recorder.Committed([]*auditv1.Event{event})
	return s.log.Export(ctx, own, &exporter{stream})
}

// exporter sends an export to a client.
type exporter struct {
	stream grpc.ServerStreamingServer[auditv1.ExportResponse]
}

func (x *exporter) Entry(e ledger.Entry) error {
	return x.send(&auditv1.ExportResponse{Item: &auditv1.ExportResponse_Entry{Entry: &auditv1.ExportedEntry{
		Seq: e.Seq, LeafHash: e.Leaf[:], EventBytes: e.Event, Salt: e.Salt,
	}}})
}

// Tile sends nothing: whoever has all leaves can compute the tiles.
func (x *exporter) Tile(ledger.Tile) error { return nil }

func (x *exporter) Checkpoint(signed string) error {
	return x.send(&auditv1.ExportResponse{Item: &auditv1.ExportResponse_Checkpoint{Checkpoint: signed}})
}

func (x *exporter) send(m *auditv1.ExportResponse) error {
	if err := x.stream.Send(m); err != nil {
		return fmt.Errorf("send export: %w", err)
	}
	return nil
}
