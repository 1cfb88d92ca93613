// Command carekeep is the command line: it signs in at a gateway, imports patients,
// reads and exports the audit log, verifies an export without any server, and
// drives backups. It has no way around the gateway.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Audit audit `cmd:"" help:"Read, export and verify the log of every access."`
}

type audit struct {
	Verify verify `cmd:"" help:"Verify an export of the log offline; exits with 1 where it is not whole."`
}

// terminal is what a command reads from and writes to.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// Exit statuses; 1 is also that of a log that is not whole.
const (
	failed   = 1
	misused  = 2
	finished = 0
)

// run is the whole program: it returns the exit status.
func run(ctx context.Context, t *terminal, args []string) int {
	helped := false
	p, err := kong.New(&commands{},
		kong.Name("carekeep"),
		kong.Description("Command line of carekeep."),
		kong.Writers(t.out, t.err), kong.Exit(func(int) { helped = true }),
		kong.Bind(t), kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		panic(err) // the commands above contradict each other
	}
	command, err := p.Parse(args)
	switch {
	case helped:
		return finished
	case err != nil:
		fmt.Fprintf(t.err, "carekeep: %v; --help explains\n", err)
		return misused
	}
	if err := command.Run(); err != nil {
		fmt.Fprintf(t.err, "carekeep: %v\n", err)
		return failed
	}
	return finished
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, &terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(status)
}
