// Command gateway offers the services of carekeep as REST: TLS at the edge,
// gRPC over mTLS inside. It keeps no data and decides nothing about access.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/program"
	"github.com/carekeep/carekeep/libs/telemetry"
)

type commands struct {
	Serve serve `cmd:"" help:"Serve the REST API."`
}

type serve struct{ program.Configured }

// Run serves until ctx ends.
func (c *serve) Run(ctx context.Context) error {
	settings, log, err := program.Load[Settings](c.Configured, "gateway")
	if err != nil {
		return err
	}
	identity, err := mtls.Load(settings.Mesh, log)
	if err != nil {
		return fmt.Errorf("mesh identity: %w", err)
	}
	flush, err := telemetry.Start(ctx, settings.Telemetry, "gateway", identity)
	if err != nil {
		return err
	}
	gateway, err := NewGateway(ctx, settings, identity, log, time.Now)
	if err != nil {
		return err
	}
	log.Info("serving", telemetry.KeyAddress, gateway.Addr().String())
	err = gateway.Serve(ctx)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, flush(last))
}

func main() { program.Main("gateway", "The REST edge of carekeep.", &commands{}) }
