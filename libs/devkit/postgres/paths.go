package postgres

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/carekeep/carekeep/libs/devkit"
)

// paths are the files of one cluster. The keys stay outside the data folder,
// so that a base backup does not carry them.
type paths struct {
	dir, data, tls, log string
}

// account is the unprivileged user that the server runs as.
type account struct {
	name     string
	uid, gid int
}

const throwaway = "carekeep-postgres-"

// findBinaries looks on PATH, then where Debian and Ubuntu put the server, newest
// first, then where deploy/local/install.sh unpacks it for users without rights.
func findBinaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(real), nil
		}
	}
	const installed = "usr/lib/postgresql/*/bin/initdb"
	found, _ := filepath.Glob("/" + installed)
	if len(found) == 0 {
		found, _ = filepath.Glob(filepath.Join(devkit.Root(), unpacked, installed))
	}
	if len(found) == 0 {
		return "", errors.New("no PostgreSQL server on this machine: install one, `apt-get install postgresql`, or put initdb on PATH")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) })
	return filepath.Dir(newest), nil
}

// unpacked is where install.sh puts the Debian packages it may not install.
const unpacked = ".tools/postgresql"

// libraries lets programs that were unpacked find the libraries unpacked beside them.
func libraries(binaries string) []string {
	top, _, found := strings.Cut(binaries, unpacked)
	if !found {
		return nil
	}
	folders, _ := filepath.Glob(filepath.Join(top, unpacked, "usr/lib/*-linux-gnu*"))
	return []string{"LD_LIBRARY_PATH=" + strings.Join(folders, ":")}
}

// unprivileged is who runs the server when we are root, which PostgreSQL refuses to be.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.Atoi(u.Uid)
		gid, errG := strconv.Atoi(u.Gid)
		if errU == nil && errG == nil && uid != 0 {
			return &account{name, uid, gid}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody to run it as")
}

// layout makes the folders and hands the server's own over to its user.
func layout(dir string, as *account, log *slog.Logger) (paths, error) {
	var err error
	if dir == "" {
		dir, err = throwawayDir()
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o755) //nolint:gosec // the server's own user passes through; what is in it is 0700
	}
	if err != nil {
		return paths{}, err
	}
	home := dir
	if as != nil {
		if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // as above
			return paths{}, err
		}
		if closed := openTemporary(dir, as); closed != "" {
			// Only root gets here, so nobody else can have put something in this place.
			home = elsewhere(dir)
			log.Warn("the server's user cannot enter a parent folder; its data goes elsewhere",
				"user", as.name, "closed", closed, "data", home)
			if err := os.MkdirAll(home, 0o711); err != nil { //nolint:gosec // as above
				return paths{}, fmt.Errorf("user %s cannot enter %s (chmod o+x it, or choose another folder): %w", as.name, closed, err)
			}
		}
	}
	p := paths{dir: dir, data: filepath.Join(home, "data"), tls: filepath.Join(home, "tls"), log: filepath.Join(home, "log", "postgres.log")}
	for _, own := range []string{p.data, p.tls, filepath.Dir(p.log)} {
		if err := os.MkdirAll(own, 0o700); err != nil {
			return paths{}, err
		}
		if err := as.own(own); err != nil {
			return paths{}, err
		}
	}
	return p, nil
}

// firstClosed is the outermost folder on the way to dir that the user may not pass.
func firstClosed(dir string, as *account) string {
	parts := strings.Split(strings.Trim(dir, "/"), "/")
	for at, i := "/", 0; i < len(parts); i++ {
		at = filepath.Join(at, parts[i])
		info, err := os.Stat(at)
		if err != nil {
			return at
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		owned := ok && int(stat.Uid) == as.uid && info.Mode()&0o100 != 0
		grouped := ok && int(stat.Gid) == as.gid && info.Mode()&0o010 != 0
		if info.Mode()&0o001 == 0 && !owned && !grouped {
			return at
		}
	}
	return ""
}

// openTemporary lets the user pass through folders below the system's temporary
// one, such as a test's own, and returns the first that stays closed to it.
func openTemporary(dir string, as *account) string {
	for {
		closed := firstClosed(dir, as)
		if !strings.HasPrefix(closed, filepath.Clean(os.TempDir())+"/") {
			return closed
		}
		if err := os.Chmod(closed, 0o711); err != nil { //nolint:gosec // pass through, not read
			return closed
		}
	}
}

func elsewhere(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join("/var/lib/carekeep-dev", "postgres-"+hex.EncodeToString(sum[:6]))
}

// throwawayDir makes a folder that carries our process id, and removes those
// of processes that ended without a chance to do it themselves.
func throwawayDir() (string, error) {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), throwaway+"*"))
	for _, dir := range old {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), throwaway), "-")
		pid, err := strconv.Atoi(text)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir)
		}
	}
	return os.MkdirTemp("", throwaway+strconv.Itoa(os.Getpid())+"-*")
}

// own hands a file to the server's user.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// install writes a file for the server: no one else needs to read any of them.
func (s *Server) install(path string, content []byte) error {
	part := path + ".part"
	if err := os.WriteFile(part, content, 0o600); err != nil { //nolint:gosec // a path of our own making
		return err
	}
	if err := s.user.own(part); err != nil {
		return err
	}
	return os.Rename(part, path)
}

func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
