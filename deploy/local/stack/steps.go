package stack

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// step is one thing to do while a stack starts, once the steps it needs are done.
type step struct {
	name  string
	after []string
	do    func(context.Context) error
}

// perform does all steps, side by side where their order allows it, and says
// how long each took. The first error stops the rest.
func perform(ctx context.Context, steps []step, say func(string, ...any)) error {
	done := map[string]chan struct{}{}
	for _, s := range steps {
		done[s.name] = make(chan struct{})
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range steps {
		group.Go(func() error {
			for _, name := range s.after {
				before, known := done[name]
				if !known {
					return fmt.Errorf("step %s waits for %s, which nobody does", s.name, name)
				}
				select {
				case <-before:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			begun := time.Now()
			if err := s.do(ctx); err != nil {
				return err
			}
			say("%-16s ready in %s", s.name, round(time.Since(begun)))
			close(done[s.name])
			return nil
		})
	}
	return group.Wait()
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
