// Command backup takes encrypted base backups of the database cluster over the
// replication protocol, lists them, and restores them.
package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/carekeep/carekeep/libs/program"
	"github.com/carekeep/carekeep/services/backup/internal/app"
)

type commands struct {
	Serve   serve   `cmd:"" help:"Serve gRPC, and relay audit events to the broker."`
	Migrate migrate `cmd:"" help:"Bring the database's schema up to date; runs as the owner of the database."`
	List    list    `cmd:"" help:"List finished backups; needs the storage only."`
	Restore restore `cmd:"" help:"Restore a backup into an empty or new folder; needs the storage and transit only."`
}

type configured struct{ program.Configured }

func (c configured) load() (app.Settings, *slog.Logger, error) {
	return program.Load[app.Settings](c.Configured, "backup")
}

type serve struct{ configured }

// Run serves until ctx ends.
func (c *serve) Run(ctx context.Context) error {
	settings, log, err := c.load()
	if err != nil {
		return err
	}
	backup, err := app.New(ctx, settings, log)
	if err != nil {
		return err
	}
	return backup.Run(ctx)
}

type migrate struct{ configured }

// Run applies what is new.
func (c *migrate) Run(ctx context.Context) error {
	settings, log, err := c.load()
	if err != nil {
		return err
	}
	return app.Migrate(ctx, settings, log)
}

type list struct{ configured }

// Run prints the backups.
func (c *list) Run(ctx context.Context, out io.Writer) error {
	settings, log, err := c.load()
	if err != nil {
		return err
	}
	return app.List(ctx, settings, log, out)
}

type restore struct {
	configured
	Backup string `required:"" help:"Id of the backup, as list prints it."`
	To     string `required:"" type:"path" help:"Empty or new folder for the data directory; tablespaces go beside it."`
}

// Run restores.
func (c *restore) Run(ctx context.Context, out io.Writer) error {
	settings, log, err := c.load()
	if err != nil {
		return err
	}
	return app.RestoreTo(ctx, settings, log, c.Backup, c.To, out)
}

func main() { program.Main("backup", "Encrypted backups of carekeep.", &commands{}) }
