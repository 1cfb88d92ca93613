package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/services/gateway/disclosure"
	"github.com/carekeep/carekeep/services/gateway/edge"
	"github.com/carekeep/carekeep/services/gateway/pages"
	"github.com/carekeep/carekeep/services/gateway/ready"
	"github.com/carekeep/carekeep/services/gateway/rest"
)

// Gateway is the REST edge over its connections to the services.
type Gateway struct {
	server *edge.Server
	conns  []*grpc.ClientConn
}

// NewGateway connects to the services and opens the port; it serves nothing yet.
func NewGateway(ctx context.Context, s Settings, identity *mtls.Source, log *slog.Logger, now func() time.Time) (*Gateway, error) {
	g := &Gateway{}
	conns, err := g.dial(s, identity)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	handler, err := newPaths(conns, s, identity, log, now)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	proxies, err := edge.ParseProxies(s.TrustedProxies)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	g.server, err = edge.Listen(ctx, s.Listen, edge.Options{
		TLS: s.TLS, Limits: s.Limits, Proxies: proxies, Origins: s.AllowedOrigins,
		Failed: func(w http.ResponseWriter, r *http.Request) { rest.Fail(w, r, errors.New("panic")) },
		Log:    log, Now: now,
	}, handler)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *Gateway) dial(s Settings, identity *mtls.Source) (map[accessv1.Service]grpc.ClientConnInterface, error) {
	conns := map[accessv1.Service]grpc.ClientConnInterface{}
	for service, address := range map[accessv1.Service]string{
		accessv1.Service_SERVICE_AUTH:    s.Upstreams.Auth,
		accessv1.Service_SERVICE_RECORDS: s.Upstreams.Records,
		accessv1.Service_SERVICE_AUDIT:   s.Upstreams.Audit,
		accessv1.Service_SERVICE_BACKUP:  s.Upstreams.Backup,
	} {
		conn, err := identity.Dial(address, service,
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(s.Limits.ResponseBytes)),
			// A peer that vanished without a word is found while calls are open.
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 20 * time.Second}))
		if err != nil {
			return nil, err
		}
		g.conns = append(g.conns, conn)
		conns[service] = conn
	}
	return conns, nil
}

// transport connects to what a service speaks HTTP for, as gRPC connects to its port.
func transport(identity *mtls.Source, service accessv1.Service) *http.Transport {
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	return &http.Transport{
		TLSClientConfig: identity.ClientTLS(service), Protocols: protocols,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 5 * time.Minute, DisableCompression: true,
	}
}

// paths serves exact paths itself and leaves all else to the API, which also
// answers for what does not exist. http.ServeMux would redirect unclean paths.
type paths struct {
	exact map[string]http.Handler
	api   http.Handler
}

func newPaths(conns map[accessv1.Service]grpc.ClientConnInterface, s Settings, identity *mtls.Source, log *slog.Logger, now func() time.Time) (*paths, error) {
	api, err := rest.New(conns, rest.Options{
		Limits: s.Limits, Origins: s.AllowedOrigins, Now: now,
		FHIR: rest.FHIR{Address: s.Upstreams.FHIR, Transport: transport(identity, accessv1.Service_SERVICE_RECORDS)},
		Log:  rest.Log{Address: s.Upstreams.Log, Transport: transport(identity, accessv1.Service_SERVICE_AUDIT)},
	})
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	exact, err := pages.Handlers()
	if err != nil {
		return nil, err
	}
	told, err := disclosure.Handlers(s.Disclosure, log, now())
	if err != nil {
		return nil, err
	}
	maps.Copy(exact, told)
	maps.Copy(exact, ready.New(conns, now).Handlers())
	return &paths{exact: exact, api: api}, nil
}

func (p *paths) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, ok := p.exact[r.URL.Path]
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		p.api.ServeHTTP(w, r)
		return
	}
	edge.Of(r.Context()).Route = r.URL.Path
	h.ServeHTTP(w, r)
}

// Addr is where clients connect.
func (g *Gateway) Addr() net.Addr { return g.server.Addr() }

// Serve serves until ctx ends and open requests are done, then closes everything.
func (g *Gateway) Serve(ctx context.Context) error {
	return errors.Join(g.server.Serve(ctx), g.closeConns())
}

// Close releases a gateway that was never served.
func (g *Gateway) Close() error {
	if g.server == nil {
		return g.closeConns()
	}
	return errors.Join(g.server.Close(), g.closeConns())
}

func (g *Gateway) closeConns() error {
	var failed []error
	for _, c := range g.conns {
		failed = append(failed, c.Close())
	}
	return errors.Join(failed...)
}
