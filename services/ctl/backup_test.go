package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func someBackup() *backupv1.Backup {
	return &backupv1.Backup{
		Name: "backups/" + someID, StartTime: timestamppb.New(epoch), EndTime: timestamppb.New(epoch.Add(1500 * time.Millisecond)),
		SourceBytes: 31_400_000, StoredBytes: 4_200_000, FileCount: 960, StartLsn: "0/3000028", StopLsn: "0/30001A0",
	}
}

func TestBackupCreateNamesTheBackup(t *testing.T) {
	g := signedIn(t)
	g.on(t, "POST /v1/backups", func(w http.ResponseWriter, r *http.Request) {
		if take(t, r, &backupv1.CreateBackupRequest{}) {
			results(w, nil, &backupv1.CreateBackupResponse{SourceBytes: 1_000_000}, &backupv1.CreateBackupResponse{SourceBytes: 31_400_000, Backup: someBackup()})
		}
	})
	got := g.run(t, "", "backup", "create")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "backups/"+someID+"\n", got.out)
	require.Contains(t, got.err, "1.0 MB read")
	require.Contains(t, got.err, "960 files, 31.4 MB, stored as 4.2 MB, from 0/3000028 to 0/30001A0")
}

func TestBackupListShowsAllPages(t *testing.T) {
	g := signedIn(t)
	g.on(t, "GET /v1/backups", func(w http.ResponseWriter, r *http.Request) {
		page := &backupv1.ListBackupsResponse{Backups: []*backupv1.Backup{someBackup(), someBackup()}}
		if r.URL.Query().Get("pageToken") == "" {
			page.NextPageToken = "a token/+"
		} else if r.URL.Query().Get("pageToken") != "a token/+" {
			t.Error("another token came back")
		}
		answer(w, page)
	})
	got := g.run(t, "", "backup", "list")
	require.Zero(t, got.code, got.err)
	require.Equal(t, 5, strings.Count(got.out, "\n"))
	require.Contains(t, got.out, "backups/"+someID+"  2026-11-21 13:04:22  1.5s  960    31.4 MB  4.2 MB\n")
}

func TestBackupRestoreWaitsForTheEnd(t *testing.T) {
	g := signedIn(t)
	last := true
	g.on(t, "POST /v1/backups/"+someID+":restore", func(w http.ResponseWriter, r *http.Request) {
		var request backupv1.RestoreBackupRequest
		if !take(t, r, &request) {
			return
		}
		if request.GetTarget() != "drill" || request.GetName() != "" {
			t.Error("the target is in the body and the name in the path")
		}
		results(w, nil, &backupv1.RestoreBackupResponse{RestoredFiles: 12, RestoredBytes: 2_000_000},
			&backupv1.RestoreBackupResponse{RestoredFiles: 960, RestoredBytes: 31_400_000, Done: last})
	})
	got := g.run(t, "", "backup", "restore", "backups/"+someID, "--target", "drill")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "960 files, 31.4 MB, each checked against the manifest, are in drill")

	last = false
	got = g.run(t, "", "backup", "restore", someID, "--target", "drill")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "ended before the restore was finished")

	got = g.run(t, "", "backup", "restore", "../"+someID, "--target", "drill")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "is not like backups/")
}

func TestABackupThatFailsIsNoSuccess(t *testing.T) {
	g := signedIn(t)
	var broken error
	g.on(t, "POST /v1/backups", func(w http.ResponseWriter, _ *http.Request) {
		results(w, broken, &backupv1.CreateBackupResponse{SourceBytes: 1})
	})
	got := g.run(t, "", "backup", "create")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "ended before the backup was finished")
	broken = errs.New(errs.KindUnavailable, "STORAGE_FULL", "the storage is full")
	got = g.run(t, "", "backup", "create")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "the storage is full (STORAGE_FULL)")
	require.Empty(t, got.out)
}
