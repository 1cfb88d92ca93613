package archive

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
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
	peer := func(dir string, more ...string) cost {
		conninfo := fmt.Sprintf("host=%s port=%d user=backup_repl sslmode=verify-full sslcert='%s' sslkey='%s' sslrootcert='%s'",
			s.pg.Host(), s.pg.Port(), certificate.Certificate, certificate.Key, certificate.Authorities)
		args := append([]string{"-d", conninfo, "-D", dir, "-Ft", "-X", "fetch", "-c", "fast", "--manifest-checksums=SHA256"}, more...)
		start := time.Now()
		cmd := exec.Command(filepath.Join(s.pg.Binaries(), "pg_basebackup"), args...)
		out, err := cmd.CombinedOutput()
		require.NoError(b, err, string(out))
		return cost{time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	}
	own := func(do func()) cost {
		start, before := time.Now(), used()
		do()
		return cost{time.Since(start), used() - before}
	}
	peer(filepath.Join(b.TempDir(), "warm"))
	var ours, theirs, plain, restore cost
	var made *Backup
	for i := range b.N {
		ours = ours.least(own(func() { made = s.create(b) }))
		theirs = theirs.least(peer(filepath.Join(b.TempDir(), fmt.Sprint("zstd", i)), "--compress=client-zstd:1"))
		plain = plain.least(peer(filepath.Join(b.TempDir(), fmt.Sprint("plain", i))))
		to := filepath.Join(b.TempDir(), fmt.Sprint("restored", i))
		restore = restore.least(own(func() { require.NoError(b, s.restoreTo(made, to)) }))
		require.NoError(b, os.RemoveAll(to))
	}
	size := float64(made.SourceBytes) / 1e6
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(size, "MB")
	b.ReportMetric(float64(made.StoredBytes)/1e6, "stored-MB")
	for name, c := range map[string]cost{"backup": ours, "pg_basebackup-zstd": theirs, "pg_basebackup-plain": plain, "restore": restore} {
		b.ReportMetric(size/c.wall.Seconds(), name+"-MB/s")
		b.ReportMetric(c.cpu.Seconds(), name+"-cpu-s")
	}
	b.ReportMetric(theirs.wall.Seconds()/ours.wall.Seconds(), "ratio")
}

// cost is of the client alone; the server does the same for both.
type cost struct{ wall, cpu time.Duration }

// least keeps the better of two runs: what else the machine does only adds.
func (c cost) least(o cost) cost {
	if c.wall == 0 {
		return o
	}
	return cost{min(c.wall, o.wall), min(c.cpu, o.cpu)}
}

func used() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
