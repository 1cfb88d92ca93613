// Command bench measures what carekeep's safeguards cost: each figure stands
// beside its baseline, measured in the same run on the same machine, as a ratio.
// It starts its own stack, with real parts and fsync on, and leaves nothing behind.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// options of a run. The defaults are the ones whose results stand in ARCHITECTURE.md.
type options struct {
	Clients  int           `default:"32" help:"Clients that send requests at the same time."`
	Length   time.Duration `default:"5s" help:"How long each run of a contest takes."`
	Rounds   int           `default:"3" help:"Runs of each side, in turns; the median counts."`
	Patients int           `default:"2000" help:"Patients imported before the contests."`
	Only     string        `help:"Only the measurements whose name holds this: imports, reads, everything, resealing, writes, perField, rest, curve. Imports always run, the others need them."`
	Programs string        `type:"path" help:"Folder of the programs, such as one built with symbols for a profiler."`
	Beside   int           `help:"Resources of other practices stored beside the curve's last point before its read is measured again; 10000000 take 25 GB and some minutes."`
	Curve    []int         `default:"1000,10000,100000,1000000" help:"Resources stored at the points of the lookup curve; empty for none."`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "baseline" {
		exit(serveBaseline())
		return
	}
	var commands struct {
		Figures  options     `cmd:"" default:"withargs" help:"Measure the figures of the records service; what runs without a command."`
		Sessions endpoints   `cmd:"" help:"Time any HTTP endpoints that check a session, side by side."`
		Fhir     fhirServers `cmd:"" help:"Time reads, searches and imports of any FHIR R4 servers, side by side."`
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cli := kong.Parse(&commands, kong.Description("Measures carekeep beside its baselines."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	exit(cli.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// Run performs every measurement in order. The curve comes last: it fills the database.
func (opts *options) Run(ctx context.Context) error {
	b, err := prepare(ctx, *opts)
	if err != nil {
		return err
	}
	defer b.close()
	header(os.Stdout)
	for _, m := range []struct {
		name    string
		measure func(context.Context) error
	}{{"imports", b.imports}, {"reads", b.reads}, {"everything", b.everything}, {"resealing", b.resealing}, {"writes", b.writes}, {"perField", b.perField}, {"rest", b.rest}, {"curve", b.curve}} {
		if m.name != "imports" && !strings.Contains(m.name, opts.Only) {
			continue
		}
		if err := m.measure(ctx); err != nil {
			return err
		}
	}
	return nil
}
