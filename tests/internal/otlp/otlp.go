// Package otlp is an OpenTelemetry collector that keeps the spans it is sent,
// so that a test can follow a trace. It listens on loopback without TLS, as a
// collector in a side container would.
package otlp

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// Span is one span and the service that sent it.
type Span struct {
	Service string
	*trace.Span
}

// Collector receives spans.
type Collector struct {
	collector.UnimplementedTraceServiceServer
	Endpoint string

	mu    sync.Mutex
	spans map[string][]Span // by trace id, in hex
}

// Start runs a collector on a free port of loopback until stop is called.
func Start(ctx context.Context) (c *Collector, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("collector: %w", err)
	}
	c = &Collector{Endpoint: listener.Addr().String(), spans: map[string][]Span{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(listener) }()
	return c, server.Stop, nil
}

// Export implements the OTLP trace service.
func (c *Collector) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		service := ""
		for _, attribute := range resource.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				service = attribute.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				id := hex.EncodeToString(span.GetTraceId())
				c.spans[id] = append(c.spans[id], Span{Service: service, Span: span})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// Trace returns the spans of a trace that have arrived.
func (c *Collector) Trace(id string) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans[id]...)
}

// Traces returns the ids of every trace that has arrived.
func (c *Collector) Traces() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make([]string, 0, len(c.spans))
	for id := range c.spans {
		ids = append(ids, id)
	}
	return ids
}
