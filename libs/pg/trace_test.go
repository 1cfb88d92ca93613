package pg_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/pg"
)

// Statements show in the trace of their caller, and neither a parameter nor a
// value that an error repeats is in any span.
func TestTracesHoldStatementsAndNoValues(t *testing.T) {
	const value = "Mrs-Secret-1980-02-30"
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(provider)
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	f := open(t, postgres.ForTest(t), pg.Options{})

	ctx, root := provider.Tracer("test").Start(t.Context(), "rpc")
	practice := uuid.New()
	require.NoError(t, f.access.Do(ctx, pg.Unit{Practice: practice,
		Queue:  func(b *pgx.Batch) { b.Queue("SELECT FROM log WHERE id = $1", value) },
		Decide: func() ([]*auditv1.Event, error) { return events(uuid.NewString()), nil }}))
	for _, statement := range []string{"SELECT $1::text::date", "SELECT $1::text::uuid"} {
		require.Error(t, f.access.Do(ctx, pg.Unit{Queue: func(b *pgx.Batch) { b.Queue(statement, value) }}))
		_, err := f.pool.Exec(ctx, statement, value)
		require.ErrorContains(t, err, value, "the test needs an error that repeats the value")
	}
	root.End()

	shown := ""
	traced := 0
	for _, span := range spans.GetSpans() {
		shown += fmt.Sprintf("%s %+v %+v %+v\n", span.Name, span.Attributes, span.Events, span.Status)
		if span.SpanContext.TraceID() == root.SpanContext().TraceID() {
			traced++
		}
	}
	require.NotContains(t, shown, value)
	require.Contains(t, shown, "SELECT FROM log")
	require.Contains(t, shown, "pg.Access.Do")
	require.Greater(t, traced, 8)
}
