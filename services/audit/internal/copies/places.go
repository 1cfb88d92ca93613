package copies

import (
	"context"
	"errors"
	"sync"
)

// Place is where copies are kept.
type Place interface {
	Keep(signed string)
	Run(ctx context.Context)
	Ready(ctx context.Context) error
	// Newest returns the largest checkpoint that is kept there, "" where there is none.
	Newest(ctx context.Context) (string, error)
}

// Places are all of them. Each keeps for itself.
type Places []Place

// Keep takes a signed checkpoint that was committed.
func (p Places) Keep(signed string) {
	for _, place := range p {
		place.Keep(signed)
	}
}

// Run writes everywhere until ctx ends.
func (p Places) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, place := range p {
		running.Go(func() { place.Run(ctx) })
	}
	running.Wait()
}

// Ready says where the last copy could not be written.
func (p Places) Ready(ctx context.Context) error {
	var failed []error
	for _, place := range p {
		failed = append(failed, place.Ready(ctx))
	}
	return errors.Join(failed...)
}

// Newest returns the largest checkpoint of each place that has any.
func (p Places) Newest(ctx context.Context) ([]string, error) {
	var newest []string
	for _, place := range p {
		signed, err := place.Newest(ctx)
		if err != nil {
			return nil, err
		}
		if signed != "" {
			newest = append(newest, signed)
		}
	}
	return newest, nil
}
