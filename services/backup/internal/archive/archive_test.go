package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/backup/internal/blob"
	"github.com/carekeep/carekeep/services/backup/internal/seal"
)

const digest = "SELECT count(*) || ' ' || md5(string_agg(id || ':' || body, ',' ORDER BY id)) FROM "

func TestDH14_ARestoredClusterHoldsTheSameRows(t *testing.T) {
	b := setup(t)
	place := openFolder(t)
	give(t, b.pg, place)
	run(t, b.pg, "postgres", "CREATE TABLESPACE far LOCATION '"+place+"'")
	database := b.pg.Database(t, "records")
	run(t, b.pg, database,
		"CREATE TABLE near_rows AS SELECT i AS id, md5(i::text) AS body FROM generate_series(1, 200000) i",
		"CREATE TABLE far_rows (id, body) TABLESPACE far AS SELECT i, md5((i * 7)::text) FROM generate_series(1, 50000) i")
	t.Cleanup(func() {
		run(t, b.pg, database, "DROP TABLE far_rows")
		run(t, b.pg, "postgres", "DROP TABLESPACE far")
	})

	made := b.create(t)
	require.Len(t, made.Spaces, 2)
	run(t, b.pg, database, "DELETE FROM near_rows") // what comes later is not in it
	listed, err := b.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []*Backup{made}, listed)
	got, err := b.Get(t.Context(), made.ID)
	require.NoError(t, err)
	require.Equal(t, made, got)
	require.Greater(t, made.SourceBytes, made.StoredBytes)

	dir := openFolder(t)
	to := filepath.Join(dir, "data")
	var last Progress
	_, err = b.Restore(t.Context(), made.ID, to, b.restore, func(p Progress) { last = p })
	require.NoError(t, err)
	require.Equal(t, made.Files, last.Files)
	info, err := os.Stat(to)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	moved, err := os.ReadFile(filepath.Join(to, "tablespace_map"))
	require.NoError(t, err)
	require.Contains(t, string(moved), to+"-tablespaces/")
	require.NotContains(t, string(moved), place)
	give(t, b.pg, dir)

	// PostgreSQL's own tool agrees, log included; the map is ours and its links come with the first start.
	out, err := tool(b, "pg_verifybackup", "-i", "tablespace_map", "-i", "pg_tblspc", to)
	require.NoError(t, err, out)
	again, err := postgres.Start(context.Background(), postgres.Options{Dir: dir, CA: b.pg.CA(), NoSync: true})
	require.NoError(t, err)
	t.Cleanup(again.Stop)
	require.Equal(t, "200000 "+md5Of(t, again, "i", 200000), query(t, again, database, digest+"near_rows"))
	require.Equal(t, "50000 "+md5Of(t, again, "i * 7", 50000), query(t, again, database, digest+"far_rows"))
	require.Contains(t, query(t, again, "postgres", "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'far'"), dir)
	run(t, again, database, "DROP TABLE far_rows") // the first cluster's files stay
	require.NotEqual(t, "0", query(t, b.pg, database, "SELECT count(*)::text FROM far_rows"))
}

func tool(b *bench, name string, args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(b.pg.Binaries(), name), args...).CombinedOutput()
	return string(out), err
}

func md5Of(t *testing.T, pg *postgres.Server, value string, n int) string {
	return query(t, pg, "postgres", fmt.Sprintf("SELECT md5(string_agg(i || ':' || md5((%s)::text), ',' ORDER BY i)) FROM generate_series(1, %d) i", value, n))
}

