package witnesses

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/carekeep/carekeep/libs/telemetry"
)

// MetricLag is the name of the metric, by witness. A lag that grows means a witness that does not sign; the checkpoint that is
// shown in public falls behind when none does.
const MetricLag = "carekeep.audit.witness.lag"

// lag is since when the log has something that a witness has not signed.
type lag struct {
	mu    sync.Mutex
	since time.Time // zero: it has signed everything
}

// see notes a round: when the newest entries were appended, and whether the witness has signed them.
func (l *lag) see(head time.Time, signed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case signed:
		l.since = time.Time{}
	case l.since.IsZero():
		l.since = head
	}
}

func (l *lag) seconds(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		return 0
	}
	return max(0, now.Sub(l.since).Seconds())
}

func (c *Circle) observe() error {
	if len(c.members) == 0 {
		return nil
	}
	meter := otel.Meter("github.com/carekeep/carekeep/services/audit/internal/witnesses")
	_, err := meter.Float64ObservableGauge(MetricLag, metric.WithUnit("s"),
		metric.WithDescription("How long the log has had entries that a witness has not signed"),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			for _, m := range c.members {
				o.Observe(m.lag.seconds(c.opts.Now()), metric.WithAttributes(attribute.String(telemetry.KeyPeer, m.id)))
			}
			return nil
		}))
	if err != nil {
		return fmt.Errorf("metrics of witnesses: %w", err)
	}
	return nil
}
