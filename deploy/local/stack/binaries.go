package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/carekeep/carekeep/libs/devkit"
)

// programs are the binaries that a stack runs, with the source folder of each.
// carekeep-transit has a module of its own; devkit/transit builds it.
var programs = []struct{ name, source string }{
	{"auth", "services/auth"}, {"records", "services/records"}, {"audit", "services/audit"}, {"backup", "services/backup"},
	{"gateway", "services/gateway"}, {"carekeep", "services/ctl"}, {"carekeep-local", "deploy/local"},
}

// build makes the programs that are missing in folder or older than their
// sources. Several stacks may start at once: one builds, the others wait.
func build(ctx context.Context, folder string, say func(string, ...any)) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(folder, "stack.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	defer lock.Close() //nolint:errcheck // closing unlocks, nothing was written
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	shared, err := newest("go.work", "gen", "libs")
	if err != nil {
		return err
	}
	for _, p := range programs {
		changed, err := newest(p.source)
		if err != nil {
			return err
		}
		info, err := os.Stat(filepath.Join(folder, p.name))
		if err == nil && info.ModTime().After(changed) && info.ModTime().After(shared) {
			continue
		}
		say("%-16s is being built", p.name)
		if err := compile(ctx, p.source, filepath.Join(folder, p.name)); err != nil {
			return err
		}
	}
	return nil
}

func compile(ctx context.Context, source, binary string) error {
	// The flags are the Makefile's, so that both find the other's build cache.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./"+source)
	cmd.Dir = devkit.Root()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", source, err, out.String())
	}
	// go leaves a binary that is up to date as it is; its time says when that was found.
	now := time.Now()
	if err := os.Chtimes(binary, now, now); err != nil {
		return fmt.Errorf("build %s: %w", source, err)
	}
	return nil
}

// newest is when a file below one of the paths was last changed. Tests and
// modules of their own do not count.
func newest(paths ...string) (time.Time, error) {
	var latest time.Time
	for _, path := range paths {
		top := filepath.Join(devkit.Root(), path)
		err := filepath.WalkDir(top, func(at string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && at != top && (d.Name() == "testdata" || at == filepath.Join(devkit.Root(), "deploy/local/transit")) {
				return fs.SkipDir
			}
			if d.IsDir() || strings.HasSuffix(d.Name(), "_test.go") || strings.HasSuffix(d.Name(), ".md") {
				return nil
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // an editor's temporary file
			}
			if err == nil && info.ModTime().After(latest) {
				latest = info.ModTime()
			}
			return err
		})
		if err != nil {
			return time.Time{}, fmt.Errorf("build: look at %s: %w", path, err)
		}
	}
	return latest, nil
}
