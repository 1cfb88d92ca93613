package broker_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit/broker"
	"github.com/carekeep/carekeep/libs/outbox"
)

func connect(t *testing.T, s *broker.Server, name string) *nats.Conn {
	t.Helper()
	source, err := s.CA().Source(name)
	require.NoError(t, err)
	conn, err := outbox.Connect(s.Broker(), source, name, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	require.Eventually(t, conn.IsConnected, 10*time.Second, time.Millisecond)
	return conn
}

func stream(t *testing.T, s *broker.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(connect(t, s, "audit"))
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: outbox.DefaultStream, Subjects: []string{"audit.events.>"}})
	require.NoError(t, err)
	return js
}

// denied waits for the broker's asynchronous word that it refuses.
func denied(t *testing.T, conn *nats.Conn, do func() error) {
	t.Helper()
	errs := make(chan error, 1)
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case errs <- err:
		default:
		}
	})
	require.NoError(t, do())
	require.NoError(t, conn.Flush())
	select {
	case err := <-errs:
		require.ErrorIs(t, err, nats.ErrPermissionViolation)
	case <-time.After(10 * time.Second):
		t.Fatal("the broker allowed it")
	}
}

func TestServicesPublishTheirOwnEventsOnly(t *testing.T) {
	s := broker.ForTest(t)
	js := stream(t, s)
	conn := connect(t, s, "records")
	_, err := conn.Request("audit.events.records", nil, 5*time.Second)
	require.NoError(t, err)

	for _, subject := range []string{"audit.events.auth", "audit.heartbeats.auth", "audit.receipts.records", "audit.receipts.auth", "$JS.API.STREAM.DELETE.AUDIT"} {
		denied(t, conn, func() error { return conn.Publish(subject, nil) })
	}
	for _, subject := range []string{"audit.events.records", "audit.events.>", "audit.heartbeats.records", "audit.receipts.auth", "_INBOX_auth.>", "_INBOX.>", ">"} {
		denied(t, conn, func() error { _, err := conn.Subscribe(subject, func(*nats.Msg) {}); return err })
	}
	stream, err := js.Stream(t.Context(), outbox.DefaultStream)
	require.NoError(t, err)
	require.Equal(t, uint64(1), stream.CachedInfo().State.Msgs)
}

func TestIdentitiesWithoutPermissionsAreRefused(t *testing.T) {
	s := broker.ForTest(t)
	other := broker.ForTest(t)
	try := func(authority *broker.Server, name string) error {
		source, err := authority.CA().Source(name)
		require.NoError(t, err)
		conn, err := nats.Connect(s.URL(), nats.Secure(source.PlainClientTLS("127.0.0.1")))
		if err == nil {
			conn.Close()
		}
		return err
	}
	require.NoError(t, try(s, "auth"))
	require.Error(t, try(s, "gateway"))
	require.Error(t, try(s, "ctl"))
	require.Error(t, try(other, "auth"), "a certificate of another authority")
	_, err := nats.Connect("nats://" + s.URL()[len("tls://"):])
	require.Error(t, err, "a client without TLS")
}

func TestStreamsSurviveARestart(t *testing.T) {
	s := broker.ForTest(t)
	js := stream(t, s)
	conn := connect(t, s, "records")
	_, err := conn.Request("audit.events.records", []byte("kept"), 5*time.Second)
	require.NoError(t, err)
	s.Shutdown()
	require.NoError(t, s.Restart(t.Context()))
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		stream, err := js.Stream(ctx, outbox.DefaultStream)
		return err == nil && stream.CachedInfo().State.Msgs == 1
	}, 20*time.Second, 10*time.Millisecond)
}
