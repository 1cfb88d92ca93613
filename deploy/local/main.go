// Command carekeep-local runs the whole suite on one machine, for development,
// tests and a first look. It is not a way to run carekeep in production.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Up       upCommand       `cmd:"" help:"Run the whole suite until Ctrl-C."`
	Demo     demoCommand     `cmd:"" help:"Play the story of the suite, on the running stack or a throwaway one."`
	Totp     totpCommand     `cmd:"" help:"Print the current one-time code of a seeded user."`
	Broker   brokerCommand   `cmd:"" help:"Run the message broker of a stack; up and the tests start it."`
	Generate generateCommand `cmd:"" help:"Write a FHIR bundle of synthetic patients to standard output."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends us at once, and every process with us.
	context.AfterFunc(ctx, stop)
	cli := kong.Parse(&commands{}, kong.Name("carekeep-local"), kong.Description("The whole suite on one machine."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	cli.FatalIfErrorf(cli.Run())
}
