package postgres_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit/postgres"
)

func TestMain(m *testing.M) { postgres.Main(m) }

func TestRolesConnectOnlyWithTheirCertificate(t *testing.T) {
	s := postgres.ForTest(t)
	for _, c := range []struct {
		name, role, database string
		ok                   bool
	}{
		{"records", "records_app", "records", true},
		{"records-migrate", "records_owner", "records", true},
		{"backup", "backup_app", "backup", true},
		{"audit-verify", "audit_verify", "audit", true},
		{"audit-verify", "audit_verify", "records", false},
		{"audit-verify", "audit_app", "audit", false},
		{"records", "records_owner", "records", false},
		{"records", "auth_app", "auth", false},
		{"records", "records_app", "auth", false},
		{"records", postgres.Admin, "records", false},
		{"gateway", "records_app", "records", false},
		{"backup", "backup_repl", "records", false},
	} {
		conn, err := s.Conn(t.Context(), c.name, c.role, c.database)
		require.Equal(t, c.ok, err == nil, "%v: %v", c, err)
		if err == nil {
			require.NoError(t, conn.Close(t.Context()))
		}
	}
}

func TestAppRoleHoldsNoPrivilegeOfItsOwn(t *testing.T) {
	s := postgres.ForTest(t)
	conn, err := s.Conn(t.Context(), "records", "records_app", "records")
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	for _, statement := range []string{"CREATE TABLE t (a int)", "CREATE TEMP TABLE t (a int)", "CREATE SCHEMA s", "SET ROLE records_owner"} {
		_, err := conn.Exec(t.Context(), statement)
		require.ErrorContains(t, err, "permission denied", statement)
	}
}

func TestServerSettings(t *testing.T) {
	s := postgres.ForTest(t)
	conn, err := s.AdminConn(t.Context(), "postgres")
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	for name, want := range map[string]string{
		"ssl_min_protocol_version": "TLSv1.3", "data_checksums": "on", "unix_socket_directories": "",
		"wal_level": "replica", "max_wal_senders": "10", "log_error_verbosity": "terse",
	} {
		var got string
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got))
		require.Equal(t, want, got, name)
	}
}

func TestDataSurvivesKillAndANewStart(t *testing.T) {
	dir := t.TempDir()
	s, err := postgres.Start(t.Context(), postgres.Options{Dir: dir})
	require.NoError(t, err)
	defer s.Stop()
	run := func(statement string) {
		conn, err := s.Conn(t.Context(), "records-migrate", "records_owner", "records")
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), statement)
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	}
	run("CREATE TABLE kept (a int)")
	s.Kill()
	require.Zero(t, s.Pid())
	require.NoError(t, s.Restart(t.Context()))
	run("SELECT * FROM kept")
	s.Stop()
	_, err = os.Stat(dir)
	require.NoError(t, err, "Stop removed a folder that it was given")

	s, err = postgres.Start(t.Context(), postgres.Options{Dir: dir, Port: s.Port(), CA: s.CA()})
	require.NoError(t, err)
	defer s.Stop()
	run("SELECT * FROM kept")
}
