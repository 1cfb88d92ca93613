// Command carekeep is the command line: it signs in at a gateway, imports patients,
// reads and exports the audit log, verifies an export without any server, looks after
// a practice's keys and the end of its records, leads through incidents, and drives backups. It has no way
// around the gateway, but for who verifies the log in the audit database, under a role that can only read it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

type commands struct {
	SignIn  signIn        `cmd:"" help:"Open a session at a gateway; the other commands use it."`
	SignOut signOut       `cmd:"" help:"End the session."`
	Import  importFiles   `cmd:"" help:"Import FHIR bundles."`
	Audit   audit         `cmd:"" help:"Read, export and verify the log of every access."`
	Keys    keyCommands   `cmd:"" help:"Rotate, rewrap and destroy the practice's keys, and scrub its store."`
	Index   indexCommands `cmd:"" help:"Rebuild the practice's search index, and measure what it gives away."`
	Backup  backup        `cmd:"" help:"Back up and restore the database cluster."`

	Incidents   incidentCommands `cmd:"" help:"Lead through security incidents, from detection to their review."`
	Contain     containCommands  `cmd:"" help:"Cut off an account, an address, a practice or a service."`
	Release     releaseCommands  `cmd:"" help:"Let in again what was cut off."`
	Holds       holds            `cmd:"" help:"Keep records from being destroyed: legal holds."`
	Retention   retention        `cmd:"" help:"How long records are kept, and the purge of those whose time is over."`
	Erasures    erasures         `cmd:"" help:"Destroy a patient's records on request (GDPR Article 17)."`
	Exit        exit             `cmd:"" help:"Take the practice's records along, and destroy them here."`
	Certificate certificates     `cmd:"" help:"Verify certificates of destruction."`
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
		kong.Vars{"cuttable": serviceNames}, kong.Bind(t), kong.BindTo(ctx, (*context.Context)(nil)),
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
	err = command.Run()
	switch {
	case err == nil:
		return finished
	case ctx.Err() != nil:
		fmt.Fprintln(t.err, "carekeep: interrupted")
	default:
		fmt.Fprintf(t.err, "carekeep: %v\n", err)
	}
	return failed
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	status := run(ctx, &terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr, now: time.Now}, os.Args[1:])
	stop()
	os.Exit(status)
}
