// Command records keeps patients' charts: sealed FHIR documents that are found
// by a blind index, read under control, and never without an audit event.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/records/internal/app"
)

type commands struct {
	Serve   serve   `cmd:"" help:"Serve gRPC, and relay audit events to the broker."`
	Migrate migrate `cmd:"" help:"Bring the database's schema up to date; runs as the owner of the database."`
}

type configured struct {
	Config string `required:"" type:"path" help:"Configuration file; config/records.example.yaml explains it."`
}

func (c configured) load() (app.Settings, app.Options, error) {
	var settings app.Settings
	err := config.Load(c.Config, &settings)
	log := telemetry.NewLogger(os.Stderr, "records", slog.LevelInfo)
	slog.SetDefault(log)
	return settings, app.Options{Log: log}, err
}

type serve struct{ configured }

// Run serves until ctx ends.
func (c *serve) Run(ctx context.Context) error {
	settings, options, err := c.load()
	if err != nil {
		return err
	}
	records, err := app.New(ctx, settings, options)
	if err != nil {
		return err
	}
	return records.Run(ctx)
}

type migrate struct{ configured }

// Run applies what is new.
func (c *migrate) Run(ctx context.Context) error {
	settings, options, err := c.load()
	if err != nil {
		return err
	}
	return app.Migrate(ctx, settings, options)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cli := kong.Parse(&commands{}, kong.Name("records"), kong.Description("Sealed patients' charts of carekeep."),
		kong.BindTo(ctx, (*context.Context)(nil)))
	cli.FatalIfErrorf(cli.Run())
}
