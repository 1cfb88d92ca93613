package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// redacted stands where a secret would have been.
const redacted = "[redacted]"

// secretWords mark attribute keys whose values are never logged.
var secretWords = []string{
	"password", "passphrase", "secret", "token", "authorization", "cookie",
	"credential", "private_key", "api_key", "totp", "otp",
}

// NewLogger returns a JSON logger for a service: each line names the service and,
// inside a trace, trace and span; values under secret-looking keys are redacted.
func NewLogger(w io.Writer, service string, level slog.Leveler) *slog.Logger {
	inner := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	return slog.New(Handler(inner)).With(KeyService, service)
}

// Handler wraps a handler with trace ids and redaction. One that is wrapped
// already is returned as it is.
func Handler(inner slog.Handler) slog.Handler {
	if h, ok := inner.(*handler); ok {
		return h
	}
	return &handler{inner: inner}
}

type handler struct{ inner slog.Handler }

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.inner.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(clean(a))
		return true
	})
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		out.AddAttrs(slog.String(KeyTraceID, sc.TraceID().String()), slog.String(KeySpanID, sc.SpanID().String()))
	}
	return h.inner.Handle(ctx, out)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = clean(a)
	}
	return &handler{inner: h.inner.WithAttrs(out)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{inner: h.inner.WithGroup(name)}
}

func clean(a slog.Attr) slog.Attr {
	if secretKey(a.Key) {
		return slog.String(a.Key, redacted)
	}
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		return slog.Attr{Key: a.Key, Value: v}
	}
	members := v.Group()
	out := make([]slog.Attr, len(members))
	for i, m := range members {
		out[i] = clean(m)
	}
	return slog.Attr{Key: a.Key, Value: slog.GroupValue(out...)}
}

func secretKey(key string) bool {
	key = strings.ToLower(key)
	for _, w := range secretWords {
		if strings.Contains(key, w) {
			return true
		}
	}
	return false
}
