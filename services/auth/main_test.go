package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/carekeep/carekeep/libs/program"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// The commands run from files, as an operator runs them.
func TestMigrateAndBootstrapRunFromAConfigurationFile(t *testing.T) {
	w := testkit.Prepare(t)
	s := w.Settings
	tree := map[string]any{
		"listen": s.Listen, "trust_domain": s.TrustDomain, "public_url": s.PublicURL, "signing_key": s.SigningKey,
		"records":  "127.0.0.1:1",
		"tls":      map[string]any{"certificate": s.TLS.Certificate, "key": s.TLS.Key, "authorities": s.TLS.Authorities},
		"callers":  map[string]any{"keys": s.Callers.Keys},
		"database": map[string]any{"host": s.Database.Host, "port": s.Database.Port, "database": s.Database.Database, "user": s.Database.User},
		"broker":   map[string]any{"url": s.Broker.URL},
		"transit":  map[string]any{"address": s.Transit.Address, "role": s.Transit.Role},
		"mail":     map[string]any{"host": s.Mail.Host, "port": s.Mail.Port, "from": s.Mail.From, "tls": s.Mail.TLS},
	}
	write := func(name string) configured {
		raw, err := yaml.Marshal(tree)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(file, raw, 0o600))
		return configured{program.Configured{Config: file}}
	}
	service := write("auth.yaml")
	owner, err := w.Postgres.CA().Issue("auth-migrate")
	require.NoError(t, err)
	tree["tls"] = map[string]any{"certificate": owner.Certificate, "key": owner.Key, "authorities": owner.Authorities}
	tree["database"].(map[string]any)["user"] = "auth_owner"

	require.NoError(t, (&migrate{write("auth-migrate.yaml")}).Run(t.Context()), "applied already: nothing to do")
	var out bytes.Buffer
	command := &bootstrap{configured: service, Username: "root", Email: "root@example.org"}
	require.NoError(t, command.Run(t.Context(), &out))
	require.Regexp(t, `^cki_[A-Za-z0-9_-]{43}\n$`, out.String())
	command.Username = "other"
	require.ErrorContains(t, command.Run(t.Context(), &out), "SUPERADMIN_EXISTS")
	require.ErrorContains(t, (&serve{configured{program.Configured{Config: filepath.Join(t.TempDir(), "missing.yaml")}}}).Run(t.Context()), "missing.yaml")
}
