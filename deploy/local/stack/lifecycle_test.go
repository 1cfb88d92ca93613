package stack_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/carekeep/carekeep/deploy/local/stack"
)

var parts = []string{"gateway", "auth", "records", "audit", "backup", "broker", "transit", "postgres"}

func TestEveryPartComesBackAfterAKill(t *testing.T) {
	t.Parallel()
	s := stack.ForTest(t, stack.Options{Settings: stack.Settings{"records": {"limits.receive_bytes": 2 << 20}}})
	raw, err := os.ReadFile(s.ConfigFile("records"))
	require.NoError(t, err)
	require.Contains(t, string(raw), "receive_bytes: 2097152")

	before := map[string]int{}
	for _, name := range parts {
		before[name] = s.Pid(name)
		require.NotZero(t, before[name], name)
		s.Kill(name)
	}
	require.NoError(t, s.WaitReady(t.Context()))
	for _, name := range parts {
		require.NotEqual(t, before[name], s.Pid(name), name)
	}

	s.Stop("audit")
	conn, err := s.Dial("audit", "gateway")
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // a test's connection
	_, err = healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	require.Error(t, err)
	require.NoError(t, s.Resume(t.Context(), "audit"))

	pids := map[string]int{}
	for _, name := range parts {
		pids[name] = s.Pid(name)
	}
	s.Close()
	for name, pid := range pids {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, name)
	}
	require.NoDirExists(t, s.Dir)
}

func TestBadSettingStopsTheStartWithTheServicesOwnWords(t *testing.T) {
	t.Parallel()
	_, err := stack.Start(t.Context(), stack.Options{Settings: stack.Settings{"records": {"limitz.receive_bytes": 1}}})
	require.ErrorContains(t, err, "migrate records")
	require.ErrorContains(t, err, `unknown key "limitz"`)
}

func TestSecretsAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	s := stack.ForTest(t, stack.Options{Dir: filepath.Join(t.TempDir(), "data")})
	for _, folder := range []string{"ca", "keys", "config", "logs", "broker", "transit", "backup/storage"} {
		info, err := os.Stat(filepath.Join(s.Dir, folder))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), folder)
	}
	require.NoError(t, filepath.WalkDir(s.Dir, func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		secret := filepath.Ext(path) == ".key" && d.Name() != "verifier.key" // a public one
		if secret || filepath.Ext(path) == ".pem" {
			info, err := d.Info()
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
		}
		return nil
	}))
}
