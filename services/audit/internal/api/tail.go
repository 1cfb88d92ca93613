package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// lookEvery is how often a tail looks for more: an entry is on its way that long after its commit.
	lookEvery = 250 * time.Millisecond
	// beatEvery is how often a tail that has nothing to say says how far it read.
	beatEvery = 15 * time.Second
	// endTimeout bounds the recording of a tail's end, which the request's own end must not stop.
	endTimeout = 5 * time.Second

	reasonTailBegin = "TAIL_BEGIN"
	reasonTailEnd   = "TAIL_END"
)

// TailEntries implements ReadingService.
func (r *Reading) TailEntries(req *auditv1.TailEntriesRequest, stream grpc.ServerStreamingServer[auditv1.TailEntriesResponse]) error {
	ctx := stream.Context()
	own, err := practice(ctx)
	if err != nil {
		return err
	}
	f, err := filter(ctx, req)
	if err != nil {
		return err
	}
	if r.tails.Add(1) > int64(r.Tails) {
		r.tails.Add(-1)
		return errs.New(errs.KindLimited, "TAILS_TOO_MANY", "this replica serves as many tails as it may; end one, or list the entries")
	}
	defer r.tails.Add(-1)
	t := &tail{Reading: r, stream: stream, practice: own, filter: f, next: req.GetFromSeq()}
	if req.FromSeq == nil {
		if t.next, err = r.Log.End(ctx); err != nil {
			return err
		}
	}
	if err := t.record(ctx, evidence.Reason(reasonTailBegin)); err != nil {
		return err
	}
	// A tail that fails leaves the event of its failure, as every RPC does.
	if err := t.run(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	return t.record(ctx, evidence.Reason(reasonTailEnd), evidence.Count(t.sent))
}

// tail is one stream.
type tail struct {
	*Reading
	stream   grpc.ServerStreamingServer[auditv1.TailEntriesResponse]
	practice uuid.UUID
	filter   store.Filter
	next     int64 // the entry that is read next
	sent     int
}

func (t *tail) record(ctx context.Context, mods ...func(*auditv1.Event)) error {
	recorder := evidence.From(ctx)
	event := recorder.Event(mods...)
	if err := t.Sink.Record(ctx, event); err != nil {
		return err
	}
	recorder.Committed([]*auditv1.Event{event})
	return nil
}

// run returns nil when the client, the RPC's time or the replica ends it.
func (t *tail) run(ctx context.Context) error {
	look, beat := time.NewTicker(lookEvery), time.NewTicker(beatEvery)
	defer look.Stop()
	defer beat.Stop()
	// The first answer says that the tail is on, and where.
	err := t.send(&auditv1.TailEntriesResponse{NextSeq: t.next})
	for err == nil {
		if err = t.catchUp(ctx); err != nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.Stopping:
			return nil
		case <-beat.C:
			err = t.send(&auditv1.TailEntriesResponse{NextSeq: t.next})
		case <-look.C:
		}
	}
	if ctx.Err() != nil && !errors.Is(err, errSlow) {
		return nil
	}
	return err
}

// catchUp sends what the log holds by now.
func (t *tail) catchUp(ctx context.Context) error {
	end, err := t.Log.End(ctx)
	if err != nil {
		return err
	}
	for t.next < end {
		select {
		case <-t.Stopping:
			return nil
		default:
		}
		entries, next, err := t.Log.From(ctx, t.practice, t.filter, t.next, end, stretch)
		if err != nil {
			return err
		}
		for _, e := range entries {
			shown, err := describe(e)
			if err != nil {
				return err
			}
			if err := t.send(&auditv1.TailEntriesResponse{Entry: shown, NextSeq: e.Seq + 1}); err != nil {
				return err
			}
			t.next, t.sent = e.Seq+1, t.sent+1
		}
		t.next = next
	}
	return nil
}

var errSlow = errors.New("the reader took nothing")

// send waits for a slow reader for a while. What is left behind ends with the stream,
// which gRPC closes as soon as the handler returns.
func (t *tail) send(m *auditv1.TailEntriesResponse) error {
	sent := make(chan error, 1)
	go func() { sent <- t.stream.Send(m) }()
	patience := time.NewTimer(t.Stall)
	defer patience.Stop()
	select {
	case err := <-sent:
		if err != nil {
			return fmt.Errorf("send entries: %w", err)
		}
		return nil
	case <-patience.C:
		return errs.Wrap(errSlow, errs.KindUnavailable, "TAIL_TOO_SLOW",
			fmt.Sprintf("nothing was taken for %s; go on from the next_seq that you got last", t.Stall))
	}
}
