// Package program is the shell of a service's program: its commands, its
// configuration file, its log, and the signals that end it.
package program

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/telemetry"
)

// Configured is what every command takes. Embed it.
type Configured struct {
	Config string `required:"" type:"path" help:"Configuration file; config/${name}.example.yaml explains it."`
}

// Load reads the settings of a service and opens its log, which is the default log from then on.
func Load[Settings any](c Configured, service string) (Settings, *slog.Logger, error) {
	var settings Settings
	err := config.Load(c.Config, &settings)
	log := telemetry.NewLogger(os.Stderr, service, slog.LevelInfo)
	slog.SetDefault(log)
	return settings, log, err
}

// Main runs the command that the arguments name and exits with 1 if it fails. Commands
// are kong's; their Run methods may take a context, which SIGINT and SIGTERM end,
// and an io.Writer, which is the standard output.
func Main(service, description string, commands any) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cli := kong.Parse(commands, kong.Name(service), kong.Description(description), kong.Vars{"name": service},
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	cli.FatalIfErrorf(cli.Run())
}
