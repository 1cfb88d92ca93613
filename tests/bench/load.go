package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// sample is what one closed-loop run measured.
type sample struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       time.Duration // of all processes, for each operation
}

// closedLoop keeps the given number of clients busy for a while: each sends its
// next request when the last one was answered. The first error ends the run.
func closedLoop(ctx context.Context, clients int, length time.Duration, op func(ctx context.Context, client, n int) error) (sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var stop atomic.Bool
	times := make([][]time.Duration, clients)
	begin, cpu := time.Now(), cpuTime()
	for client := range clients {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				start := time.Now()
				if err := op(ctx, client, n); err != nil {
					cancel(fmt.Errorf("client %d, request %d: %w", client, n, err))
					stop.Store(true)
					return
				}
				times[client] = append(times[client], time.Since(start))
			}
		})
	}
	select {
	case <-time.After(length):
	case <-ctx.Done():
	}
	stop.Store(true)
	wg.Wait()
	took, cpu := time.Since(begin), cpuTime()-cpu
	if err := context.Cause(ctx); err != nil {
		return sample{}, err
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return sample{
		perSecond: float64(len(all)) / took.Seconds(),
		p50:       all[len(all)/2],
		p99:       all[len(all)*99/100],
		cpu:       cpu / time.Duration(len(all)),
	}, nil
}

// contest measures several operations in turns, so that a slow spell of the
// machine hits all of them, and returns the median run of each.
func contest(ctx context.Context, clients int, length time.Duration, rounds int, ops ...func(ctx context.Context, client, n int) error) ([]sample, error) {
	runs := make([][]sample, len(ops))
	for range rounds {
		for i, op := range ops {
			s, err := closedLoop(ctx, clients, length, op)
			if err != nil {
				return nil, err
			}
			runs[i] = append(runs[i], s)
		}
	}
	medians := make([]sample, len(ops))
	for i, run := range runs {
		slices.SortFunc(run, func(a, b sample) int {
			switch {
			case a.perSecond < b.perSecond:
				return -1
			case a.perSecond > b.perSecond:
				return 1
			}
			return 0
		})
		medians[i] = run[len(run)/2]
	}
	return medians, nil
}
