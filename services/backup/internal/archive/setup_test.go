package archive

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit/postgres"
	devtransit "github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/backup/internal/blob"
	"github.com/carekeep/carekeep/services/backup/internal/replication"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childStore); dir != "" {
		child(dir)
		return
	}
	postgres.Main(m)
}

// bench is one store with backups of the shared server, and both identities.
type bench struct {
	*Archive
	dir             string
	pg              *postgres.Server
	primary         replication.Primary
	backup, restore *transit.Client
	vault           string // address of the transit engine
}

func setup(t testing.TB) *bench {
	pg := postgres.ForTest(t)
	keys := devtransit.ForTest(t, pg.CA())
	client := func(name string) *transit.Client {
		c, err := keys.Client(name)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	dir := filepath.Join(t.TempDir(), "store")
	store, err := blob.NewFolder(dir)
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	return &bench{
		Archive: &Archive{Store: store, Now: time.Now, Log: slog.New(slog.DiscardHandler), PartSize: 16 << 20},
		dir:     dir, pg: pg, primary: primaryOf(t, pg), backup: client("backup"), restore: client("backup-restore"), vault: keys.Address(),
	}
}

func primaryOf(t testing.TB, pg *postgres.Server) replication.Primary {
	source, err := pg.Source("backup")
	require.NoError(t, err)
	return replication.Primary{Config: replication.Config{Host: pg.Host(), Port: uint16(pg.Port())}, Source: source}
}

func (b *bench) create(t testing.TB) *Backup {
	made, err := b.Create(context.Background(), b.primary, b.backup, func(int64) {})
	require.NoError(t, err)
	return made
}

func (b *bench) restoreTo(id *Backup, to string) error {
	_, err := b.Restore(context.Background(), id.ID, to, b.restore, func(Progress) {})
	return err
}

// run runs statements as the superuser.
func run(t testing.TB, pg *postgres.Server, database string, statements ...string) {
	t.Helper()
	conn, err := pg.AdminConn(context.Background(), database)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for _, s := range statements {
		_, err := conn.Exec(context.Background(), s)
		require.NoError(t, err, s)
	}
}

func query(t testing.TB, pg *postgres.Server, database, statement string) (text string) {
	t.Helper()
	conn, err := pg.AdminConn(context.Background(), database)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	require.NoError(t, conn.QueryRow(context.Background(), statement).Scan(&text), statement)
	return text
}

// open makes a folder that the server's user may enter, and removes it in the end.
func openFolder(t testing.TB) string {
	dir, err := os.MkdirTemp("", "carekeep-backup-test-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// give hands files to the user that the server runs as.
func give(t testing.TB, pg *postgres.Server, dirs ...string) {
	info, err := os.Stat("/proc/" + strconv.Itoa(pg.Pid()))
	require.NoError(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	for _, dir := range dirs {
		require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			require.NoError(t, err)
			return os.Lchown(path, int(owner.Uid), int(owner.Gid))
		}))
	}
}

// data is the data directory of the shared server.
func data(t testing.TB, pg *postgres.Server) string {
	return query(t, pg, "postgres", "SHOW data_directory")
}

func (b *bench) object(t testing.TB, key string) []byte {
	r, err := b.Store.Get(context.Background(), key)
	require.NoError(t, err)
	defer r.Close()
	raw, err := io.ReadAll(r)
	require.NoError(t, err)
	return raw
}

func (b *bench) overwrite(t testing.TB, key string, raw []byte) {
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, key), raw, 0o600))
}

func (b *bench) keys(t testing.TB, id *Backup) []string {
	keys, err := b.Store.List(context.Background(), id.prefix())
	require.NoError(t, err)
	return keys
}

const childStore = "CAREKEEP_BACKUP_TEST_STORE"

// child is a process that is to be killed: it takes a backup and stops in the middle.
func child(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stdout, "child:", err)
			os.Exit(1)
		}
	}
	primary, keys, err := childParts()
	fail(err)
	store, err := blob.NewFolder(dir)
	fail(err)
	a := &Archive{Store: store, Now: time.Now, Log: slog.New(slog.DiscardHandler), PartSize: 4 << 20}
	_, err = a.Create(context.Background(), primary, keys, func(done int64) {
		if done > 12<<20 {
			fmt.Fprintln(os.Stdout, "half")
			select {}
		}
	})
	fail(err)
}
