// Package mtls proves who a service is and checks who the other side is: X.509
// SPIFFE identities from files that are read again when they change, TLS 1.3
// only. It does not decide what a peer may do; the access rules of an RPC do.
package mtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// Files names the PEM files of one identity. Certificate holds the leaf, then
// its intermediates; Authorities the roots of the trust domain.
type Files struct {
	Certificate string `yaml:"certificate" config:"path,required"`
	Key         string `yaml:"key" config:"path,required"`
	Authorities string `yaml:"authorities" config:"path,required"`
	// TrustDomain stands beside the files in a configuration, not among them.
	TrustDomain string `yaml:"-"`
}

const pathPrefix = "/service/"

// ServerTLS accepts clients that prove to be one of the allowed services; with
// none given, any service of the trust domain.
func (s *Source) ServerTLS(allowed ...accessv1.Service) *tls.Config {
	cfg := tlsconfig.MTLSServerConfig(s, s, s.authorize(allowed))
	cfg.MinVersion = tls.VersionTLS13
	// A resumed session would skip the check of the certificate.
	cfg.SessionTicketsDisabled = true
	return cfg
}

// ClientTLS accepts only a server that proves to be the given service.
func (s *Source) ClientTLS(service accessv1.Service) *tls.Config {
	cfg := tlsconfig.MTLSClientConfig(s, s, s.authorize([]accessv1.Service{service}))
	cfg.MinVersion = tls.VersionTLS13
	return cfg
}

// PlainClientTLS is for servers that are not ours (Postgres, NATS, Vault): they
// prove a DNS name or address under our authorities, we show our certificate.
func (s *Source) PlainClientTLS(serverName string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: serverName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return s.certificate()
		},
		// The usual check has fixed roots; VerifyConnection below does the
		// same one with the roots as they are on disk now.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies, on every connection
		VerifyConnection: func(state tls.ConnectionState) error {
			return s.verifyName(serverName, state)
		},
	}
}

// Dial makes a gRPC client connection to a service, traced and balanced over
// all addresses that the name resolves to. It connects on first use.
func (s *Source) Dial(addr string, service accessv1.Service, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	all := append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(s.ClientTLS(service))),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
	}, opts...)
	conn, err := grpc.NewClient(addr, all...)
	if err != nil {
		return nil, fmt.Errorf("dial %s at %s: %w", name(service), addr, err)
	}
	return conn, nil
}

// PeerService says which service is at the other end of the RPC in ctx, as its
// certificate proved in the handshake.
func PeerService(ctx context.Context) (accessv1.Service, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return 0, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return 0, false
	}
	id, err := x509svid.IDFromCert(info.State.PeerCertificates[0])
	if err != nil {
		return 0, false
	}
	return serviceOf(id)
}

// authorize matches a peer's SPIFFE id against services of the trust domain.
func (s *Source) authorize(allowed []accessv1.Service) tlsconfig.Authorizer {
	set := make(map[accessv1.Service]bool, len(allowed))
	for _, a := range allowed {
		set[a] = true
	}
	return tlsconfig.AdaptMatcher(func(id spiffeid.ID) error {
		service, ok := serviceOf(id)
		if !ok || !id.MemberOf(s.domain) {
			return fmt.Errorf("%s is not a service of trust domain %s", id, s.domain.Name())
		}
		if len(set) > 0 && !set[service] {
			return fmt.Errorf("%s is not the service expected here", id)
		}
		return nil
	})
}

func serviceOf(id spiffeid.ID) (accessv1.Service, bool) {
	found, ok := strings.CutPrefix(id.Path(), pathPrefix)
	if !ok || found != strings.ToLower(found) {
		return 0, false
	}
	number, ok := accessv1.Service_value["SERVICE_"+strings.ToUpper(found)]
	return accessv1.Service(number), ok && number != 0
}

func name(service accessv1.Service) string {
	return strings.ToLower(strings.TrimPrefix(service.String(), "SERVICE_"))
}

var errNoServerName = errors.New("no server name to check the certificate against")
