package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type sample struct {
	Listen string            `yaml:"listen" config:"required"`
	Files  files             `yaml:"tls"`
	Extra  *files            `yaml:"extra"`
	Token  Secret            `yaml:"token"`
	Seeds  []Path            `yaml:"seeds"`
	Named  map[string]Secret `yaml:"named"`
	Limits limits            `yaml:"limits"`
}

type files struct {
	Certificate string `yaml:"certificate" config:"path,required"`
}

type limits struct {
	Max int `yaml:"max"`
}

func (l *limits) Validate() error {
	if l.Max < 0 {
		return errors.New("max must not be negative")
	}
	return nil
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "service.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLoadRefuses(t *testing.T) {
	const base = "listen: :1\ntls: {certificate: a.crt}\n"
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":        {base + "listne: :2\n", `line 3: unknown key "listne"`},
		"unknown nested key": {"listen: :1\ntls:\n  certificate: a\n  keey: b\n", `line 4: unknown key "keey"`},
		"missing":            {"tls: {certificate: a.crt}\n", "listen: this setting is required"},
		"missing nested":     {"listen: :1\nextra: {}\n", "tls.certificate: this setting is required"},
		"pointer checked":    {base + "extra: {}\n", "extra.certificate: this setting is required"},
		"two documents":      {base + "---\nlisten: :2\n", "more than one YAML document"},
		"empty":              {"", "holds no settings"},
		"twice":              {base + "listen: :2\n", "already defined"},
		"own validation":     {base + "limits: {max: -1}\n", "limits: max must not be negative"},
		"written secret":     {base + "token: hunter2\n", "line 3: write a secret as {env: NAME} or {file: path}"},
		"unset variable":     {base + "token: {env: CAREKEEP_TEST_UNSET}\n", "token: the environment variable CAREKEEP_TEST_UNSET is not set"},
		"no secret file":     {base + "named: {one: {file: nowhere}}\n", "named.one: open"},
	} {
		t.Run(name, func(t *testing.T) {
			var into sample
			path := write(t, c.text)
			err := Load(path, &into)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestLoadResolvesPathsAndSecrets(t *testing.T) {
	t.Setenv("CAREKEEP_TEST_TOKEN", "from-env")
	path := write(t, "listen: :1\ntls: {certificate: pki/a.crt}\nextra: {certificate: /abs/b.crt}\n"+
		"seeds: [one, /two]\ntoken: {env: CAREKEEP_TEST_TOKEN}\nnamed: {one: {file: token.txt}}\n")
	folder := filepath.Dir(path)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "token.txt"), []byte("from-file\n"), 0o600))

	var into sample
	require.NoError(t, Load(path, &into))
	require.Equal(t, filepath.Join(folder, "pki/a.crt"), into.Files.Certificate)
	require.Equal(t, "/abs/b.crt", into.Extra.Certificate)
	require.Equal(t, []Path{Path(filepath.Join(folder, "one")), "/two"}, into.Seeds)
	require.Equal(t, "from-env", into.Token.Value())
	require.Equal(t, "from-file", into.Named["one"].Value())
}

func TestSecretNeverPrints(t *testing.T) {
	s := Secret{value: "hunter2"}
	holder := struct{ Token Secret }{s}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "token", s, "all", holder)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "token", s, "all", holder)
	for _, shown := range []string{fmt.Sprint(s, holder), fmt.Sprintf("%v %+v %#v %s %q", s, holder, holder, s, s), log.String()} {
		require.NotContains(t, shown, "hunter2")
		require.Contains(t, shown, redacted)
	}
}
