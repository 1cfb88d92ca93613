package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type backup struct {
	Create  createBackup  `cmd:"" help:"Take an encrypted base backup of the database cluster."`
	List    listBackups   `cmd:"" help:"List backups, newest first."`
	Restore restoreBackup `cmd:"" help:"Restore a backup into a new folder on the backup service's machine; no running cluster is touched."`
}

type createBackup struct{ kept }

// Run prints the backup's name alone on standard output.
func (c *createBackup) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	m := t.meter()
	var made *backupv1.Backup
	err = rest.Stream(ctx, client, "/v1/backups", &backupv1.CreateBackupRequest{}, func(r *backupv1.CreateBackupResponse) error {
		m.show("%s read", megabytes(r.GetSourceBytes()))
		if r.GetBackup() != nil {
			made = r.GetBackup()
		}
		return nil
	})
	m.clear()
	if err == nil && made == nil {
		err = errors.New("the answer ended before the backup was finished; see whether backup list has it")
	}
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	t.note("%d files, %s, stored as %s, from %s to %s", made.GetFileCount(), megabytes(made.GetSourceBytes()),
		megabytes(made.GetStoredBytes()), made.GetStartLsn(), made.GetStopLsn())
	fmt.Fprintln(t.out, made.GetName())
	return nil
}

type listBackups struct{ kept }

// Run prints all pages as one table.
func (c *listBackups) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSTARTED (UTC)\tTOOK\tFILES\tSIZE\tSTORED")
	for token := ""; ; {
		var page backupv1.ListBackupsResponse
		if err := client.Call(ctx, http.MethodGet, "/v1/backups?"+url.Values{"pageToken": {token}}.Encode(), nil, &page); err != nil {
			return fmt.Errorf("list backups: %w", err)
		}
		for _, b := range page.GetBackups() {
			start, end := b.GetStartTime().AsTime(), b.GetEndTime().AsTime()
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\n", b.GetName(), start.Format(time.DateTime), end.Sub(start).Round(time.Millisecond),
				b.GetFileCount(), megabytes(b.GetSourceBytes()), megabytes(b.GetStoredBytes()))
		}
		if token = page.GetNextPageToken(); token == "" {
			return table.Flush()
		}
	}
}

type restoreBackup struct {
	kept
	Name   string `arg:"" help:"The backup, as backup list shows it."`
	Target string `required:"" placeholder:"FOLDER" help:"Name of the folder to make below the configured restore root: a-z, 0-9 and -."`
}

// Run restores and waits until every file is checked.
func (c *restoreBackup) Run(ctx context.Context, t *terminal) error {
	id, err := idOf("backups", c.Name)
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	m := t.meter()
	var last backupv1.RestoreBackupResponse
	err = rest.Stream(ctx, client, "/v1/backups/"+id+":restore", &backupv1.RestoreBackupRequest{Target: c.Target}, func(r *backupv1.RestoreBackupResponse) error {
		m.show("%d files, %s restored", r.GetRestoredFiles(), megabytes(r.GetRestoredBytes()))
		last.RestoredFiles, last.RestoredBytes, last.Done = r.GetRestoredFiles(), r.GetRestoredBytes(), r.GetDone()
		return nil
	})
	m.clear()
	if err == nil && !last.GetDone() {
		err = errors.New("the answer ended before the restore was finished; restore again, into another folder")
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	t.note("%d files, %s, each checked against the manifest, are in %s below the restore root", last.GetRestoredFiles(), megabytes(last.GetRestoredBytes()), c.Target)
	return nil
}
