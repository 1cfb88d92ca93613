// Package e2e tests the whole suite from outside: one throwaway stack with real
// parts, reached over REST as a front end does, and over gRPC as a service does.
package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/carekeep/carekeep/deploy/local/stack"
	"github.com/carekeep/carekeep/tests/internal/otlp"
	"github.com/carekeep/carekeep/tests/internal/people"
)

var (
	suite     *stack.Stack
	collector *otlp.Collector
	webhooks  *receiver
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctx := context.Background()
	var stop func()
	var err error
	if collector, stop, err = otlp.Start(ctx); err != nil {
		return 1, err
	}
	defer stop()
	if webhooks, err = newReceiver(); err != nil {
		return 1, err
	}
	defer webhooks.close()
	if suite, err = stack.Start(ctx, stack.Options{Settings: settings()}); err != nil {
		return 1, err
	}
	defer suite.Close()
	if users, err = people.Seed(ctx, suite.Place); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// settings sends every trace to the collector and lifts the request limit,
// which has tests of its own.
func settings() stack.Settings {
	all := stack.Settings{}
	for _, service := range []string{"auth", "records", "audit", "backup", "gateway"} {
		all[service] = map[string]any{
			"telemetry.endpoint": collector.Endpoint, "telemetry.insecure_loopback": true, "telemetry.sample_ratio": 1.0,
		}
	}
	all["auth"]["limits.requests_per_minute"] = 100000
	all["audit"]["response.webhooks"] = []map[string]any{webhooks.setting()}
	return all
}
