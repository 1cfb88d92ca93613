package server_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

func TestRequestsAreValidatedBeforeTheHandler(t *testing.T) {
	r := newRig(t).start()
	r.probe.unary = func(context.Context, *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		t.Error("the handler saw a request that does not have the required form")
		return nil, nil
	}
	_, err := invoke(r.as(readEntries), r.conn, getRPC, -987654321)
	r.want(err, codes.InvalidArgument, "REQUEST_INVALID", failed)
	violations := status.Convert(err).Details()[1].(*errdetails.BadRequest).GetFieldViolations()
	require.Len(t, violations, 1)
	require.Equal(t, "seq", violations[0].GetField())
	require.Contains(t, violations[0].GetDescription(), "greater than or equal to 0")
	require.NotContains(t, status.Convert(err).Proto().String(), "987654321", "errors must not repeat values")

	// Who may not call learns nothing about what a request must hold.
	_, err = invoke(r.as(), r.conn, getRPC, -1)
	r.want(err, codes.PermissionDenied, "PERMISSION_MISSING", denied)
}

func TestStreamedRequestsAreValidated(t *testing.T) {
	r := newRig(t).start()
	r.probe.stream = func(ss grpc.ServerStream) error {
		for ss.RecvMsg(&auditv1.GetEntryRequest{}) == nil {
			continue
		}
		return nil // a handler that takes a refused message for the end of the stream
	}
	ss := r.open(r.as(readEntries), streamRPC)
	require.NoError(t, ss.SendMsg(&auditv1.GetEntryRequest{Seq: 1}))
	require.NoError(t, ss.SendMsg(&auditv1.GetEntryRequest{Seq: -1}))
	r.want(ss.RecvMsg(&auditv1.Entry{}), codes.InvalidArgument, "REQUEST_INVALID", failed)
}

func TestDMD05_FieldsAreClearedThatTheCallerMayNotSee(t *testing.T) {
	r := newRig(t).start()
	entry, err := r.call(r.as(readEntries), getRPC)
	require.NoError(t, err)
	require.Equal(t, "line", entry.GetLine())
	require.Empty(t, entry.GetEventBytes())
	require.Empty(t, entry.GetSalt())
	entry, err = r.call(r.as(readEntries, readAddresses), getRPC)
	require.NoError(t, err)
	require.NotEmpty(t, entry.GetEventBytes())
	entry, err = r.call(r.context(), openRPC)
	require.NoError(t, err)
	require.Empty(t, entry.GetEventBytes(), "nobody holds no permission")
}

func TestDMD05_FieldsAreClearedInEachStreamedMessage(t *testing.T) {
	r := newRig(t).start()
	for _, tc := range []struct {
		ctx  context.Context
		seen bool
	}{{r.as(readEntries), false}, {r.as(readEntries, readAddresses), true}} {
		ss := r.open(tc.ctx, streamRPC)
		for seq := range int64(3) {
			require.NoError(t, ss.SendMsg(&auditv1.GetEntryRequest{Seq: seq}))
			entry := &auditv1.Entry{}
			require.NoError(t, ss.RecvMsg(entry))
			require.Equal(t, seq, entry.GetSeq())
			require.Equal(t, tc.seen, len(entry.GetEventBytes()) > 0)
		}
		require.NoError(t, ss.CloseSend())
		require.NoError(t, ignoreEOF(ss.RecvMsg(&auditv1.Entry{})))
	}
}

func TestMessagesAboveTheLimitAreRefused(t *testing.T) {
	r := newRig(t)
	r.cfg.Limits.ReceiveBytes = 1024
	r.start()
	err := r.conn.Invoke(r.as(readEntries), getRPC, &auditv1.Entry{Line: strings.Repeat("a", 2048)}, &auditv1.Entry{})
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
}
