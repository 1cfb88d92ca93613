package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/carekeep/carekeep/libs/telemetry"
)

func logged(t *testing.T, write func(*slog.Logger)) (map[string]any, string) {
	t.Helper()
	var b bytes.Buffer
	write(telemetry.NewLogger(&b, "records", slog.LevelInfo))
	out := map[string]any{}
	require.NoError(t, json.Unmarshal(b.Bytes(), &out))
	return out, b.String()
}

func TestLogLinesNameServiceAndTrace(t *testing.T) {
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx := trace.ContextWithSpanContext(context.Background(), sc)
	line, _ := logged(t, func(l *slog.Logger) { l.InfoContext(ctx, "hello", telemetry.KeyMethod, "/x") })
	require.Equal(t, "records", line["service"])
	require.Equal(t, sc.TraceID().String(), line["trace_id"])
	require.Equal(t, sc.SpanID().String(), line["span_id"])
	require.Equal(t, "/x", line["method"])
	line, _ = logged(t, func(l *slog.Logger) { l.Info("hello") })
	require.NotContains(t, line, "trace_id")
}

type lazy struct{}

func (lazy) LogValue() slog.Value {
	return slog.GroupValue(slog.String("Session_Token", "hunter2"), slog.String("open", "yes"))
}

func TestSecretLookingValuesAreRedactedWhereverTheyStand(t *testing.T) {
	for name, write := range map[string]func(*slog.Logger){
		"attribute": func(l *slog.Logger) { l.Info("m", "password", "hunter2") },
		"capitals":  func(l *slog.Logger) { l.Info("m", "NewPassword", "hunter2") },
		"group": func(l *slog.Logger) {
			l.Info("m", slog.Group("a", slog.Group("b", slog.String("totp_code", "hunter2"))))
		},
		"group as secret": func(l *slog.Logger) { l.Info("m", slog.Group("secrets", slog.String("a", "hunter2"))) },
		"with":            func(l *slog.Logger) { l.With("authorization", "hunter2").Info("m") },
		"with group":      func(l *slog.Logger) { l.WithGroup("g").With("cookie", "hunter2").Info("m", "api_key", "hunter2") },
		"log valuer":      func(l *slog.Logger) { l.Info("m", "who", lazy{}) },
	} {
		_, text := logged(t, write)
		require.NotContains(t, text, "hunter2", name)
		require.Contains(t, text, "[redacted]", name)
	}
	_, text := logged(t, func(l *slog.Logger) { l.Info("m", "who", lazy{}, "code", 7) })
	require.Contains(t, text, `"open":"yes"`)
	require.Contains(t, text, `"code":7`)
}

func TestHandlerIsNotWrappedTwice(t *testing.T) {
	h := telemetry.Handler(slog.DiscardHandler)
	require.Same(t, h, telemetry.Handler(h))
}
