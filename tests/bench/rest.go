package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/carekeep/carekeep/deploy/local/seed"
)

// rest is figure (d): the same read through the gateway, which adds admission
// (session, limits, a signed caller token) and a second hop, against gRPC.
func (b *bench) rest(ctx context.Context) error {
	client, err := b.people.As(ctx, seed.Smith)
	if err != nil {
		return err
	}
	ids := b.ids()
	overREST := func(ctx context.Context, own, n int) error {
		answer, err := client.Send(ctx, http.MethodGet, "/v1/fhir/Patient/"+ids[(own*9973+n)%len(ids)], nil)
		if err != nil {
			return err
		}
		if answer.Status != http.StatusOK {
			return fmt.Errorf("REST answered %d: %s", answer.Status, answer.Body)
		}
		return nil
	}
	got, err := contest(ctx, b.opts.Clients, b.opts.Length, b.opts.Rounds, overREST, b.readFrom(b.records))
	if err != nil {
		return fmt.Errorf("rest: %w", err)
	}
	row{"(d) read over REST, with admission", "/s", "gRPC", got[0].perSecond, got[1].perSecond, 0,
		fmt.Sprintf("%d clients of one user; %s against %s", b.opts.Clients, latency(got[0]), latency(got[1]))}.write(os.Stdout)
	return nil
}
