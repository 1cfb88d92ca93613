package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/outbox"
)

// beats are the heartbeats of records, as the audit store gets them.
func (f *fixture) beats() <-chan *auditv1.Heartbeat {
	f.t.Helper()
	beats := make(chan *auditv1.Heartbeat, 64)
	_, err := f.conn.Subscribe(outbox.HeartbeatSubject("*"), func(msg *nats.Msg) {
		beat := &auditv1.Heartbeat{}
		if err := proto.Unmarshal(msg.Data, beat); err != nil || outbox.HeartbeatOf(msg.Subject) != "records" {
			f.t.Errorf("%s: %v", msg.Subject, err)
		}
		beats <- beat
	})
	require.NoError(f.t, err)
	require.NoError(f.t, f.conn.Flush())
	return beats
}

func next(t *testing.T, beats <-chan *auditv1.Heartbeat) *auditv1.Heartbeat {
	t.Helper()
	select {
	case beat := <-beats:
		return beat
	case <-time.After(wait):
		t.Fatal("no heartbeat")
		return nil
	}
}

func TestDTD08_ARelaySaysWhatTheAuditStoreShouldHave(t *testing.T) {
	t.Parallel()
	f := setup(t)
	require.Eventually(t, f.conn.IsConnected, wait, poll)
	beats := f.beats()
	f.record(5)
	rows := f.rows()
	f.relay.ReportCalls(func(whole bool) []*auditv1.MinuteCalls {
		return []*auditv1.MinuteCalls{{Minute: 7, Methods: []*auditv1.MethodCalls{{Method: "/a/B", Calls: map[bool]int64{true: 1, false: 2}[whole]}}}}
	})
	_, err := f.pool.Exec(t.Context(), "UPDATE outbox SET created = created - interval '1 hour'")
	require.Error(t, err, "a service does not change its rows")

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.relay.Run(ctx) }()
	beat := next(t, beats)
	require.False(t, beat.GetGoodbye())
	require.Positive(t, beat.GetOldestRowAge().AsDuration(), "nobody sends receipts")
	require.EqualValues(t, 1, beat.GetCalls()[0].GetMethods()[0].GetCalls())

	require.Len(t, beat.GetCommitted(), 1)
	require.Equal(t, rows, beat.GetCommitted()[0].GetLast())
	require.Empty(t, beat.GetUnsettled())

	cancel()
	require.NoError(t, <-done)
	for !beat.GetGoodbye() {
		beat = next(t, beats)
	}
	require.EqualValues(t, 2, beat.GetCalls()[0].GetMethods()[0].GetCalls(), "the last minute is told although it is not whole")
}

func TestHeartbeatsComeOftenEnough(t *testing.T) {
	t.Parallel()
	for seconds, ok := range map[int]bool{-1: false, 0: true, 1: true, 20: true, 21: false} {
		b := outbox.Broker{URL: "tls://nats:4222", HeartbeatSeconds: seconds}
		require.Equal(t, ok, b.Validate() == nil, seconds)
	}
}
