package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

type export struct {
	configured
	Out string `required:"" help:"File to write, - for standard output. It holds every event in full: keep it like the log itself."`
}

// Run writes the log of the database that the configuration names. It needs neither
// broker nor transit, so it works on a restored cluster.
func (c *export) Run(ctx context.Context) error {
	settings, identity, _, err := c.open()
	if err != nil {
		return err
	}
	pool, err := pg.Open(ctx, settings.Database, identity)
	if err != nil {
		return err
	}
	defer pool.Close()
	begin := time.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(ledger.Settle):
	}
	if c.Out == "-" {
		return write(ctx, pool, settings.LogName, begin, os.Stdout)
	}
	file, err := os.OpenFile(c.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return errors.Join(write(ctx, pool, settings.LogName, begin, file), file.Sync(), file.Close())
}

func write(ctx context.Context, pool *pgxpool.Pool, log string, begin time.Time, to io.Writer) error {
	w, err := ledger.NewWriter(to, log, ledger.ScopeFull, begin)
	if err != nil {
		return err
	}
	if err := store.New(pool).ExportAll(ctx, w); err != nil {
		return err
	}
	return w.Close()
}
