package api

import (
	"fmt"

	"google.golang.org/grpc"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/siem"
)

// ExportEvents implements ReadingService. Like Export it is in the log before the first line
// leaves. It ends where the log ended when it began, its own event included.
func (r *Reading) ExportEvents(req *auditv1.ExportEventsRequest, stream grpc.ServerStreamingServer[auditv1.ExportEventsResponse]) error {
	ctx := stream.Context()
	own, err := practice(ctx)
	if err != nil {
		return err
	}
	f, err := filter(ctx, req)
	if err != nil {
		return err
	}
	write, err := siem.Of(req.GetFormat())
	if err != nil {
		return invalid("format", err.Error())
	}
	recorder := evidence.From(ctx)
	event := recorder.Event()
	if err := r.Sink.Record(ctx, event); err != nil {
		return err
	}
	recorder.Committed([]*auditv1.Event{event})
	end, err := r.Log.End(ctx)
	if err != nil {
		return err
	}
	next := req.GetFromSeq()
	for done := false; !done; {
		entries, after, err := r.Log.From(ctx, own, f, next, end, stretch)
		if err != nil {
			return err
		}
		next, done = after, after >= end
		answer := &auditv1.ExportEventsResponse{NextSeq: next, Done: done}
		for _, e := range entries {
			shown, err := describe(e)
			if err != nil {
				return err
			}
			line, err := write(shown)
			if err != nil {
				return err
			}
			answer.Lines = append(answer.Lines, string(line))
		}
		if err := stream.Send(answer); err != nil {
			return fmt.Errorf("send events: %w", err)
		}
	}
	return nil
}
