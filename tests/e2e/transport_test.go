package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// parts that speak TLS from the first byte.
var tlsParts = []string{"gateway", "auth", "records", "audit", "backup", "transit"}

// clientTLS is a good client's configuration, with a certificate that every part knows.
func clientTLS(t *testing.T, identity string) *tls.Config {
	t.Helper()
	source, err := suite.Source(identity)
	require.NoError(t, err)
	return source.PlainClientTLS("localhost")
}

func TestDH04_DTD19_PlaintextIsRefusedOnEveryHop(t *testing.T) {
	for _, part := range tlsParts {
		t.Run(part, func(t *testing.T) {
			conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", suite.Address(part))
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = io.WriteString(conn, "GET /v1/patients HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.NoError(t, err)
			answer, _ := io.ReadAll(conn) // a reset is as good a refusal as an end
			assert.NotContains(t, string(answer), "200 OK")
			if len(answer) > 0 && answer[0] != 21 { // not a TLS alert, so at most Go's hint in clear
				assert.Contains(t, string(answer), "400 Bad Request")
			}
		})
	}
	t.Run("postgres", func(t *testing.T) {
		_, err := pgx.ConnectConfig(t.Context(), database(t, nil))
		require.ErrorContains(t, err, "no encryption")
	})
	t.Run("broker", func(t *testing.T) {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", suite.Address("broker"))
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = io.WriteString(conn, "CONNECT {\"verbose\":false}\r\nPING\r\n")
		require.NoError(t, err)
		answer, _ := io.ReadAll(conn)
		assert.NotContains(t, string(answer), "PONG")
	})
}

func TestDH04_DTD19_InternalHopsSpeakOnlyTLS13(t *testing.T) {
	for _, part := range tlsParts {
		t.Run(part, func(t *testing.T) {
			good := clientTLS(t, "gateway")
			conn, err := tls.Dial("tcp", suite.Address(part), good)
			require.NoError(t, err, "the same client with TLS 1.3 is served")
			assert.Equal(t, uint16(tls.VersionTLS13), conn.ConnectionState().Version)
			require.NoError(t, conn.Close())

			old := clientTLS(t, "gateway")
			old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			_, err = tls.Dial("tcp", suite.Address(part), old)
			require.ErrorContains(t, err, "protocol version")
		})
	}
	t.Run("postgres", func(t *testing.T) {
		old := clientTLS(t, "records")
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		_, err := pgx.ConnectConfig(t.Context(), database(t, old))
		require.ErrorContains(t, err, "protocol version")
	})
	t.Run("broker", func(t *testing.T) {
		old := clientTLS(t, "records")
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		_, err := nats.Connect("tls://"+suite.Address("broker"), nats.Secure(old), nats.NoReconnect())
		require.ErrorContains(t, err, "protocol version")
	})
}

func TestDH04_NoServiceAnswersWithoutAClientCertificate(t *testing.T) {
	for _, part := range tlsParts[1:] {
		t.Run(part, func(t *testing.T) {
			bare := clientTLS(t, "gateway")
			bare.GetClientCertificate = nil
			conn, err := tls.Dial("tcp", suite.Address(part), bare)
			require.NoError(t, err, "in TLS 1.3 the server speaks last")
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = conn.Read(make([]byte, 1))
			require.ErrorContains(t, err, "certificate required")
		})
	}
}

// database is a connection as records makes it, but for TLS.
func database(t *testing.T, config *tls.Config) *pgx.ConnConfig {
	t.Helper()
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d dbname=records user=records_app sslmode=disable", suite.Ports.Postgres))
	require.NoError(t, err)
	cfg.TLSConfig = config
	return cfg
}
