package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/caller/callertest"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/server"
)

// webRig is a rig whose probe is also reached over HTTP: the path is the RPC.
type webRig struct {
	*rig
	errors chan error
	next   func(context.Context, proto.Message) (proto.Message, error)
}

func newWebRig(t *testing.T) *webRig {
	w := &webRig{rig: newRig(t), errors: make(chan error, 1)}
	w.next = func(ctx context.Context, request proto.Message) (proto.Message, error) {
		return w.probe.unary(ctx, request.(*auditv1.GetEntryRequest))
	}
	var srv *server.Server
	w.web = func(s *server.Server) {
		srv = s
		require.NoError(t, s.ServeHTTP(t.Context(), "127.0.0.1:0", http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			seq := int64(1)
			if r.Method == http.MethodDelete {
				seq = -1 // which the rules of the message refuse
			}
			response, err := srv.Invoke(r, r.URL.Path, &auditv1.GetEntryRequest{Seq: seq},
				func(ctx context.Context, m proto.Message) (proto.Message, error) { return w.next(ctx, m) })
			w.errors <- err
			if err != nil {
				out.WriteHeader(http.StatusTeapot)
				return
			}
			_, _ = io.WriteString(out, response.(*auditv1.Entry).GetLine()+string(response.(*auditv1.Entry).GetEventBytes()))
		})))
	}
	w.start()
	return w
}

// ask sends a request as a service, with these caller tokens.
func (w *webRig) ask(identity, method, rpc string, tokens ...string) (string, error) {
	w.t.Helper()
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: w.source(identity).ClientTLS(records), Protocols: protocols}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(w.context(), method, "https://"+w.server.HTTPAddr().String()+rpc, nil)
	require.NoError(w.t, err)
	for _, token := range tokens {
		request.Header.Add(caller.MetadataKey, token)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	require.NoError(w.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(w.t, 2, response.ProtoMajor)
	body, err := io.ReadAll(response.Body)
	require.NoError(w.t, err)
	return string(body), <-w.errors
}

func (w *webRig) token(permissions ...accessv1.Permission) string {
	return w.auth.Token(w.t, callertest.Doctor(records, permissions...))
}

// What comes over HTTP meets every stage that an RPC meets, and leaves an event each time.
func TestDH15_HTTPRunsThroughTheSameChain(t *testing.T) {
	t.Parallel()
	w := newWebRig(t)

	_, err := w.ask("gateway", "GET", getRPC)
	w.want(err, codes.Unauthenticated, "CALLER_TOKEN_MISSING", auditv1.Outcome_OUTCOME_DENIED)
	_, err = w.ask("gateway", "GET", getRPC, w.token(readEntries), w.token(readEntries))
	w.want(err, codes.Unauthenticated, "CALLER_TOKEN_INVALID", auditv1.Outcome_OUTCOME_DENIED)
	_, err = w.ask("audit", "GET", getRPC, w.token(readEntries))
	w.want(err, codes.PermissionDenied, "CALLER_SERVICE_NOT_ALLOWED", auditv1.Outcome_OUTCOME_DENIED)
	_, err = w.ask("gateway", "GET", getRPC, w.token())
	event := w.want(err, codes.PermissionDenied, "PERMISSION_MISSING", auditv1.Outcome_OUTCOME_DENIED)
	require.Equal(t, accessv1.Service_SERVICE_GATEWAY, event.GetCaller())
	require.Equal(t, getRPC, event.GetMethod())
	_, err = w.ask("gateway", "DELETE", getRPC, w.token(readEntries))
	w.want(err, codes.InvalidArgument, "REQUEST_INVALID", auditv1.Outcome_OUTCOME_FAILED)
	_, err = w.ask("gateway", "GET", "/none.Such/Method", w.token(readEntries))
	w.want(err, codes.Unimplemented, "METHOD_UNKNOWN", auditv1.Outcome_OUTCOME_FAILED)

	// Redaction: the bytes of an entry take a permission of their own.
	body, err := w.ask("gateway", "GET", getRPC, w.token(readEntries))
	require.NoError(t, err)
	require.Equal(t, "line", body)
	require.Len(t, w.sink.take(), 1)

	// A panic is an answer and an event, and errors are opaque.
	w.next = func(context.Context, proto.Message) (proto.Message, error) { panic("patient") }
	_, err = w.ask("gateway", "GET", getRPC, w.token(readEntries))
	w.want(err, codes.Internal, "PANIC", auditv1.Outcome_OUTCOME_FAILED)
	w.next = func(context.Context, proto.Message) (proto.Message, error) { return nil, errors.New("patient") }
	_, err = w.ask("gateway", "GET", getRPC, w.token(readEntries))
	require.NotContains(t, status.Convert(err).Message(), "patient")
	w.sink.take()

	// The deadline of the rule.
	w.next = func(ctx context.Context, _ proto.Message) (proto.Message, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err = w.ask("gateway", "GET", quickRPC, w.token(readEntries))
	require.Equal(t, errs.KindDeadline, errs.KindOf(err))
	w.sink.take()
}

// A handler that committed no event shows no patient data, over HTTP as over gRPC.
func TestDH16_HTTPWithholdsWhatHasNoEvidence(t *testing.T) {
	t.Parallel()
	w := newWebRig(t)
	body, err := w.ask("gateway", "GET", getPHIRPC, w.token(readEntries))
	require.Equal(t, "EVIDENCE_MISSING", reasonOf(err))
	require.Empty(t, body)

	w.next = func(ctx context.Context, _ proto.Message) (proto.Message, error) {
		evidence.From(ctx).Committed([]*auditv1.Event{evidence.From(ctx).Event()})
		return &auditv1.Entry{Line: "line"}, nil
	}
	body, err = w.ask("gateway", "GET", getPHIRPC, w.token(readEntries))
	require.NoError(t, err)
	require.Equal(t, "line", body)

	w.sink.set(true)
	_, err = w.ask("gateway", "GET", getRPC, w.token())
	require.Equal(t, "AUDIT_UNAVAILABLE", errs.ReasonOf(err))
}
