package server

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/carekeep/carekeep/libs/telemetry"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const (
	// callerKeys is the dependency that every server has: the file with auth's public keys.
	callerKeys = "caller_keys"

	readyEvery   = 2 * time.Second
	readyTimeout = 2 * time.Second
)

// readiness runs the checks of the dependencies and reports them by grpc.health.v1:
// the service "" is ready when all are, and each dependency is a health service of
// its own name, so that a probe can ask which one is missing.
type readiness struct {
	checks map[string]func(context.Context) error
	health *health.Server
	log    *slog.Logger
	// failing remembers what was logged, so that only changes are.
	failing map[string]bool
}

func newReadiness(checks map[string]func(context.Context) error, log *slog.Logger) *readiness {
	r := &readiness{checks: checks, health: health.NewServer(), log: log, failing: map[string]bool{}}
	r.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	for name := range checks {
		r.health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
	return r
}

// run checks at once and then every two seconds, until ctx ends.
func (r *readiness) run(ctx context.Context) {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		r.check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *readiness) check(ctx context.Context) {
	failures := r.failures(ctx)
	if ctx.Err() != nil {
		return // the checks failed because the server stops
	}
	r.report(ctx, failures)
	for name := range r.checks {
		r.health.SetServingStatus(name, status(failures[name] == nil))
	}
	r.health.SetServingStatus("", status(len(failures) == 0))
}

// failures runs all checks at the same time, so that one that hangs does not hide another.
func (r *readiness) failures(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]error{}
	for name, check := range r.checks {
		wg.Go(func() {
			if err := check(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				out[name] = err
			}
		})
	}
	wg.Wait()
	return out
}

func (r *readiness) report(ctx context.Context, failures map[string]error) {
	names := make([]string, 0, len(r.checks))
	for name := range r.checks {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		err := failures[name]
		switch {
		case err != nil && !r.failing[name]:
			r.log.WarnContext(ctx, "not ready: a dependency is missing",
				telemetry.KeyDependency, name, telemetry.KeyError, err.Error())
		case err == nil && r.failing[name]:
			r.log.InfoContext(ctx, "a dependency is back", telemetry.KeyDependency, name)
		}
		r.failing[name] = err != nil
	}
}

func status(ok bool) grpc_health_v1.HealthCheckResponse_ServingStatus {
	if ok {
		return grpc_health_v1.HealthCheckResponse_SERVING
	}
	return grpc_health_v1.HealthCheckResponse_NOT_SERVING
}