func TestDH03_DC02_BackupHoldsNoPlaintext(t *testing.T) {
	b := setup(t)
	database := b.pg.Database(t, "records")
	const canary = "CANARY-Ottilie-Fairweather-1931"
	run(t, b.pg, database,
		"CREATE TABLE canary_table AS SELECT '"+canary+"'::text AS body FROM generate_series(1, 1000)",
		"ALTER TABLE canary_table ALTER body SET STORAGE EXTERNAL", "CHECKPOINT")
	found := false
	require.NoError(t, filepath.WalkDir(data(t, b.pg), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !found {
			raw, _ := os.ReadFile(path)
			found = bytes.Contains(raw, []byte(canary))
		}
		return nil
	}))
	require.True(t, found, "the canary lies plain in the data directory, so the test can fail")

	made := b.create(t)
	for _, key := range b.keys(t, made) {
		raw := b.object(t, key)
		for _, text := range []string{canary, "Fairweather", "canary_table", "pg_control", "ustar"} {
			require.NotContains(t, string(raw), text, key)
		}
		require.NotContains(t, string(raw), "\x28\xb5\x2f\xfd", "a zstd frame that is not encrypted: %s", key)
	}
}

func TestDH14_DTD17_ABackupWithoutTheRightIsUnreadable(t *testing.T) {
	b := setup(t)
	made := b.create(t)
	to := filepath.Join(t.TempDir(), "data")
	_, err := b.Restore(t.Context(), made.ID, to, b.backup, func(Progress) {})
	require.Equal(t, errs.KindPrecondition, errs.KindOf(err))
	require.Equal(t, "RESTORE_NOT_ALLOWED", errs.ReasonOf(err))
	require.ErrorContains(t, err, "transit/decrypt/backup")
	require.NoDirExists(t, to)
}

func TestDH17_OneChangedByteOfAnyObjectFailsTheRestoreAndNamesIt(t *testing.T) {
	b := setup(t)
	made := b.create(t)
	keys := b.keys(t, made)
	require.Greater(t, len(keys), 4)
	for i, key := range keys { // every byte of one object is tried in the package seal
		raw := b.object(t, key)
		at := []int{0, len(raw) / 2, len(raw) - 2}[i%3]
		raw[at] ^= 1
		b.overwrite(t, key, raw)
		b.requireBroken(t, made, key, fmt.Sprintf("byte %d of %d", at, len(raw)))
		raw[at] ^= 1
		b.overwrite(t, key, raw)
	}
	commit := made.prefix() + commitName
	raw := b.object(t, commit)
	// What reads well and harms nothing is refused too: only the HMAC tells.
	b.overwrite(t, commit, bytes.Replace(raw, []byte(`"postgres_version":15`), []byte(`"postgres_version":16`), 1))
	b.requireBroken(t, made, commit, "another version")
	b.overwrite(t, commit, raw)
	part := made.Spaces[0].Parts[1].Key
	raw = b.object(t, part)
	require.NoError(t, os.Remove(filepath.Join(b.dir, part)))
	b.requireBroken(t, made, part, "missing")
	b.overwrite(t, part, raw[:len(raw)-1])
	b.requireBroken(t, made, part, "cut")
	b.overwrite(t, part, raw)
	require.NoError(t, b.restoreTo(made, filepath.Join(t.TempDir(), "data")), "all bytes are back")
}

func (b *bench) requireBroken(t *testing.T, made *Backup, key, what string) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	err := b.restoreTo(made, to)
	require.Equal(t, errs.KindDataLoss, errs.KindOf(err), "%s %s: %v", key, what, err)
	require.ErrorContains(t, err, key, what)
	require.NoDirExists(t, to, "a failed restore leaves nothing that could be taken for one")
}

func TestDH17_PartsDoNotOpenInEachOthersPlace(t *testing.T) {
	b := setup(t)
	first, second := b.create(t), b.create(t)
	parts := first.Spaces[0].Parts
	swap := func(x, y string) {
		a, c := b.object(t, x), b.object(t, y)
		b.overwrite(t, x, c)
		b.overwrite(t, y, a)
	}
	swap(parts[0].Key, parts[1].Key)
	b.requireBroken(t, first, first.prefix()+"base.part000", "parts of one backup swapped")
	swap(parts[0].Key, parts[1].Key)

	other := strings.Replace(parts[1].Key, first.ID.String(), second.ID.String(), 1)
	swap(parts[1].Key, other)
	b.requireBroken(t, first, parts[1].Key, "the same part of two backups swapped")
	swap(parts[1].Key, other)

	commit := first.prefix() + commitName
	swap(commit, second.prefix()+commitName)
	b.requireBroken(t, first, commit, "COMMITs swapped")
}

