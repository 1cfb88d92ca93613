package archive

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkBackup measures a backup (compressed, encrypted, every file checked against
// the manifest, synced) against pg_basebackup (compressed by its client, not encrypted, not
// checked, synced) of the same half gigabyte in the same run, and the restore. The
// data is half hex digests, half text that compresses well.
func BenchmarkBackup(b *testing.B) {
	s := setup(b)
	s.PartSize = 0
	database := s.pg.Database(b, "records")
	run(b, s.pg, database, `CREATE TABLE rows AS SELECT i AS id, md5(i::text) || md5((i+1)::text) AS hard, repeat('visit note ', 8) AS easy
		FROM generate_series(1, 2000000) i`, "CHECKPOINT")
	certificate, err := s.pg.CA().Issue("backup")
	require.NoError(b, err)
	peer := func(dir string, more ...string) time.Duration {
		conninfo := fmt.Sprintf("host=%s port=%d user=backup_repl sslmode=verify-full sslcert='%s' sslkey='%s' sslrootcert='%s'",
			s.pg.Host(), s.pg.Port(), certificate.Certificate, certificate.Key, certificate.Authorities)
		args := append([]string{"-d", conninfo, "-D", dir, "-Ft", "-X", "fetch", "-c", "fast", "--manifest-checksums=SHA256"}, more...)
		start := time.Now()
		out, err := exec.Command(filepath.Join(s.pg.Binaries(), "pg_basebackup"), args...).CombinedOutput()
		require.NoError(b, err, string(out))
		return time.Since(start)
	}
	peer(filepath.Join(b.TempDir(), "warm"))
	var ours, theirs, plain, restore time.Duration
	var bytes, stored float64
	for i := range b.N {
		start := time.Now()
		made := s.create(b)
		ours += time.Since(start)
		bytes, stored = float64(made.SourceBytes), float64(made.StoredBytes)
		theirs += peer(filepath.Join(b.TempDir(), fmt.Sprint("zstd", i)), "--compress=client-zstd:1")
		plain += peer(filepath.Join(b.TempDir(), fmt.Sprint("plain", i)))
		to := filepath.Join(b.TempDir(), fmt.Sprint("restored", i))
		start = time.Now()
		require.NoError(b, s.restoreTo(made, to))
		restore += time.Since(start)
		require.NoError(b, os.RemoveAll(to))
	}
	speed := func(d time.Duration) float64 { return bytes * float64(b.N) / 1e6 / d.Seconds() }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(bytes/1e6, "MB")
	b.ReportMetric(stored/1e6, "stored-MB")
	b.ReportMetric(speed(ours), "backup-MB/s")
	b.ReportMetric(speed(theirs), "pg_basebackup-zstd-MB/s")
	b.ReportMetric(speed(plain), "pg_basebackup-plain-MB/s")
	b.ReportMetric(speed(restore), "restore-MB/s")
	b.ReportMetric(speed(ours)/speed(theirs), "ratio")
}
