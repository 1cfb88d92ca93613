package appender

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/event"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// SpanName names the span that ends the trace of a request: its event is in the log.
const SpanName = "audit append"

var tracer = otel.Tracer("github.com/carekeep/carekeep/services/audit")

// committed tells the world: the copies outside, whoever watches the log of the
// service, and the traces of the requests that the events came from.
func (w *writer) committed(ctx context.Context, g *store.Group, events []event.Event, started time.Time) {
	w.Copies.Keep(g.Note)
	for _, a := range g.Alerts {
		level := slog.LevelWarn
		if a.Risk == int16(auditv1.Risk_RISK_CRITICAL) {
			level = slog.LevelError
		}
		w.Log.Log(ctx, level, "audit alert", telemetry.KeyReason, a.Reason, telemetry.KeySeq, a.Seq)
	}
	ended := w.Now()
	for i := range events {
		if parent, ok := sampled(events[i].Traceparent); ok {
			_, span := tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), SpanName,
				trace.WithTimestamp(started), trace.WithSpanKind(trace.SpanKindConsumer),
				trace.WithAttributes(attribute.Int64(telemetry.KeySeq, g.Entries[i].Seq), attribute.Int64(telemetry.KeySize, g.Checkpoint.Size)))
			span.End(trace.WithTimestamp(ended))
		}
	}
}

// sampled reads a trace context and reports whether its trace is kept.
func sampled(traceparent string) (trace.SpanContext, bool) {
	if !strings.HasSuffix(traceparent, "1") { // most are not; the flags come last
		return trace.SpanContext{}, false
	}
	carrier := propagation.MapCarrier{"traceparent": traceparent}
	sc := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	return sc, sc.IsValid() && sc.IsSampled()
}
