package stack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/carekeep/carekeep/libs/access"
)

const probeTime = 2 * time.Second

// serviceReady asks a gRPC service for its health, as the gateway does.
func (p *Place) serviceReady(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, probeTime)
		defer cancel()
		conn, err := p.Dial(name, "gateway")
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // a probe's connection
		health := healthv1.NewHealthClient(conn)
		answer, err := health.Check(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(false))
		if err != nil {
			return err
		}
		if answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			return fmt.Errorf("it answers %s; its log names the dependency that is missing", answer.GetStatus())
		}
		return nil
	}
}

// Dial connects to a service as the identity of that name.
func (p *Place) Dial(service, as string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	source, err := p.Source(as)
	if err != nil {
		return nil, err
	}
	known, ok := access.ServiceFromName(service)
	if !ok {
		return nil, fmt.Errorf("there is no service %s", service)
	}
	return source.Dial(p.Address(service), known, opts...)
}

func (p *Place) gatewayReady(ctx context.Context) error {
	client, err := p.Client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return getOK(ctx, client, p.URL()+"/readyz")
}

func (p *Place) transitReady(ctx context.Context) error {
	source, err := p.Source("admin")
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: source.PlainClientTLS("127.0.0.1")}}
	defer client.CloseIdleConnections()
	return getOK(ctx, client, "https://"+p.Address("transit")+"/v1/sys/health")
}

func getOK(ctx context.Context, client *http.Client, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return nil
}

func (p *Place) brokerReady(context.Context) error {
	source, err := p.Source("audit")
	if err != nil {
		return err
	}
	conn, err := nats.Connect("tls://"+p.Address("broker"), nats.Secure(source.PlainClientTLS("127.0.0.1")), nats.Timeout(probeTime),
		nats.NoReconnect(), nats.CustomInboxPrefix("_INBOX_audit"))
	if err != nil {
		return err
	}
	conn.Close()
	return nil
}
