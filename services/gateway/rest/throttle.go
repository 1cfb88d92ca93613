package rest

import (
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"github.com/carekeep/carekeep/libs/network"
)

const (
	// burst is how many seconds' worth of requests a client may send at once, everybody how many clients'
	// worth all clients together.
	burst    = 4
	everyone = 20
	// maxNetworks bounds the memory. Whoever is forgotten starts anew, within the limit of all.
	maxNetworks = 10_000
)

// throttle limits requests that no service counts: for each client, by the addresses that it can easily speak
// from, and for all together. It is this replica's own and exact for it alone.
type throttle struct {
	each  *otter.Cache[string, *rate.Limiter]
	all   *rate.Limiter
	limit rate.Limit
	burst int
	now   func() time.Time
}

func newThrottle(perSecond int, now func() time.Time) *throttle {
	return &throttle{
		each: otter.Must(&otter.Options[string, *rate.Limiter]{
			MaximumSize: maxNetworks, ExpiryCalculator: otter.ExpiryAccessing[string, *rate.Limiter](time.Minute),
		}),
		all:   rate.NewLimiter(rate.Limit(perSecond*everyone), perSecond*everyone*burst),
		limit: rate.Limit(perSecond), burst: perSecond * burst, now: now,
	}
}

// take counts a request and returns 0, or how long its client has to wait.
func (t *throttle) take(address string) time.Duration {
	own, _ := t.each.ComputeIfAbsent(network.Client(address), func() (*rate.Limiter, bool) {
		return rate.NewLimiter(t.limit, t.burst), false
	})
	now := t.now()
	for _, l := range []*rate.Limiter{own, t.all} {
		if !l.AllowN(now, 1) {
			return time.Second
		}
	}
	return 0
}
