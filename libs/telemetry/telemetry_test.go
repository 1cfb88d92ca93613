package telemetry_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	metricpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/telemetry"
)

// collector is an OTLP endpoint that remembers what it was sent.
type collector struct {
	mu      sync.Mutex
	spans   map[string]string // span name → service.name
	metrics map[string]bool
}

func (c *collector) traces() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans
}

type traceService struct {
	tracepb.UnimplementedTraceServiceServer
	c *collector
}

type metricService struct {
	metricpb.UnimplementedMetricsServiceServer
	c *collector
}

func (s *traceService) Export(_ context.Context, req *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		service := ""
		for _, a := range rs.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, span := range ss.GetSpans() {
				s.c.spans[span.GetName()] = service
			}
		}
	}
	return &tracepb.ExportTraceServiceResponse{}, nil
}

func (s *metricService) Export(_ context.Context, req *metricpb.ExportMetricsServiceRequest) (*metricpb.ExportMetricsServiceResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for _, rm := range req.GetResourceMetrics() {
		for _, sm := range rm.GetScopeMetrics() {
			for _, m := range sm.GetMetrics() {
				s.c.metrics[m.GetName()] = true
			}
		}
	}
	return &metricpb.ExportMetricsServiceResponse{}, nil
}

func collect(t *testing.T, opts ...grpc.ServerOption) (*collector, string) {
	t.Helper()
	c := &collector{spans: map[string]string{}, metrics: map[string]bool{}}
	s := grpc.NewServer(opts...)
	tracepb.RegisterTraceServiceServer(s, &traceService{c: c})
	metricpb.RegisterMetricsServiceServer(s, &metricService{c: c})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return c, l.Addr().String()
}

func emit(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	_, span := otel.Tracer("test").Start(ctx, name)
	span.End()
	counter, err := otel.Meter("test").Int64Counter(name)
	require.NoError(t, err)
	counter.Add(ctx, 1)
}

func all() *float64 { r := 1.0; return &r }

func TestTracesAndMetricsReachTheCollectorOverTLS(t *testing.T) {
	authority := ca.ForTest(t)
	server, err := authority.Source("collector")
	require.NoError(t, err)
	identity, err := authority.Source("records")
	require.NoError(t, err)
	c, addr := collect(t, grpc.Creds(credentials.NewTLS(server.ServerTLS())))
	stop, err := telemetry.Start(t.Context(), telemetry.Config{Endpoint: addr, SampleRatio: all()}, "records", identity)
	require.NoError(t, err)
	emit(t, t.Context(), "over-tls")
	require.NoError(t, stop(t.Context()))
	require.Equal(t, "records", c.traces()["over-tls"])
	require.True(t, c.metrics["over-tls"])

	stranger, err := ca.ForTest(t).Source("records")
	require.NoError(t, err)
	stop, err = telemetry.Start(t.Context(), telemetry.Config{Endpoint: addr, SampleRatio: all()}, "records", stranger)
	require.NoError(t, err, "a collector that cannot be reached stops no service")
	emit(t, t.Context(), "from-stranger")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.Error(t, stop(ctx))
	require.NotContains(t, c.traces(), "from-stranger")
}

func TestLoopbackWithoutTLSAndSampling(t *testing.T) {
	c, addr := collect(t)
	never := 0.0
	stop, err := telemetry.Start(t.Context(), telemetry.Config{Endpoint: addr, InsecureLoopback: true, SampleRatio: &never}, "auth", nil)
	require.NoError(t, err)
	emit(t, t.Context(), "not-sampled")
	// What a caller sampled is kept, so that a trace is whole.
	header := propagation.MapCarrier{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage": "patient=jane"}
	ctx := otel.GetTextMapPropagator().Extract(t.Context(), header)
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", trace.SpanContextFromContext(ctx).TraceID().String())
	emit(t, ctx, "sampled-by-caller")
	out := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, out)
	require.NotContains(t, out, "baggage", "what a client sends along must not travel on")
	require.NoError(t, stop(t.Context()))
	require.Equal(t, map[string]string{"sampled-by-caller": "auth"}, c.traces())
}

func TestConfigurationRefusesTelemetryInTheClear(t *testing.T) {
	high := 1.5
	for want, cfg := range map[string]telemetry.Config{
		"127.0.0.1":           {Endpoint: "collector.example:4317", InsecureLoopback: true},
		"not \"localhost\"":   {Endpoint: "localhost:4317", InsecureLoopback: true},
		"not \"10.0.0.1\"":    {Endpoint: "10.0.0.1:4317", InsecureLoopback: true},
		"host:port":           {Endpoint: "https://collector"},
		"without an endpoint": {InsecureLoopback: true},
		"from 0 to 1":         {SampleRatio: &high},
	} {
		require.ErrorContains(t, cfg.Validate(), want)
		_, err := telemetry.Start(t.Context(), cfg, "records", nil)
		require.Error(t, err)
	}
	_, err := telemetry.Start(t.Context(), telemetry.Config{Endpoint: "127.0.0.1:1"}, "records", nil)
	require.ErrorContains(t, err, "identity")
	stop, err := telemetry.Start(t.Context(), telemetry.Config{}, "records", nil)
	require.NoError(t, err)
	require.NoError(t, stop(t.Context()))
}
