package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// traced makes a suite whose spans, the gateway's and the services', are recorded.
func traced(t *testing.T, change ...func(*Settings)) (*suite, *tracetest.SpanRecorder) {
	before, propagator := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	t.Cleanup(func() {
		otel.SetTracerProvider(before)
		otel.SetTextMapPropagator(propagator)
	})
	spans := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	return newSuite(t, change...), spans
}

// edgeSpan waits for the span of the one REST request that was made.
func edgeSpan(t *testing.T, spans *tracetest.SpanRecorder) sdktrace.ReadOnlySpan {
	t.Helper()
	var found sdktrace.ReadOnlySpan
	require.Eventually(t, func() bool {
		for _, s := range spans.Ended() {
			if s.InstrumentationScope().Name == scopeName {
				found = s
				return true
			}
		}
		return false
	}, 20*time.Second, 20*time.Millisecond)
	return found
}

const (
	strangersTrace = "0af7651916cd43dd8448eb211c80319c"
	traceparent    = "00-" + strangersTrace + "-b7ad6b7169203331-01"
	scopeName      = "github.com/carekeep/carekeep/services/gateway"
)

// One span for each request, named by its route, root of a trace that reaches the
// service; neither ids nor queries stand in any span that the gateway makes.
func TestRequestIsOneTraceNamedByRoute(t *testing.T) {
	s, spans := traced(t)
	patient := uuid.NewString()
	got := s.call("GET", "/v1/patients/"+patient+"?", "", "Traceparent", traceparent, "Tracestate", "evil=1")
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	span := edgeSpan(t, spans)
	require.Equal(t, "GET /v1/{name=patients/*}", span.Name())
	require.Equal(t, trace.SpanKindServer, span.SpanKind())
	require.Equal(t, span.SpanContext().TraceID().String(), got.header.Get("X-Trace-Id"))

	// A stranger's trace is a link and not a parent.
	require.False(t, span.Parent().IsValid())
	require.NotEqual(t, strangersTrace, span.SpanContext().TraceID().String())
	require.Len(t, span.Links(), 1)
	require.Equal(t, strangersTrace, span.Links()[0].SpanContext.TraceID().String())
	require.Empty(t, span.Links()[0].SpanContext.TraceState().String())

	names := map[string]bool{}
	for _, other := range spans.Ended() {
		if other.SpanContext().TraceID() == span.SpanContext().TraceID() {
			names[other.SpanKind().String()+" "+other.Name()] = true
		}
		if other.SpanKind() == trace.SpanKindServer && other.InstrumentationScope().Name != scopeName {
			continue // the services' own spans are not the gateway's to promise
		}
		for _, a := range other.Attributes() {
			require.NotContains(t, a.Value.String(), patient, "%s: %s", other.Name(), a.Key)
			require.NotContains(t, a.Value.String(), sessionToken, "%s: %s", other.Name(), a.Key)
		}
	}
	require.True(t, names["client carekeep.auth.v1.AuthService/Admit"], "%v", names)
	require.True(t, names["client carekeep.records.v1.RecordsService/GetPatient"], "%v", names)
	require.Contains(t, strings.Join(s.records.seen.Get("traceparent"), ""), span.SpanContext().TraceID().String())
}

func TestTraceOfATrustedProxyGoesOn(t *testing.T) {
	s, spans := traced(t, func(c *Settings) { c.TrustedProxies = []string{"127.0.0.0/8"} })
	got := s.call("GET", "/v1/"+somePatient, "", "Traceparent", traceparent)
	require.Equal(t, http.StatusOK, got.status)
	span := edgeSpan(t, spans)
	require.Equal(t, strangersTrace, span.SpanContext().TraceID().String())
	require.Equal(t, strangersTrace, got.header.Get("X-Trace-Id"))
}
