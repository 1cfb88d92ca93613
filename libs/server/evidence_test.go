package server_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
)

// commit stands for libs/pg, which tells the recorder what it committed.
func commit(ctx context.Context, mods ...func(*auditv1.Event)) {
	r := evidence.From(ctx)
	r.Committed([]*auditv1.Event{r.Event(mods...)})
}

func TestDH16_UnwritableAuditFailsTheRequest(t *testing.T) {
	r := newRig(t).start()
	r.sink.set(true)
	_, err := r.call(r.as(readEntries), getRPC)
	requireStatus(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	require.NotContains(t, err.Error(), "10.9.8.7")
	require.Contains(t, r.log.String(), "10.9.8.7", "the operator needs the cause")

	// A denial that cannot be recorded is no denial either.
	_, err = r.call(r.context(), getRPC)
	requireStatus(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")

	ss := r.open(r.as(readEntries), streamRPC)
	require.NoError(t, ss.CloseSend())
	requireStatus(t, ss.RecvMsg(&auditv1.Entry{}), codes.Unavailable, "AUDIT_UNAVAILABLE")

	r.sink.set(false)
	_, err = r.call(r.as(readEntries), getRPC)
	require.NoError(t, err)
}

func TestDH16_PatientDataIsWithheldWithoutEvidence(t *testing.T) {
	r := newRig(t).start()
	entry, err := r.call(r.as(readEntries), getPHIRPC)
	r.want(err, codes.Internal, "EVIDENCE_MISSING", failed)
	require.Zero(t, entry.GetSeq())

	// A denial is no evidence for a release.
	r.probe.unary = func(ctx context.Context, req *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		commit(ctx, evidence.Outcome(denied, codes.NotFound, "NOT_ON_CARE_TEAM"))
		return &auditv1.Entry{Seq: req.GetSeq()}, nil
	}
	_, err = r.call(r.as(readEntries), getPHIRPC)
	requireStatus(t, err, codes.Internal, "EVIDENCE_MISSING")

	r.probe.unary = func(ctx context.Context, req *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		commit(ctx)
		return &auditv1.Entry{Seq: req.GetSeq()}, nil
	}
	r.sink.take()
	entry, err = r.call(r.as(readEntries), getPHIRPC)
	require.NoError(t, err)
	require.EqualValues(t, 1, entry.GetSeq())
	require.Empty(t, r.sink.take(), "the handler's own event is the only one")
}

func TestDH16_StreamedPatientDataIsWithheldWithoutEvidence(t *testing.T) {
	r := newRig(t).start()
	// This handler ignores that its message was refused, and ends as if all were well.
	r.probe.stream = func(ss grpc.ServerStream) error {
		_ = ss.SendMsg(&auditv1.Entry{Seq: 7})
		return nil
	}
	ss := r.open(r.as(readEntries), streamPHIRPC)
	r.want(ss.RecvMsg(&auditv1.Entry{}), codes.Internal, "EVIDENCE_MISSING", failed)

	r.probe.stream = func(grpc.ServerStream) error { return nil }
	r.want(r.open(r.as(readEntries), streamPHIRPC).RecvMsg(&auditv1.Entry{}), codes.Internal, "EVIDENCE_MISSING", failed)

	r.probe.stream = func(ss grpc.ServerStream) error {
		commit(ss.Context())
		return ss.SendMsg(&auditv1.Entry{Seq: 7})
	}
	ss = r.open(r.as(readEntries), streamPHIRPC)
	entry := &auditv1.Entry{}
	require.NoError(t, ss.RecvMsg(entry))
	require.EqualValues(t, 7, entry.GetSeq())
	require.NoError(t, ignoreEOF(ss.RecvMsg(entry)))
	require.Empty(t, r.sink.take())
}

func TestDH16_EndOfEachRPCIsRecordedOnce(t *testing.T) {
	r := newRig(t).start()
	notFound := errs.New(errs.KindNotFound, "PATIENT_NOT_FOUND", "no such patient")
	for name, tc := range map[string]struct {
		committed []func(*auditv1.Event)
		commits   bool
		err       error
		extra     int
	}{
		"denied and hidden as not found": {commits: true, committed: []func(*auditv1.Event){evidence.Outcome(denied, codes.NotFound, "X")}, err: notFound},
		"failed and said so":             {commits: true, committed: []func(*auditv1.Event){evidence.Failure(notFound)}, err: notFound},
		"recorded as OK, then failed":    {commits: true, err: notFound, extra: 1},
		"failed without an event":        {err: notFound, extra: 1},
		"done without an event":          {extra: 1},
		"done with an event":             {commits: true},
	} {
		r.probe.unary = func(ctx context.Context, _ *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
			if tc.commits {
				commit(ctx, tc.committed...)
			}
			return &auditv1.Entry{}, tc.err
		}
		_, err := r.call(r.as(readEntries), getRPC)
		require.Equal(t, tc.err == nil, err == nil, name)
		events := r.sink.take()
		require.Len(t, events, tc.extra, name)
		if tc.extra == 1 && tc.err != nil {
			require.Equal(t, failed, events[0].GetOutcome(), name)
			require.Equal(t, "PATIENT_NOT_FOUND", events[0].GetReason(), name)
		}
	}
}

func TestDH16_CanceledRequestIsRecorded(t *testing.T) {
	r := newRig(t).start()
	ctx, cancel := context.WithCancel(r.as(readEntries))
	r.probe.unary = func(ctx context.Context, _ *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := r.call(ctx, getRPC)
	require.Equal(t, codes.Canceled, status.Code(err))
	var events []*auditv1.Event
	require.Eventually(t, func() bool {
		events = append(events, r.sink.take()...)
		return len(events) == 1
	}, wait, every)
	require.Equal(t, "CANCELED", events[0].GetReason())
}

func TestUnknownMethodsAreRefusedAndRecorded(t *testing.T) {
	r := newRig(t).start()
	for _, method := range []string{"/" + probeName + "/Nothing", "/no.such.Service/Get", "/x/" + strings.Repeat("m", 1000)} {
		_, err := r.call(r.as(readEntries), method)
		e := r.want(err, codes.Unimplemented, "METHOD_UNKNOWN", failed)
		require.Equal(t, method[:min(len(method), 200)], e.GetMethod())
		require.Equal(t, accessv1.Service_SERVICE_GATEWAY, e.GetCaller())
		require.Equal(t, auditv1.Risk_RISK_MEDIUM, e.GetRisk())
	}
}

func TestPanicIsAnsweredRecordedAndKeptPrivate(t *testing.T) {
	r := newRig(t).start()
	r.probe.unary = func(context.Context, *auditv1.GetEntryRequest) (*auditv1.Entry, error) { panic("jane doe, born 1970") }
	r.probe.stream = func(grpc.ServerStream) error {
		var none []int
		_ = none[len(none)]
		return nil
	}
	_, err := r.call(r.as(readEntries), getRPC)
	r.want(err, codes.Internal, "PANIC", failed)
	require.Equal(t, "internal error", status.Convert(err).Message())
	require.Contains(t, r.log.String(), "evidence_test.go", "the stack is logged")
	require.NotContains(t, r.log.String(), "jane")
	r.want(r.open(r.as(readEntries), streamRPC).RecvMsg(&auditv1.Entry{}), codes.Internal, "PANIC", failed)
	require.Contains(t, r.log.String(), "index out of range")
	require.NotContains(t, r.log.String(), "jane")
}

func TestHandlerErrorsAreTranslatedOnceAndUnknownOnesHidden(t *testing.T) {
	r := newRig(t).start()
	r.probe.unary = func(context.Context, *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		return nil, context.DeadlineExceeded
	}
	_, err := r.call(r.as(readEntries), getRPC)
	r.want(err, codes.DeadlineExceeded, "DEADLINE_EXCEEDED", failed)
	r.probe.unary = func(context.Context, *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		return nil, status.Error(codes.Unknown, "jane doe")
	}
	_, err = r.call(r.as(readEntries), getRPC)
	r.want(err, codes.Internal, "INTERNAL", failed)
	require.NotContains(t, err.Error(), "jane")
}

func TestEventsAndLogsCarryTheTraceOfTheCaller(t *testing.T) {
	r := newRig(t).start()
	r.probe.unary = func(context.Context, *auditv1.GetEntryRequest) (*auditv1.Entry, error) { panic("x") }
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0xab}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled})
	_, err := r.call(trace.ContextWithSpanContext(r.as(readEntries), sc), getRPC)
	e := r.want(err, codes.Internal, "PANIC", failed)
	require.Contains(t, e.GetTraceparent(), sc.TraceID().String())
	require.Contains(t, r.log.String(), `"trace_id":"`+sc.TraceID().String())
}
