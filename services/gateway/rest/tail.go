package rest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// The live tail of the audit log, as server-sent events (WHATWG HTML, 9.2). It takes over from
// grpc-gateway, which knows no such streams: browsers read these by themselves, and go on by
// themselves with Last-Event-ID.
const (
	tailPath        = "/v1/audit/entries:tail"
	typeEvents      = "text/event-stream"
	lastEventHeader = "Last-Event-Id"
	// retryMillis is how long a client waits before it comes back.
	retryMillis = "3000"
)

// tails pours entries as they come.
type tails struct {
	reading auditv1.ReadingServiceClient
	admit   *admitted
	// stall is how long a client may take nothing, check how often its session is asked for again.
	stall, check time.Duration
}

type tailStream interface {
	Recv() (*auditv1.TailEntriesResponse, error)
}

func (h *tails) serve(w http.ResponseWriter, r *http.Request, _ map[string]string) {
	var request auditv1.TailEntriesRequest
	if err := runtime.PopulateQueryParameters(&request, r.URL.Query(), utilities.NewDoubleArray(nil)); err != nil {
		Fail(w, r, errs.New(errs.KindInvalid, reasonParameter, "a parameter of the query has the wrong type or format; they are listed at /openapi.json"))
		return
	}
	if last := r.Header.Get(lastEventHeader); last != "" {
		seq, err := strconv.ParseInt(last, 10, 64)
		if err != nil || seq < 0 {
			Fail(w, r, errs.New(errs.KindInvalid, reasonParameter, lastEventHeader+" is not the id of an event of this stream"))
			return
		}
		request.FromSeq = &seq
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := h.reading.TailEntries(ctx, &request)
	if err != nil {
		Fail(w, r, err)
		return
	}
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		err = errs.New(errs.KindUnavailable, "DEPENDENCY_UNAVAILABLE", "the service is stopping; try again")
	}
	if err != nil {
		Fail(w, r, err)
		return
	}
	h.pour(ctx, w, first, stream)
}

// pour sends events on until the stream or the session ends. An end that is an error is an
// event too, since the answer's status has been sent long before.
func (h *tails) pour(ctx context.Context, w http.ResponseWriter, first *auditv1.TailEntriesResponse, stream tailStream) {
	w.Header().Set("Content-Type", typeEvents)
	messages, failed := make(chan *auditv1.TailEntriesResponse), make(chan error, 1)
	go func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	check := time.NewTicker(h.check)
	defer check.Stop()
	ended := false
	next := func() ([]byte, error) {
		if ended {
			return nil, io.EOF
		}
		if m := first; m != nil {
			first = nil
			return append([]byte("retry: "+retryMillis+"\n\n"), eventOf(m)...), nil
		}
		for {
			select {
			case m := <-messages:
				return eventOf(m), nil
			case err := <-failed:
				ended = true
				return endOf(ctx, err)
			case <-check.C:
				if err := h.alive(ctx); err != nil {
					ended = true
					return endOf(ctx, err)
				}
			case <-ctx.Done():
				return nil, io.EOF
			}
		}
	}
	pour(w, h.stall, next)
}

// alive asks auth whether the session may still do this, without keeping it alive.
func (h *tails) alive(ctx context.Context) error {
	s := sessionOf(ctx)
	s.background = true
	_, err := h.admit.token(context.WithValue(ctx, sessionKey{}, s), auditv1.ReadingService_TailEntries_FullMethodName)
	return err
}

// eventOf writes an entry, or how far the log was read: an id alone moves Last-Event-ID on.
func eventOf(m *auditv1.TailEntriesResponse) []byte {
	var b bytes.Buffer
	id := "id: " + strconv.FormatInt(m.GetNextSeq(), 10) + "\n"
	if m.GetEntry() == nil {
		b.WriteString(": heartbeat\n" + id + "\n")
		return b.Bytes()
	}
	data, err := codec{}.Marshal(m.GetEntry()) // JSON of one line
	if err != nil {
		return nil
	}
	b.WriteString("event: entry\n" + id + "data: ")
	b.Write(data)
	b.WriteString("\n\n")
	return b.Bytes()
}

// endOf is the last event: why the stream ended, where it did not just end.
func endOf(ctx context.Context, err error) ([]byte, error) {
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	data, failed := codec{}.Marshal(note(ctx, classify(err)).Proto())
	if failed != nil {
		return nil, failed
	}
	return append(append([]byte("event: end\ndata: "), data...), "\n\n"...), nil
}
