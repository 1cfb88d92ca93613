// Command audit keeps the log of every access: it appends what services record, signs
// the tree over it, shows it to those who may see it, and proves what it shows.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/program"
	"github.com/carekeep/carekeep/services/audit/migrations"
)

type commands struct {
	Serve   serve   `cmd:"" help:"Append events and serve the audit API."`
	Migrate migrate `cmd:"" help:"Bring the tables up to date; run it under the identity that owns them."`
	Export  export  `cmd:"" help:"Write the whole log, straight from the database, for \"carekeep audit verify\"."`
}

type configured struct{ program.Configured }

// open reads what every command needs.
func (c configured) open() (Settings, *mtls.Source, *slog.Logger, error) {
	settings, log, err := program.Load[Settings](c.Configured, "audit")
	if err != nil {
		return settings, nil, nil, err
	}
	identity, err := mtls.Load(settings.Server.Files(), log)
	if err != nil {
		return settings, nil, nil, fmt.Errorf("identity: %w", err)
	}
	return settings, identity, log, nil
}

type serve struct{ configured }

// Run serves until ctx ends.
func (c *serve) Run(ctx context.Context) error {
	settings, identity, log, err := c.open()
	if err != nil {
		return err
	}
	service, err := newService(ctx, settings, identity, log, time.Now)
	if err != nil {
		return err
	}
	return service.run(ctx)
}

type migrate struct{ configured }

// Run applies what is new.
func (c *migrate) Run(ctx context.Context) error {
	settings, identity, _, err := c.open()
	if err != nil {
		return err
	}
	return pg.Migrate(ctx, settings.Database, identity, migrations.Set)
}

func main() { program.Main("audit", "The log of every access.", &commands{}) }
