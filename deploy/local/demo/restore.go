package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
)

// restore brings the backup back beside the running cluster, starts it, and
// verifies the log that is in it.
func (s *story) restore(ctx context.Context) (string, error) {
	target := "demo-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	files, size, err := s.restoreTo(ctx, target)
	if err != nil {
		return "", err
	}
	restored := filepath.Join(s.Place.Restores(), target)
	defer os.RemoveAll(restored) //nolint:errcheck // moved away by then, unless something failed
	home, err := os.MkdirTemp("", "carekeep-demo-restored-")
	if err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	defer os.RemoveAll(home) //nolint:errcheck // a temporary folder
	if err := settle(restored, filepath.Join(home, "data")); err != nil {
		return "", err
	}
	begun := time.Now()
	server, err := postgres.Start(ctx, postgres.Options{Dir: home, CA: s.Place.CA()})
	if err != nil {
		return "", fmt.Errorf("the restored cluster does not start: %w", err)
	}
	defer server.Stop()
	started := time.Since(begun)
	config, err := s.configFor(server.Port())
	if err != nil {
		return "", err
	}
	file, err := s.export(ctx, "restored", config)
	if err != nil {
		return "", err
	}
	report, err := s.verifier(ctx, file, s.kept)
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, report)
	}
	return fmt.Sprintf("%d files, %s; started in %s\n%s", files, amount(size), started.Round(time.Millisecond), report), nil
}

func (s *story) restoreTo(ctx context.Context, target string) (files, size int64, err error) {
	operator, err := s.as(ctx, seed.Superadmin)
	if err != nil {
		return 0, 0, err
	}
	done := false
	err = api.Stream(ctx, operator, "/v1/"+s.backup+":restore", &backupv1.RestoreBackupRequest{Target: target}, newOf[backupv1.RestoreBackupResponse],
		func(m *backupv1.RestoreBackupResponse) error {
			files, size, done = m.GetRestoredFiles(), m.GetRestoredBytes(), m.GetDone()
			return nil
		})
	if err == nil && !done {
		err = errors.New("the answer ended before the restore was finished")
	}
	return files, size, err
}

// settle moves a restored data directory to where the server's user can use it.
func settle(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		// The temporary folder is on another file system.
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	if err := os.Chmod(to, 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := databaseUser()
	if err != nil {
		return err
	}
	return filepath.WalkDir(to, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, gid))
	})
}

// databaseUser is who runs PostgreSQL where we are root; devkit chooses the same.
func databaseUser() (uid, gid int, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		if u, lookup := user.Lookup(name); lookup == nil {
			uid, errU := strconv.Atoi(u.Uid)
			gid, errG := strconv.Atoi(u.Gid)
			return uid, gid, errors.Join(errU, errG)
		}
	}
	return 0, 0, errors.New("restore: this machine has neither a user postgres nor nobody to run PostgreSQL as")
}

// configFor is audit's configuration with the port of another cluster.
func (s *story) configFor(port int) (string, error) {
	raw, err := os.ReadFile(s.Place.ConfigFile("audit"))
	if err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(raw, &config); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	database, ok := config["database"].(map[string]any)
	if !ok {
		return "", errors.New("restore: audit's configuration names no database")
	}
	database["port"] = port
	if raw, err = yaml.Marshal(config); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	file := filepath.Join(s.work, "restored.yaml")
	return file, os.WriteFile(file, raw, 0o600)
}
