package devkit

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Build makes .bin/{program} from a package ("." or a path) of a module of the source tree that stands outside
// the workspace, where it is missing or older than that module's sources. Test binaries run side by side, so one builds and
// the others wait.
func Build(ctx context.Context, source, pkg, program string) (string, error) {
	folder := filepath.Join(Root(), ".bin")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(folder, program+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close() //nolint:errcheck // closing unlocks, nothing was written
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	source, binary := filepath.Join(Root(), source), filepath.Join(folder, program)
	changed, err := newest(source)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(binary); err == nil && info.ModTime().After(changed) {
		return binary, nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary+".new", pkg)
	cmd.Dir, cmd.Env = source, append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", source, err, out)
	}
	return binary, os.Rename(binary+".new", binary)
}

func newest(folder string) (time.Time, error) {
	var latest time.Time
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") ||
			!strings.HasSuffix(name, ".go") && name != "go.mod" && name != "go.sum" {
			return err
		}
		info, err := d.Info()
		if err == nil && info.ModTime().After(latest) {
			latest = info.ModTime()
		}
		return err
	})
	return latest, err
}
