package app_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/backup/internal/app"
)

const (
	mayCreate  = accessv1.Permission_PERMISSION_BACKUPS_CREATE
	mayRead    = accessv1.Permission_PERMISSION_BACKUPS_READ
	mayList    = accessv1.Permission_PERMISSION_BACKUPS_LIST
	mayRestore = accessv1.Permission_PERMISSION_BACKUPS_RESTORE
	aal1       = accessv1.Assurance_ASSURANCE_AAL1
	aal2       = accessv1.Assurance_ASSURANCE_AAL2
)

func create(h *house, c backupv1.BackupServiceClient) *backupv1.Backup {
	all, err := drain(c.CreateBackup(h.as(aal2, mayCreate), &backupv1.CreateBackupRequest{}))
	require.ErrorIs(h.t, err, io.EOF)
	b := all[len(all)-1].GetBackup()
	require.NotEmpty(h.t, b.GetName())
	return b
}

func TestDH14_DTD17_BackupsAreMadeListedAndRestoredOverTheAPI(t *testing.T) {
	h := newHouse(t, true).serve()
	c := h.client("ctl")
	first, second := create(h, c), create(h, c)

	got, err := c.GetBackup(h.as(aal2, mayRead), &backupv1.GetBackupRequest{Name: first.GetName()})
	require.NoError(t, err)
	require.Equal(t, first.String(), got.String())
	require.Positive(t, got.GetFileCount())
	require.EqualValues(t, 15, got.GetPostgresVersion())

	page, err := c.ListBackups(h.as(aal2, mayList), &backupv1.ListBackupsRequest{PageSize: 1})
	require.NoError(t, err)
	require.Equal(t, []string{second.GetName()}, names(page), "newest first")
	rest, err := c.ListBackups(h.as(aal2, mayList), &backupv1.ListBackupsRequest{PageToken: page.GetNextPageToken()})
	require.NoError(t, err)
	require.Equal(t, []string{first.GetName()}, names(rest))
	require.Empty(t, rest.GetNextPageToken())

	all, err := drain(c.RestoreBackup(h.as(aal2, mayRestore), &backupv1.RestoreBackupRequest{Name: first.GetName(), Target: "drill"}))
	require.ErrorIs(t, err, io.EOF)
	last := all[len(all)-1]
	require.True(t, last.GetDone())
	require.Equal(t, first.GetFileCount(), last.GetRestoredFiles())
	require.FileExists(t, filepath.Join(h.dir, "restored", "drill", "PG_VERSION"))
	_, err = drain(c.RestoreBackup(h.as(aal2, mayRestore), &backupv1.RestoreBackupRequest{Name: first.GetName(), Target: "drill"}))
	require.Equal(t, "RESTORE_TARGET_NOT_EMPTY", errs.ReasonOf(err))

	want := []string{
		"ACTION_BACKUP OK " + first.GetName(), "ACTION_BACKUP OK " + second.GetName(), "ACTION_READ OK " + first.GetName(),
		"ACTION_LIST OK ", "ACTION_LIST OK ", "ACTION_RESTORE OK " + first.GetName(),
		"ACTION_RESTORE OK " + first.GetName(), "ACTION_RESTORE FAILED ",
	}
	require.Equal(t, want, recorded(h), "each RPC is recorded, a restore before it opens anything")
}

func names(page *backupv1.ListBackupsResponse) (names []string) {
	for _, b := range page.GetBackups() {
		names = append(names, b.GetName())
	}
	return names
}

func recorded(h *house) (lines []string) {
	for _, e := range h.events() {
		outcome := strings.TrimPrefix(e.GetOutcome().String(), "OUTCOME_")
		lines = append(lines, e.GetAction().String()+" "+outcome+" "+e.GetResource())
	}
	return lines
}

