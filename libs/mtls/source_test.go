package mtls

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// Issuer avoids an import cycle with devkit/ca, which imports this package.
type Issuer interface {
	Issue(name string) (Files, error)
}

var newIssuer func(t *testing.T) Issuer

// SetIssuer gives the tests of this package their authority.
func SetIssuer(f func(t *testing.T) Issuer) { newIssuer = f }

// handshake returns the serial that the server showed.
func handshake(t *testing.T, client, server *Source) (string, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server.ServerTLS(accessv1.Service_SERVICE_GATEWAY))
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	conn := tls.Client(raw, client.ClientTLS(accessv1.Service_SERVICE_AUTH))
	defer func() { _ = conn.Close() }()
	err = conn.HandshakeContext(context.Background())
	if served := <-done; err == nil {
		err = served
	}
	if err != nil {
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func TestCertificatesRotateWithoutRestart(t *testing.T) {
	authority := newIssuer(t)
	var clock atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(clock.Load())) }
	open := func(name string) (*Source, Files) {
		files, err := authority.Issue(name)
		require.NoError(t, err)
		s, err := load(files, slog.New(slog.DiscardHandler), now)
		require.NoError(t, err)
		return s, files
	}
	server, files := open("auth")
	client, _ := open("gateway")
	first, err := handshake(t, client, server)
	require.NoError(t, err)

	_, err = authority.Issue("auth")
	require.NoError(t, err)
	clock.Add(int64(2 * recheck))
	second, err := handshake(t, client, server)
	require.NoError(t, err)
	require.NotEqual(t, first, second, "the new certificate is not served")

	good, err := os.ReadFile(files.Certificate)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files.Certificate, good[:len(good)/2], 0o600))
	clock.Add(int64(2 * recheck))
	third, err := handshake(t, client, server)
	require.NoError(t, err, "a half written file stopped the service")
	require.Equal(t, second, third)

	other := newIssuer(t)
	foreign, err := other.Issue("gateway")
	require.NoError(t, err)
	stranger, err := Load(foreign, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, err = handshake(t, stranger, server)
	require.Error(t, err)
	roots, err := os.ReadFile(foreign.Authorities)
	require.NoError(t, err)
	both, err := os.ReadFile(files.Authorities)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files.Authorities, append(both, roots...), 0o600))
	require.NoError(t, os.WriteFile(files.Certificate, good, 0o600))
	require.NoError(t, os.WriteFile(foreign.Authorities, append(both, roots...), 0o600))
	clock.Add(int64(2 * recheck))
	stranger, err = Load(foreign, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, err = handshake(t, stranger, server)
	require.NoError(t, err, "a new authority is not trusted after its file changed")
}

func TestLoadRefusesForeignAndBrokenFiles(t *testing.T) {
	files, err := newIssuer(t).Issue("auth")
	require.NoError(t, err)
	other, err := newIssuer(t).Issue("auth")
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)

	foreign := files
	foreign.TrustDomain = "elsewhere.test"
	_, err = Load(foreign, log)
	require.ErrorContains(t, err, "outside trust domain")

	mixed := files
	mixed.Key = other.Key
	_, err = Load(mixed, log)
	require.ErrorContains(t, err, mixed.Key)

	missing := files
	missing.Authorities += ".none"
	_, err = Load(missing, log)
	require.ErrorContains(t, err, missing.Authorities)
}
