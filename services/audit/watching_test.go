package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/detect"
)

// One act is seen in four ways, none of which goes through another: in the log that verifies offline, as a metric,
// at a webhook, and in the lines that a SIEM fetches.
func TestDTD09_OneActIsSeenInSeveralWays(t *testing.T) {
	t.Parallel()
	reader := sdk.NewManualReader()
	otel.SetMeterProvider(sdk.NewMeterProvider(sdk.WithReader(reader)))
	s := newSuite(t)
	_, hook := s.answering()
	r := s.writer()
	p := s.producer("records")
	before := fired(t, reader, "HONEYPATIENT")
	p.await(p.send(decoy()))
	require.Eventually(t, func() bool { return len(hook.got()) > 0 }, patience, often, "the webhook")
	require.Eventually(t, func() bool { return fired(t, reader, "HONEYPATIENT") > before }, patience, often, "the metric")
	lines, _ := exported(t, s, r, &auditv1.ExportEventsRequest{Format: auditv1.EventFormat_EVENT_FORMAT_CEF, Method: event().GetMethod()})
	require.Len(t, lines, 1)
	require.True(t, strings.Contains(lines[0], "DECOY_TOUCHED"), "the SIEM: %s", lines[0])
	report := s.verify()
	require.NoError(t, report.Err())
	require.Positive(t, report.Whole, "the log")
}

// fired is how often the metric says that a rule fired.
func fired(t *testing.T, reader *sdk.ManualReader, rule string) (n int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != detect.MetricFired {
				continue
			}
			for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
				if v, ok := point.Attributes.Value("rule"); ok && v.AsString() == rule {
					n += point.Value
				}
			}
		}
	}
	return n
}
