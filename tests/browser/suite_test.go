// Package browser tests the pages of the gateway in headless Chromium, against a
// throwaway stack of its own: what a browser does with cookies, origins and
// passkeys, nothing else shows.
package browser

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
)

var (
	suite *stack.Stack
	users *seed.Credentials
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
	var err error
	if suite, err = stack.Start(ctx, stack.Options{Settings: settings()}); err != nil {
		return 1, err
	}
	defer suite.Close()
	if users, err = seed.Run(ctx, suite.Place); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// settings lift the limits of one address, which have tests of their own: every
// browser here connects from 127.0.0.1.
func settings() stack.Settings {
	return stack.Settings{"auth": {"limits.sign_in_per_minute": 1000, "limits.requests_per_minute": 100000}}
}
