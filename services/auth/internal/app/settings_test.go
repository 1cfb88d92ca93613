package app_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/carekeep/carekeep/libs/caller/callertest"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/invite"
	"github.com/carekeep/carekeep/services/auth/internal/password"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

const example = "../../config/auth.example.yaml"

func TestTheShippedConfigurationLoadsAndStatesTheDefaults(t *testing.T) {
	t.Parallel()
	var stated app.Settings
	require.NoError(t, config.Load(example, &stated))
	require.True(t, filepath.IsAbs(stated.SigningKey))

	// The defaults are what remains when the file leaves them out.
	raw, err := os.ReadFile(example)
	require.NoError(t, err)
	var tree map[string]any
	require.NoError(t, yaml.Unmarshal(raw, &tree))
	for field := range reflect.TypeFor[app.Settings]().Fields() {
		// Without these blocks something is off, so the file shows them as comments.
		if name := field.Tag.Get("yaml"); name != "sms" && name != "waived_gates" {
			require.Contains(t, tree, name, "the example explains every setting")
		}
	}
	require.Contains(t, string(raw), "\n#sms:")
	for _, optional := range []string{"passkeys", "limits", "session", "argon2id", "passwords", "telemetry"} {
		delete(tree, optional)
	}
	delete(tree["database"].(map[string]any), "max_connections")
	delete(tree["broker"].(map[string]any), "stream")
	short := filepath.Join(filepath.Dir(example), "short.yaml")
	raw, err = yaml.Marshal(tree)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), filepath.Base(short))
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	var defaults app.Settings
	require.NoError(t, config.Load(file, &defaults))
	require.Equal(t, defaults.Session, stated.Session)
	require.Equal(t, defaults.Argon2id, stated.Argon2id)
	require.Equal(t, defaults.Passwords, stated.Passwords)
	require.Equal(t, defaults.Passkeys, stated.Passkeys)
	require.Equal(t, defaults.Limits.SignInPerMinute, stated.Limits.SignInPerMinute)
	require.Equal(t, defaults.Limits.RequestsPerMinute, stated.Limits.RequestsPerMinute)
	require.Equal(t, defaults.Limits.Hashes, stated.Limits.Hashes)
	require.Equal(t, defaults.Limits.HashesWaiting, stated.Limits.HashesWaiting)
	require.Equal(t, defaults.Broker.Stream, stated.Broker.Stream)

	require.Equal(t, app.Session{IdleMinutes: 15, AbsoluteHours: 12, Max: 4}, defaults.Session)
	require.Equal(t, 5, defaults.Limits.SignInPerMinute)
	require.Equal(t, 60, defaults.Limits.RequestsPerMinute)
	require.Equal(t, password.Default, defaults.Argon2id)
	require.Equal(t, 15, defaults.Passwords.MinLength)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(raw), "fips: false", "fips: true", 1)), 0o600))
	var fips app.Settings
	require.NoError(t, config.Load(file, &fips))
	require.Equal(t, password.FIPS, fips.Argon2id)
	require.Equal(t, 24*time.Hour, invite.Life)
}

func TestSettingsThatWouldWeakenAClaimStopTheStart(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(example)
	require.NoError(t, err)
	for name, c := range map[string]struct{ from, to, want string }{
		"unknown key":        {"signing_key:", "signing_kee:", "signing_kee"},
		"no signing key":     {"signing_key: pki/caller.key", "", "signing_key"},
		"longer idle time":   {"idle_minutes: 15", "idle_minutes: 16", "session"},
		"longer sessions":    {"absolute_hours: 12", "absolute_hours: 13", "session"},
		"more sessions":      {"max: 4", "max: 5", "session"},
		"negative limit":     {"sign_in_per_minute: 5", "sign_in_per_minute: -1", "sign_in_per_minute"},
		"short passwords":    {"min_length: 15", "min_length: 7", "min_length"},
		"endless passwords":  {"min_length: 15", "min_length: 65", "min_length"},
		"weak hashes":        {"memory_kib: 19456", "memory_kib: 4096", "memory_kib"},
		"one pass":           {"passes: 2", "passes: 1", "memory_kib"},
		"passkeys of an IP":  {"rp_id: care.example.org", "rp_id: 192.0.2.1", "IP address"},
		"plain public URL":   {"https://care", "http://care", "public_url"},
		"plain mail":         {"tls: required", "tls: none-local", "loopback"},
		"unknown mail TLS":   {"tls: required", "tls: maybe", "tls"},
		"mail from nobody":   {"carekeep <no-reply@example.org>", "nobody", "mail"},
		"transit in clear":   {"https://vault", "http://vault", "transit"},
		"broker in clear":    {"tls://nats", "nats://nats", "broker"},
		"password in file":   {`username: ""`, "username: me\n  password: hunter2", "env: NAME"},
		"no address":         {"listen: 0.0.0.0:8101", "", "listen"},
		"limit that is text": {"receive_bytes: 4194304", "receive_bytes: much", "much"},
	} {
		text := strings.Replace(string(raw), c.from, c.to, 1)
		require.NotEqual(t, string(raw), text, name)
		file := filepath.Join(t.TempDir(), "auth.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		var settings app.Settings
		err := config.Load(file, &settings)
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestASigningKeyThatNobodyAcceptsStopsTheStart(t *testing.T) {
	t.Parallel()
	w := testkit.Prepare(t)
	w.Settings.SigningKey = callertest.New(t).KeyFile
	_, err := app.New(w.Context(), w.Settings, w.Options())
	require.ErrorContains(t, err, "callers.keys")
}
