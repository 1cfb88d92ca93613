package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/carekeep/carekeep/libs/telemetry"
)

const scope = "github.com/carekeep/carekeep/services/gateway"

// unmatched is the route of requests that no pattern takes.
const unmatched = "unmatched"

// observer makes the exchange of each request, and at its end one span, one
// metric and one log line, whatever became of it (claim DTD-07). otelhttp would do
// most of it, but writes the path, which holds ids, into every span.
type observer struct {
	proxies  Proxies
	limits   Limits
	log      *slog.Logger
	now      func() time.Time
	tracer   trace.Tracer
	duration metric.Float64Histogram
	failed   http.HandlerFunc
	next     http.Handler
}

func observe(o Options, next http.Handler) (http.Handler, error) {
	duration, err := otel.Meter(scope).Float64Histogram("http.server.request.duration",
		metric.WithUnit("s"), metric.WithDescription("Duration of REST requests by route and status."))
	if err != nil {
		return nil, fmt.Errorf("request metric: %w", err)
	}
	return &observer{
		proxies: o.Proxies, limits: o.Limits, log: o.Log, now: o.Now,
		tracer: otel.Tracer(scope), duration: duration, failed: o.Failed, next: next,
	}, nil
}

func (o *observer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := o.now()
	address, proxied := o.proxies.client(r)
	e := &Exchange{Address: address, Agent: agent(r), Language: language(r), Route: unmatched}
	ctx, span := o.begin(r, proxied)
	if sc := span.SpanContext(); sc.IsValid() {
		// So that a user's report leads to the trace.
		w.Header().Set("X-Trace-Id", sc.TraceID().String())
	}
	rest := newRemainder(w, r, o.limits.Body())
	out := newWriter(w, o.limits.write(), rest)
	r = r.WithContext(withExchange(ctx, e))
	if rest != nil {
		r.Body = rest
	}
	defer func() {
		broken := o.recovered(recover(), out, r)
		out.end()
		o.end(r, span, e, out.status, o.now().Sub(start))
		if broken {
			panic(http.ErrAbortHandler)
		}
	}()
	o.next.ServeHTTP(out, r)
}

// begin starts the request's span. A stranger's traceparent is no parent: it
// could force sampling or join traces of others. It is kept as a link.
func (o *observer) begin(r *http.Request, proxied bool) (context.Context, trace.Span) {
	ctx := r.Context()
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", method(r)), attribute.String("url.scheme", "https")),
	}
	remote := propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	if proxied {
		ctx = remote
	} else if sc := trace.SpanContextFromContext(remote); sc.IsValid() {
		options = append(options, trace.WithNewRoot(),
			trace.WithLinks(trace.Link{SpanContext: sc.WithTraceState(trace.TraceState{})}))
	}
	return o.tracer.Start(ctx, method(r), options...)
}

func (o *observer) end(r *http.Request, span trace.Span, e *Exchange, status int, took time.Duration) {
	if status == 0 {
		status = http.StatusOK
	}
	attributes := []attribute.KeyValue{
		attribute.String("http.request.method", method(r)),
		attribute.String("http.route", e.Route),
		attribute.Int("http.response.status_code", status),
	}
	o.duration.Record(r.Context(), took.Seconds(), metric.WithAttributes(attributes...))
	span.SetName(method(r) + " " + e.Route)
	span.SetAttributes(attributes...)
	if e.Reason != "" {
		span.SetAttributes(attribute.String("error.type", e.Reason))
	}
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, e.Reason)
	}
	line := []slog.Attr{
		slog.String(telemetry.KeyMethod, method(r)),
		slog.String(telemetry.KeyRoute, e.Route),
		slog.Int(telemetry.KeyStatus, status),
		slog.String(telemetry.KeyReason, e.Reason),
		slog.String(telemetry.KeyAddress, e.Address),
		slog.Float64(telemetry.KeyDuration, float64(took.Microseconds())/1000),
	}
	if e.Cause != nil {
		line = append(line, slog.String(telemetry.KeyError, e.Cause.Error()))
	}
	o.log.LogAttrs(r.Context(), slog.LevelInfo, "request", line...)
	span.End()
}

// recovered answers after a panic. A panic's value may hold data of the request,
// so only those of the runtime are logged as text. It reports whether the
// connection must be broken off, because part of an answer is already sent.
func (o *observer) recovered(value any, w *writer, r *http.Request) bool {
	if value == nil {
		return false
	}
	text := fmt.Sprintf("%T", value)
	if err, ok := value.(error); ok {
		var ours runtime.Error
		switch {
		case errors.Is(err, http.ErrAbortHandler):
			return true
		case errors.As(err, &ours):
			text = ours.Error()
		}
	}
	o.log.ErrorContext(r.Context(), "panic", telemetry.KeyError, text, telemetry.KeyStack, string(debug.Stack()))
	Of(r.Context()).Reason = "PANIC"
	if w.status != 0 {
		return true
	}
	o.failed(w, r)
	return false
}

// methods are those that exist; a client may write any word there.
var methods = []string{
	http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete,
	http.MethodPut, http.MethodHead, http.MethodOptions,
}

func method(r *http.Request) string {
	if slices.Contains(methods, r.Method) {
		return r.Method
	}
	return "_OTHER"
}
