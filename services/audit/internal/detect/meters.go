package detect

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/carekeep/carekeep/services/audit/internal/detect/engine"
)

// Names of the metrics. Evicted and dropped above zero mean that detection_keys is too small, or that
// somebody tries to make detection forget; a lag that grows, that it cannot follow.
const (
	MetricEntries = "carekeep.detection.entries"
	MetricFired   = "carekeep.detection.fired"
	MetricLag     = "carekeep.detection.lag"
	MetricKeys    = "carekeep.detection.keys"
	MetricEvicted = "carekeep.detection.evicted"
	MetricDropped = "carekeep.detection.dropped"
	MetricFailed  = "carekeep.detection.failed"
)

// meters are the instruments. Those of the engine begin anew with each engine.
type meters struct {
	entries, firings                       metric.Int64Counter
	lag                                    atomic.Int64
	keysNow, evictedNow, droppedNow, badly atomic.Int64
}

func newMeters() (*meters, error) {
	m, meter := &meters{}, otel.Meter("github.com/carekeep/carekeep/services/audit/internal/detect")
	var errs [3]error
	m.entries, errs[0] = meter.Int64Counter(MetricEntries, metric.WithDescription("Entries held against the rules"))
	m.firings, errs[1] = meter.Int64Counter(MetricFired, metric.WithDescription("Detections, by rule"))
	for name, g := range map[string]struct {
		value *atomic.Int64
		about string
	}{
		MetricKeys:    {&m.keysNow, "Keys that counters keep"},
		MetricEvicted: {&m.evictedNow, "Keys that made room although their window had not passed"},
		MetricDropped: {&m.droppedNow, "Findings beyond what one rule is told of in a minute"},
		MetricFailed:  {&m.badly, "Conditions that could not be evaluated"},
	} {
		_, err := meter.Int64ObservableGauge(name, metric.WithDescription(g.about), metric.WithInt64Callback(observe(g.value)))
		errs[2] = errors.Join(errs[2], err)
	}
	_, err := meter.Float64ObservableGauge(MetricLag, metric.WithUnit("s"), metric.WithDescription("From append to detection, of the newest entry taken"),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			o.Observe(time.Duration(m.lag.Load()).Seconds())
			return nil
		}))
	return m, errors.Join(errs[0], errs[1], errs[2], err)
}

func observe(value *atomic.Int64) metric.Int64Callback {
	return func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(value.Load())
		return nil
	}
}

func (m *meters) took(ctx context.Context, n int, lag time.Duration) {
	m.entries.Add(ctx, int64(n))
	m.lag.Store(int64(lag))
}

func (m *meters) fired(ctx context.Context, rule string) {
	m.firings.Add(ctx, 1, metric.WithAttributes(attribute.String("rule", rule)))
}

func (m *meters) keep(s engine.Stats) {
	m.keysNow.Store(int64(s.Keys))
	m.evictedNow.Store(int64(s.Evicted))
	m.droppedNow.Store(int64(s.Dropped))
	m.badly.Store(int64(s.Failed))
}
