// Package telemetry exports traces and metrics over OTLP and makes the logger
// that ties log lines to traces. It is not the audit log: telemetry may be lost,
// sampled or switched off, evidence may not.
package telemetry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/credentials"
)

const (
	defaultRatio   = 0.1
	metricInterval = 15 * time.Second
)

// Config says where telemetry goes.
type Config struct {
	// Endpoint is the collector as host:port, OTLP over gRPC. Empty: nothing is exported.
	Endpoint string `yaml:"endpoint"`
	// SampleRatio is the share of traces that start here and are kept, 0 to 1; unset means 0.1.
	// A trace that a caller sampled is kept in any case.
	SampleRatio *float64 `yaml:"sample_ratio"`
	// InsecureLoopback sends without TLS. Only a loopback address is taken.
	InsecureLoopback bool `yaml:"insecure_loopback"`
}

// Validate refuses what would send telemetry in the clear over a network.
func (c *Config) Validate() error {
	if r := c.SampleRatio; r != nil && (*r < 0 || *r > 1) {
		return fmt.Errorf("sample_ratio is %v; use a number from 0 to 1", *r)
	}
	if c.Endpoint == "" {
		if c.InsecureLoopback {
			return errors.New("insecure_loopback is set without an endpoint; set endpoint or remove it")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(c.Endpoint)
	if _, errPort := strconv.ParseUint(port, 10, 16); err != nil || errPort != nil || host == "" {
		return fmt.Errorf("endpoint %q is not host:port, as otel-collector:4317", c.Endpoint)
	}
	if addr, err := netip.ParseAddr(host); c.InsecureLoopback && (err != nil || !addr.IsLoopback()) {
		return fmt.Errorf("insecure_loopback takes an endpoint at 127.0.0.1 or [::1], not %q; remove it to use TLS", host)
	}
	return nil
}

// PlainTLS makes the TLS configuration for a server that is named by DNS; *mtls.Source is one.
type PlainTLS interface {
	PlainClientTLS(serverName string) *tls.Config
}

// Start sets the process's tracer, meter and W3C propagation, and returns what
// flushes and stops them. Spans and metrics made before it are not lost: the
// OpenTelemetry globals delegate. With an empty endpoint only propagation is set.
func Start(ctx context.Context, cfg Config, service string, identity PlainTLS) (func(context.Context) error, error) {
	// No baggage: it would carry whatever a client puts there to everybody behind us.
	otel.SetTextMapPropagator(propagation.TraceContext{})
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	if cfg.Endpoint == "" {
		return func(context.Context) error { return nil }, nil
	}
	traceOptions, metricOptions, err := transport(cfg, identity)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	traces, err := otlptracegrpc.New(ctx, traceOptions...)
	if err != nil {
		return nil, fmt.Errorf("telemetry: trace exporter: %w", err)
	}
	metrics, err := otlpmetricgrpc.New(ctx, metricOptions...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("telemetry: metric exporter: %w", err), traces.Shutdown(ctx))
	}
	ratio := defaultRatio
	if cfg.SampleRatio != nil {
		ratio = *cfg.SampleRatio
	}
	res := describe(service)
	tracer := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(traces),
		sdktrace.WithResource(res),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))),
	)
	meter := sdkmetric.NewMeterProvider(
		sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics, sdkmetric.WithInterval(metricInterval))),
		sdkmetric.WithResource(res),
	)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		slog.Warn("telemetry was not sent", KeyError, err.Error())
	}))
	otel.SetTracerProvider(tracer)
	otel.SetMeterProvider(meter)
	return func(ctx context.Context) error {
		return errors.Join(tracer.Shutdown(ctx), meter.Shutdown(ctx))
	}, nil
}

func transport(cfg Config, identity PlainTLS) ([]otlptracegrpc.Option, []otlpmetricgrpc.Option, error) {
	traces := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(cfg.Endpoint)}
	metrics := []otlpmetricgrpc.Option{otlpmetricgrpc.WithEndpoint(cfg.Endpoint)}
	if cfg.InsecureLoopback {
		return append(traces, otlptracegrpc.WithInsecure()), append(metrics, otlpmetricgrpc.WithInsecure()), nil
	}
	if identity == nil {
		return nil, nil, errors.New("TLS to the collector needs the service's identity")
	}
	host, _, err := net.SplitHostPort(cfg.Endpoint)
	if err != nil {
		return nil, nil, fmt.Errorf("endpoint: %w", err)
	}
	creds := credentials.NewTLS(identity.PlainClientTLS(host))
	return append(traces, otlptracegrpc.WithTLSCredentials(creds)), append(metrics, otlpmetricgrpc.WithTLSCredentials(creds)), nil
}

// describe names the service as the semantic conventions do.
func describe(service string) *resource.Resource {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				version = s.Value
			}
		}
	}
	return resource.NewSchemaless(
		attribute.String("service.namespace", "carekeep"),
		attribute.String("service.name", service),
		attribute.String("service.version", version),
	)
}
