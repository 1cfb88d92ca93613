package mtls_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/mtls"
)

const (
	auth    = accessv1.Service_SERVICE_AUTH
	gateway = accessv1.Service_SERVICE_GATEWAY
	records = accessv1.Service_SERVICE_RECORDS
)

func source(t *testing.T, authority *ca.CA, name string) *mtls.Source {
	t.Helper()
	s, err := authority.Source(name)
	require.NoError(t, err)
	return s
}

// serve answers health checks with the given identity and reports who called.
func serve(t *testing.T, cfg *tls.Config) (addr string, callers chan accessv1.Service) {
	t.Helper()
	callers = make(chan accessv1.Service, 16)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(cfg)), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			who, _ := mtls.PeerService(ctx)
			callers <- who
			return next(ctx, req)
		}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String(), callers
}

func call(t *testing.T, s *mtls.Source, addr string, service accessv1.Service) error {
	t.Helper()
	conn, err := s.Dial(addr, service)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

func TestIdentitiesAreCheckedBothWays(t *testing.T) {
	authority := ca.ForTest(t)
	server := source(t, authority, "auth")
	addr, callers := serve(t, server.ServerTLS(gateway))

	require.NoError(t, call(t, source(t, authority, "gateway"), addr, auth))
	require.Equal(t, gateway, <-callers)

	for name, err := range map[string]error{
		"a service that is not allowed":   call(t, source(t, authority, "records"), addr, auth),
		"a name that is no service":       call(t, source(t, authority, "records-migrate"), addr, auth),
		"another authority, same domain":  call(t, source(t, ca.ForTest(t), "gateway"), addr, auth),
		"a server that is not who we ask": call(t, source(t, authority, "gateway"), addr, records),
	} {
		require.Equal(t, codes.Unavailable, status.Code(err), "%s: %v", name, err)
	}
	require.Empty(t, callers, "a refused client reached the handler")
}

func TestAnyServiceMeansServicesOfTheDomainOnly(t *testing.T) {
	authority := ca.ForTest(t)
	addr, _ := serve(t, source(t, authority, "auth").ServerTLS())
	require.NoError(t, call(t, source(t, authority, "ctl"), addr, auth))
	require.Error(t, call(t, source(t, authority, "admin"), addr, auth))
}

func TestDH04_InternalHopsNegotiateOnlyTLS13(t *testing.T) {
	t.Setenv("GODEBUG", "tls10server=1")
	authority := ca.ForTest(t)
	addr, _ := serve(t, source(t, authority, "auth").ServerTLS())
	client := source(t, authority, "gateway")
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: false, tls.VersionTLS13: true} {
		cfg := client.ClientTLS(auth)
		cfg.MinVersion, cfg.MaxVersion, cfg.NextProtos = tls.VersionTLS10, version, []string{"h2"}
		conn, err := tls.Dial("tcp", addr, cfg)
		require.Equal(t, ok, err == nil, "%s: %v", tls.VersionName(version), err)
		if err == nil {
			require.Equal(t, uint16(tls.VersionTLS13), conn.ConnectionState().Version)
			_ = conn.Close()
		}
	}
	for _, cfg := range []*tls.Config{client.ClientTLS(auth), client.PlainClientTLS("localhost"), client.ServerTLS()} {
		require.Equal(t, uint16(tls.VersionTLS13), cfg.MinVersion)
	}
}

func TestPlainClientChecksTheServerName(t *testing.T) {
	authority := ca.ForTest(t)
	files, err := authority.Issue("postgres")
	require.NoError(t, err)
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	require.NoError(t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert,
	})
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).Handshake(); _ = conn.Close() }()
		}
	}()
	client, stranger := source(t, authority, "records"), source(t, ca.ForTest(t), "records")
	dial := func(s *mtls.Source, name string) error {
		conn, err := tls.Dial("tcp", l.Addr().String(), s.PlainClientTLS(name))
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	require.NoError(t, dial(client, "localhost"))
	require.NoError(t, dial(client, "127.0.0.1"))
	require.ErrorContains(t, dial(client, "db.example.org"), "db.example.org")
	require.Error(t, dial(client, ""))
	require.Error(t, dial(stranger, "localhost"), "a server under another authority was accepted")
}
