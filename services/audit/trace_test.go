package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/appender"
)

// The trace of a request ends where its event is in the log. Traces that nobody keeps get no span.
func TestTheAppendIsPartOfTheRequestsTrace(t *testing.T) {
	// Not parallel: the tracer is the process's.
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(provider)
	t.Cleanup(func() { otel.SetTracerProvider(before) })

	s := newSuite(t)
	s.writer()
	p := s.producer("records")
	traced := func(parent string) func(*auditv1.Event) {
		return func(e *auditv1.Event) { e.Traceparent = parent }
	}
	p.await(p.send(
		event(traced("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
		event(traced("00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")),
		event(traced("nonsense-01")), event()))

	var found []tracetest.SpanStub
	for _, span := range spans.GetSpans() {
		if span.Name == appender.SpanName {
			found = append(found, span)
		}
	}
	require.Len(t, found, 1)
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", found[0].SpanContext.TraceID().String())
	require.Equal(t, "00f067aa0ba902b7", found[0].Parent.SpanID().String())
	require.True(t, found[0].Parent.IsRemote())
	require.False(t, found[0].EndTime.Before(found[0].StartTime))
}
