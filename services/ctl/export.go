package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type exportLog struct {
	kept
	filters
	Out     string `required:"" placeholder:"FILE" help:"File to write, - for standard output. It holds your practice's events in full: keep it like the log itself."`
	Format  string `default:"proof" enum:"proof,cef,ocsf,json,line" help:"What to write: the log with its proofs, for verify, or a line an entry for a SIEM: cef, ocsf, json or line."`
	FromSeq int64  `name:"from-seq" help:"The first entry of an export for a SIEM, as the export before said."`
}

// Run writes what the server streams. A file with proofs that is not finished is removed;
// lines are right also where there are not all of them.
func (c *exportLog) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	run := (&exporter{client: client, t: t, meter: t.meter()}).run
	if c.Format != "proof" {
		run = func(ctx context.Context, to io.Writer) error { return c.events(ctx, t, client, to) }
	} else if c.FromSeq != 0 || c.filters != (filters{}) {
		return errors.New("--from-seq and filters: proofs are of the whole log; use them with --format cef, ocsf, json or line")
	}
	if c.FromSeq < 0 {
		return errors.New("--from-seq: use 0 or more")
	}
	if c.Out == "-" {
		return run(ctx, t.out)
	}
	if c.Format == "proof" {
		return keep(c.Out, func(file io.Writer) error { return run(ctx, file) })
	}
	file, err := os.OpenFile(c.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return errors.Join(run(ctx, file), file.Sync(), file.Close())
}

// exporter writes the stream in the format of libs/ledger, which the audit
// service's own export has too: one verifier reads both.
type exporter struct {
	client *rest.Client
	t      *terminal
	meter  *meter
	out    *ledger.Writer
	// covered is the size of the newest checkpoint that was written.
	entries, whole, covered int64
}

func (x *exporter) run(ctx context.Context, to io.Writer) error {
	// The log's name stands in front of the export, and only a checkpoint tells it.
	var before auditv1.Checkpoint
	if err := x.client.Call(ctx, http.MethodGet, "/v1/audit/checkpoint", nil, &before); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	log, _, _ := strings.Cut(before.GetNote(), "\n")
	var err error
	if x.out, err = ledger.NewWriter(to, log, ledger.ScopePractice, x.t.now()); err != nil {
		return err
	}
	if err := rest.Stream(ctx, x.client, "/v1/audit:export", &auditv1.ExportRequest{}, x.item); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	x.meter.clear()
	// The stream says nothing at its end, so what it must reach says whether it was
	// all. Whatever else is wrong with it stays in the file, for the verifier to name.
	if x.covered < before.GetSize() {
		return fmt.Errorf("export: the answer ended early, with %d entries and a checkpoint of size %d: export again", x.entries, x.covered)
	}
	if err := x.out.Close(); err != nil {
		return err
	}
	x.t.note("%d entries, of which %d in full", x.entries, x.whole)
	return nil
}

func (x *exporter) item(m *auditv1.ExportResponse) error {
	switch item := m.GetItem().(type) {
	case *auditv1.ExportResponse_Entry:
		e := ledger.Entry{Seq: item.Entry.GetSeq(), Event: item.Entry.GetEventBytes(), Salt: item.Entry.GetSalt()}
		if copy(e.Leaf[:], item.Entry.GetLeafHash()) != len(e.Leaf) || len(item.Entry.GetLeafHash()) != len(e.Leaf) {
			return fmt.Errorf("entry %d has a leaf hash of %d bytes", e.Seq, len(item.Entry.GetLeafHash()))
		}
		x.entries++
		if e.Whole() {
			x.whole++
		}
		x.meter.show("%d entries", x.entries)
		return x.out.Entry(e)
	case *auditv1.ExportResponse_Checkpoint:
		size, err := sizeOf(item.Checkpoint)
		if err != nil {
			return err
		}
		x.covered = size
		return x.out.Checkpoint(item.Checkpoint)
	}
	return errors.New("an item is neither entry nor checkpoint: this carekeep may be older than the server")
}

// sizeOf reads a checkpoint without its signature, which is the verifier's business.
func sizeOf(signed string) (int64, error) {
	text, _, found := strings.Cut(signed, "\n\n")
	if !found {
		return 0, ledger.ErrCheckpoint
	}
	c, err := ledger.ParseCheckpoint(text + "\n")
	return c.Size, err
}
