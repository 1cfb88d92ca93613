package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

// Alert descriptions (RFC 8446, section 6).
const (
	alertHandshakeFailure = 40
	alertProtocolVersion  = 70
)

func compat(s *Settings) { s.TLS.Profile = edge.Compat }

// oldTLS brings TLS 1.0 and 1.1 back wherever a configuration leaves MinVersion
// open, and shows on a server of that kind that it did.
func oldTLS(t *testing.T, client *tls.Config) {
	t.Setenv("GODEBUG", "tls10server=1")
	s := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("hello accepted") }}
	near, far := net.Pipe()
	defer ignore(near.Close)
	require.NoError(t, near.SetDeadline(time.Now().Add(10*time.Second)))
	client.ServerName = "localhost"
	go func() { _ = tls.Client(far, client).Handshake() }()
	require.ErrorContains(t, tls.Server(near, s).Handshake(), "hello accepted", "GODEBUG has no effect: this test proves nothing")
}

func handshake(t *testing.T, addr string, config *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer ignore(conn.Close)
	return conn.ConnectionState(), nil
}

// recorder keeps what the server sent, as it stands on the wire.
type recorder struct {
	net.Conn
	received []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.received = append(r.received, p[:n]...)
	return n, err
}

// requireAlert makes a handshake that must end in a fatal alert and nothing else.
func requireAlert(t *testing.T, addr string, config *tls.Config, want byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer ignore(conn.Close)
	wire := &recorder{Conn: conn}
	config.ServerName = "localhost"
	require.Error(t, tls.Client(wire, config).Handshake())
	require.Len(t, wire.received, 7)
	const alertRecord, fatal = 21, 2
	require.Equal(t, []byte{alertRecord, fatal, want}, []byte{wire.received[0], wire.received[5], wire.received[6]})
}

func TestDTD13_OldVersionsGetProtocolVersionAlert(t *testing.T) {
	for name, change := range map[string]func(*Settings){"strict": func(*Settings) {}, "compat": compat} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t, change)
			for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
				config := s.tlsConfig()
				config.MinVersion, config.MaxVersion = tls.VersionTLS10, version
				oldTLS(t, config.Clone())
				requireAlert(t, s.addr, config, alertProtocolVersion)
			}
		})
	}
}

// The CBC suites of TLS 1.2, which Go's own default list still holds.
var cbc = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

func TestDTD15_CBCOnlyHelloFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settings)
		alert  byte
	}{
		"strict": {func(*Settings) {}, alertProtocolVersion},
		"compat": {compat, alertHandshakeFailure},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t, c.change)
			config := s.tlsConfig()
			config.MinVersion, config.MaxVersion, config.CipherSuites = tls.VersionTLS12, tls.VersionTLS12, cbc
			requireAlert(t, s.addr, config, c.alert)
		})
	}
}

func TestDMD01_TLS12OnlyInCompatProfile(t *testing.T) {
	for _, suite := range []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	} {
		for name, change := range map[string]func(*Settings){"strict": func(*Settings) {}, "compat": compat} {
			t.Run(name+" "+tls.CipherSuiteName(suite), func(t *testing.T) {
				s := newSuite(t, change)
				config := s.tlsConfig()
				config.MinVersion, config.MaxVersion, config.CipherSuites = tls.VersionTLS12, tls.VersionTLS12, []uint16{suite}
				state, err := handshake(t, s.addr, config)
				if name == "strict" {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				require.Equal(t, suite, state.CipherSuite)
			})
		}
	}
}

func TestDH04_PlaintextIsRefusedAndTLS13Negotiated(t *testing.T) {
	s := newSuite(t)
	state, err := handshake(t, s.addr, s.tlsConfig())
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS13), state.Version)
	for _, http2 := range []bool{true, false} {
		response, err := s.client(http2).Do(s.request("GET", "/v1/"+somePatient, ""))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, map[bool]int{true: 2, false: 1}[http2], response.ProtoMajor)
		require.Equal(t, uint16(tls.VersionTLS13), response.TLS.Version)
	}

	s.auth.admitted()
	response, err := http.Get("http://" + s.addr + "/v1/" + somePatient)
	require.NoError(t, err)
	defer ignore(response.Body.Close)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.NotContains(t, string(body), "patient")
	require.Empty(t, s.auth.admitted())
}

// Inside, the gateway talks to nobody below TLS 1.3, and to nobody else than the service it means.
func TestDH04_UpstreamsMustSpeakTLS13AndProveTheirName(t *testing.T) {
	authority := newSuite(t).authority
	for name, c := range map[string]struct {
		identity string
		change   func(*tls.Config)
		plain    bool
		serves   bool
	}{
		"right":           {identity: "records", change: func(*tls.Config) {}, serves: true},
		"plaintext":       {plain: true},
		"TLS 1.2":         {identity: "records", change: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
		"another service": {identity: "backup", change: func(*tls.Config) {}},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			var options []grpc.ServerOption
			if !c.plain {
				identity, err := authority.Source(c.identity)
				require.NoError(t, err)
				config := identity.ServerTLS()
				c.change(config)
				options = append(options, grpc.Creds(credentials.NewTLS(config)))
			}
			srv := grpc.NewServer(options...)
			healthv1.RegisterHealthServer(srv, alwaysServing{})
			go func() { _ = srv.Serve(listener) }()
			defer srv.Stop()

			identity := gatewayIdentity(t, authority.Issue)
			conn, err := identity.Dial(listener.Addr().String(), accessv1.Service_SERVICE_RECORDS)
			require.NoError(t, err)
			defer ignore(conn.Close)
			_, err = healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
			require.Equal(t, c.serves, err == nil, "%v", err)
		})
	}
}

func gatewayIdentity(t *testing.T, issue func(string) (mtls.Files, error)) *mtls.Source {
	t.Helper()
	files, err := issue("gateway")
	require.NoError(t, err)
	identity, err := mtls.Load(files, nil)
	require.NoError(t, err)
	return identity
}

// A renewed certificate is shown without a restart; a broken one is not.
func TestEdgeCertificateIsReadAgain(t *testing.T) {
	s := newSuite(t)
	serial := func() string {
		state, err := handshake(t, s.addr, s.tlsConfig())
		require.NoError(t, err)
		return state.PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	files, err := s.authority.Issue("edge")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return serial() != before }, 5*time.Second, 50*time.Millisecond)
	renewed := serial()
	require.NoError(t, os.WriteFile(files.Certificate, []byte("not a certificate"), 0o600))
	require.Eventually(t, func() bool {
		// The files are looked at in handshakes only.
		return serial() == renewed && strings.Contains(s.logs.String(), "unusable")
	}, 5*time.Second, 50*time.Millisecond)
}

type alwaysServing struct {
	healthv1.UnimplementedHealthServer
}

func (alwaysServing) Check(context.Context, *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}
