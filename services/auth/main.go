// Command auth keeps practices, users, factors and sessions, and admits requests.
package main

import (
	"context"
	"fmt"
	"io"

	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/program"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/migrations"
)

type commands struct {
	Serve     serve     `cmd:"" help:"Serve gRPC."`
	Migrate   migrate   `cmd:"" help:"Bring the database's schema up to date; runs as the owner of the database."`
	Bootstrap bootstrap `cmd:"" help:"Create the first superadmin and print a one-time invitation token."`
}

type configured struct{ program.Configured }

func (c configured) load() (app.Settings, app.Options, error) {
	settings, log, err := program.Load[app.Settings](c.Configured, "auth")
	return settings, app.Options{Log: log}, err
}

type serve struct{ configured }

func (c *serve) Run(ctx context.Context) error {
	settings, options, err := c.load()
	if err != nil {
		return err
	}
	auth, err := app.New(ctx, settings, options)
	if err != nil {
		return err
	}
	return auth.Run(ctx)
}

type migrate struct{ configured }

func (c *migrate) Run(ctx context.Context) error {
	settings, options, err := c.load()
	if err != nil {
		return err
	}
	files := settings.TLS
	files.TrustDomain = settings.TrustDomain
	identity, err := mtls.Load(files, options.Log)
	if err != nil {
		return err
	}
	return pg.Migrate(ctx, settings.Database, identity, pg.Set{Name: "auth", FS: migrations.FS}, outbox.Migrations())
}

type bootstrap struct {
	configured
	Username string `required:"" help:"Sign-in name of the superadmin."`
	Email    string `required:"" help:"Mail address of the superadmin."`
}

func (c *bootstrap) Run(ctx context.Context, out io.Writer) error {
	settings, options, err := c.load()
	if err != nil {
		return err
	}
	token, err := app.Bootstrap(ctx, settings, options, c.Username, c.Email)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, token)
	return err
}

func main() { program.Main("auth", "Identity service of carekeep.", &commands{}) }