func TestDH14_DTD17_BackupsTakeAPermissionTwoFactorsAndTheRightService(t *testing.T) {
	h := newHouse(t, true).serve()
	ctl := h.client("ctl")
	name := "backups/" + uuid.NewString()
	calls := map[accessv1.Permission]func(context.Context, backupv1.BackupServiceClient) error{
		mayCreate: func(ctx context.Context, c backupv1.BackupServiceClient) error {
			_, err := drain(c.CreateBackup(ctx, &backupv1.CreateBackupRequest{}))
			return err
		},
		mayRead: func(ctx context.Context, c backupv1.BackupServiceClient) error {
			_, err := c.GetBackup(ctx, &backupv1.GetBackupRequest{Name: name})
			return err
		},
		mayList: func(ctx context.Context, c backupv1.BackupServiceClient) error {
			_, err := c.ListBackups(ctx, &backupv1.ListBackupsRequest{})
			return err
		},
		mayRestore: func(ctx context.Context, c backupv1.BackupServiceClient) error {
			_, err := drain(c.RestoreBackup(ctx, &backupv1.RestoreBackupRequest{Name: name, Target: "x"}))
			return err
		},
	}
	var others []accessv1.Permission
	for number := range accessv1.Permission_name {
		if p := accessv1.Permission(number); p != 0 {
			others = append(others, p)
		}
	}
	for needed, call := range calls {
		var lacking []accessv1.Permission
		for _, p := range others {
			if p != needed {
				lacking = append(lacking, p)
			}
		}
		require.Equal(t, errs.KindDenied, errs.KindOf(call(h.as(aal2, lacking...), ctl)), needed)
		require.Equal(t, errs.KindDenied, errs.KindOf(call(h.as(aal1, needed), ctl)), needed)
		require.Equal(t, errs.KindUnauthenticated, errs.KindOf(call(t.Context(), ctl)), needed)
		require.Equal(t, errs.KindDenied, errs.KindOf(call(h.as(aal2, needed), h.client("records"))), needed)
	}
	for _, e := range h.events() {
		require.NotEqual(t, auditv1.Outcome_OUTCOME_OK, e.GetOutcome())
	}
	require.Len(t, h.events(), 4*len(calls), "every refusal is recorded")
	require.NoDirExists(t, filepath.Join(h.dir, "restored"))
}

func TestRequestsThatMakeNoSenseSayWhatToChange(t *testing.T) {
	h := newHouse(t, true).serve()
	c := h.client("ctl")
	missing := "backups/" + uuid.NewString()
	for _, target := range []string{"", "..", "a/b", "../x", "/etc", "A", "-x", strings.Repeat("a", 64)} {
		_, err := drain(c.RestoreBackup(h.as(aal2, mayRestore), &backupv1.RestoreBackupRequest{Name: missing, Target: target}))
		require.Equal(t, errs.KindInvalid, errs.KindOf(err), target)
	}
	for _, name := range []string{"", "x", "backups/x", missing + "/x", "backups/------------------------------------"} {
		_, err := c.GetBackup(h.as(aal2, mayRead), &backupv1.GetBackupRequest{Name: name})
		require.Equal(t, errs.KindInvalid, errs.KindOf(err), name)
	}
	_, err := c.GetBackup(h.as(aal2, mayRead), &backupv1.GetBackupRequest{Name: missing})
	require.Equal(t, errs.KindNotFound, errs.KindOf(err))
	_, err = c.ListBackups(h.as(aal2, mayList), &backupv1.ListBackupsRequest{PageToken: "x"})
	require.Equal(t, "PAGE_TOKEN_INVALID", errs.ReasonOf(err))
}

func TestWithoutARestoreIdentityRestoresAreRefused(t *testing.T) {
	h := newHouse(t, false).serve()
	_, err := drain(h.client("ctl").RestoreBackup(h.as(aal2, mayRestore),
		&backupv1.RestoreBackupRequest{Name: "backups/" + uuid.NewString(), Target: "x"}))
	require.Equal(t, errs.KindPrecondition, errs.KindOf(err))
	require.Equal(t, "RESTORE_DISABLED", errs.ReasonOf(err))
	err = app.RestoreTo(t.Context(), h.settings(), slog.New(slog.DiscardHandler), uuid.NewString(), h.dir+"/x", io.Discard)
	require.Equal(t, "RESTORE_DISABLED", errs.ReasonOf(err))
}

func TestTheCommandLineListsAndRestoresWithoutTheService(t *testing.T) {
	h := newHouse(t, true)
	log := slog.New(slog.DiscardHandler)
	var made *backupv1.Backup
	t.Run("served", func(t *testing.T) {
		running := *h
		running.t = t
		made = create(&running, running.serve().client("ctl"))
	})
	id := strings.TrimPrefix(made.GetName(), "backups/")
	var out bytes.Buffer
	require.NoError(t, app.List(t.Context(), h.settings(), log, &out))
	require.Contains(t, out.String(), id)
	out.Reset()
	to := filepath.Join(h.dir, "by-hand")
	require.NoError(t, app.RestoreTo(t.Context(), h.settings(), log, id, to, &out))
	require.Contains(t, out.String(), "every object authenticated")
	require.FileExists(t, filepath.Join(to, "global", "pg_control"))
	require.ErrorContains(t, app.RestoreTo(t.Context(), h.settings(), log, "newest", to, &out), "`list` prints them")
}

func TestTheExampleConfigurationLoads(t *testing.T) {
	var s app.Settings
	require.NoError(t, config.Load("../../config/backup.example.yaml", &s))
	require.Equal(t, "backup-restore", s.Restore.Transit.Role)
	raw, err := os.ReadFile("../../config/backup.example.yaml")
	require.NoError(t, err)
	for _, required := range []string{"storage_dir: backups\n", "  root: restored\n", "  role: backup\n"} {
		file := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(raw), required, "", 1)), 0o600))
		require.Error(t, config.Load(file, new(app.Settings)), required)
	}
}
