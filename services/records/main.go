// Command records keeps patients' charts: sealed FHIR documents that are found
// by a blind index, read under control, and never without an audit event.
package main

import (
	"context"

	"github.com/carekeep/carekeep/libs/program"
	"github.com/carekeep/carekeep/services/records/internal/app"
)

type commands struct {
	Serve   serve   `cmd:"" help:"Serve gRPC, and relay audit events to the broker."`
	Migrate migrate `cmd:"" help:"Bring the database's schema up to date; runs as the owner of the database."`
}

type configured struct{ program.Configured }

func (c configured) load() (app.Settings, app.Options, error) {
	settings, log, err := program.Load[app.Settings](c.Configured, "records")
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

func main() { program.Main("records", "Sealed patients' charts of carekeep.", &commands{}) }
