package outbox_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/outbox"
)

var discard = slog.New(slog.DiscardHandler)

func TestBrokerSettingsRefusePlaintextAndPasswords(t *testing.T) {
	for url, ok := range map[string]bool{
		"tls://nats:4222": true, "nats://nats:4222": false, "tls://u:p@nats:4222": false, "tls://": false, "nats:4222": false,
	} {
		b := outbox.Broker{URL: url}
		require.Equal(t, ok, b.Validate() == nil, url)
		require.Equal(t, outbox.DefaultStream, b.Stream)
	}
}
