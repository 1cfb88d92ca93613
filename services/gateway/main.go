// Command gateway offers the services of carekeep as REST: TLS at the edge,
// gRPC over mTLS inside. It keeps no data and decides nothing about access.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/telemetry"
)

type commands struct {
	Serve serve `cmd:"" help:"Serve the REST API."`
}

type serve struct {
	Config string `required:"" type:"path" help:"Configuration file; config/gateway.example.yaml explains it."`
}

// Run serves until the process is told to stop.
func (c *serve) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var settings Settings
	if err := config.Load(c.Config, &settings); err != nil {
		return err
	}
	log := telemetry.NewLogger(os.Stderr, "gateway", slog.LevelInfo)
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

func main() {
	cli := kong.Parse(&commands{}, kong.Name("gateway"), kong.Description("The REST edge of carekeep."))
	cli.FatalIfErrorf(cli.Run())
}
