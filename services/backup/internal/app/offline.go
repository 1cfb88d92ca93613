package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/backup/internal/archive"
)

// List prints the finished backups. It needs the storage and nothing else, so
// that it works on the day when nothing else does.
func List(ctx context.Context, s Settings, log *slog.Logger, out io.Writer) error {
	a := &App{log: log}
	defer a.close()
	backups, err := a.archive(s)
	if err != nil {
		return err
	}
	list, err := backups.List(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BACKUP\tSTARTED\tTOOK\tSOURCE MB\tSTORED MB\tFILES\tSYSTEM\tLOG")
	for _, b := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%.1f\t%.1f\t%d\t%s (PostgreSQL %d)\t%s..%s\n", b.ID, b.Start.Format(time.RFC3339),
			b.End.Sub(b.Start).Round(time.Second), float64(b.SourceBytes)/1e6, float64(b.StoredBytes)/1e6, b.Files,
			b.System, b.Postgres, b.StartLSN, b.StopLSN)
	}
	return table.Flush()
}

// RestoreTo restores a backup into any empty or new folder. It needs the storage and
// transit; the unwrapping of the backup's key is in transit's own audit log.
func RestoreTo(ctx context.Context, s Settings, log *slog.Logger, backup, to string, out io.Writer) error {
	id, err := uuid.Parse(backup)
	if err != nil {
		return fmt.Errorf("backup %q is not an id; `list` prints them", backup)
	}
	a := &App{log: log}
	defer a.close()
	backups, err := a.archive(s)
	if err != nil {
		return err
	}
	keys, err := a.restoreClient(s)
	if err != nil {
		return err
	}
	next := time.Now()
	b, err := backups.Restore(ctx, id, to, keys, func(p archive.Progress) {
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second)
			fmt.Fprintf(out, "%d files, %.1f MB\n", p.Files, float64(p.Bytes)/1e6)
		}
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "restored %d files to %s: every object authenticated, every file as in the manifest, all synced\n", b.Files, to)
	return err
}