func TestACommitCannotBeForged(t *testing.T) {
	key, err := seal.NewKey(bytes.Repeat([]byte{1}, 32), "vault:v1:x")
	require.NoError(t, err)
	made := &Backup{ID: uuid.New(), System: "73", Epoch: 1, Wrapped: "vault:v1:x", Spaces: []Space{{Parts: []Object{{Key: "k", Size: 1}}}}}
	good, err := encodeCommit(made, key)
	require.NoError(t, err)
	read, check, err := decodeCommit(good)
	require.NoError(t, err)
	require.NoError(t, check(key))
	require.Equal(t, made, read)
	rapid.Check(t, func(t *rapid.T) {
		bad := bytes.Clone(good)
		i := rapid.IntRange(0, len(bad)-1).Draw(t, "byte")
		bad[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "mask"))
		if got, check, err := decodeCommit(bad); err == nil && check(key) == nil {
			require.Equal(t, made, got, "only the spelling of the HMAC may differ")
		}
	})
	another, err := seal.NewKey(bytes.Repeat([]byte{2}, 32), "vault:v1:x")
	require.NoError(t, err)
	require.ErrorIs(t, check(another), seal.ErrBroken)
}

func FuzzDecodeCommit(f *testing.F) {
	key, err := seal.NewKey(bytes.Repeat([]byte{1}, 32), "w")
	require.NoError(f, err)
	good, err := encodeCommit(&Backup{System: "1"}, key)
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(commitHead))
	f.Add([]byte(commitHead + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, check, err := decodeCommit(raw); err == nil {
			_ = check(key)
		}
	})
}

func TestARestoreOverwritesNothing(t *testing.T) {
	b := setup(t)
	made := b.create(t)
	for _, name := range []string{"data", "data-tablespaces"} {
		dir := t.TempDir()
		file := filepath.Join(dir, name, "precious")
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
		err := b.restoreTo(made, filepath.Join(dir, "data"))
		require.Equal(t, "RESTORE_TARGET_NOT_EMPTY", errs.ReasonOf(err), name)
		require.FileExists(t, file)
	}
	empty := t.TempDir()
	require.NoError(t, b.restoreTo(made, empty))
	require.FileExists(t, filepath.Join(empty, control))
	_, err := b.Restore(t.Context(), uuid.New(), filepath.Join(t.TempDir(), "x"), b.restore, func(Progress) {})
	require.Equal(t, errs.KindNotFound, errs.KindOf(err))
}

func TestARestoreThatIsCancelledLeavesNothing(t *testing.T) {
	b := setup(t)
	made := b.create(t)
	ctx, cancel := context.WithCancel(t.Context())
	to := filepath.Join(t.TempDir(), "data")
	_, err := b.Restore(ctx, made.ID, to, b.restore, func(Progress) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.NoDirExists(t, to)
}

// failing is a store that breaks at one object.
type failing struct {
	blob.Store
	at  string
	err error
}

func (f failing) Put(ctx context.Context, key string, write func(io.Writer) error) error {
	if strings.HasSuffix(key, f.at) {
		return f.err
	}
	return f.Store.Put(ctx, key, write)
}

func TestABackupFailsWhereItsStorageFails(t *testing.T) {
	b := setup(t)
	full := errors.New("disk full")
	for _, at := range []string{"base.part0000", "base.part0002", "manifest", commitName} {
		broken := *b.Archive
		broken.Store = failing{b.Store, at, full}
		_, err := broken.Create(t.Context(), b.primary, b.backup, func(int64) {})
		require.ErrorIs(t, err, full, at)
		require.Equal(t, "STORAGE_UNAVAILABLE", errs.ReasonOf(err), at)
	}
	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}
