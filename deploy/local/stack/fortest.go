package stack

import (
	"context"
	"testing"
	"time"
)

// ForTest starts a throwaway stack on free ports that ends with the test. Its
// progress and its parts' warnings go to the test's log.
func ForTest(tb testing.TB, opts Options) *Stack {
	tb.Helper()
	if opts.Stdout == nil {
		opts.Stdout = tb.Output()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	s, err := Start(ctx, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}
