package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/program"
)

func TestTheExampleConfigurationLoads(t *testing.T) {
	var s Settings
	require.NoError(t, config.Load("config/audit.example.yaml", &s))
	require.Equal(t, "AUDIT", s.Broker.Stream)
	folder, err := filepath.Abs("config")
	require.NoError(t, err)
	require.Equal(t, config.Path(filepath.Join(folder, "checkpoints")), s.CheckpointDir)
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	example, err := os.ReadFile("config/audit.example.yaml")
	require.NoError(t, err)
	for change, want := range map[string]string{
		"log_name: carekeep.example/audit\n→":                       "log_name: this setting is required",
		"log_name: carekeep.example/audit→log_name: two words":      "log_name",
		"checkpoint_dir: checkpoints→checkpont_dir: checkpoints":    `unknown key "checkpont_dir"`,
		"  nation: england-and-wales\n→":                            "reports.nation",
		"  nation: england-and-wales→  nation: england":             "reports.nation must be",
		"  mode: report→  mode: delete":                             "mode must be report or purge",
		"  entry_years: 7→  entry_years: 6":                         "entry_years must be 7",
		"  event_days: 365→  event_days: 364":                       "event_days must be 365",
		"  replicas: 1→  replicas: 9":                               "replicas",
		"url: tls://nats:4222→url: nats://nats:4222":                "tls://",
		"address: https://vault:8200→address: http://vault:8200":    "https",
		"trust_domain: carekeep.example\n→":                         "trust_domain",
		"      after_minutes: 60→      after_minutes: 61":           "60 minutes at the latest",
		"      after_minutes: 240→      after_minutes: 120":         "later than the one before",
		"    - recipient: owner→    - recipient: \"\"":              "name a recipient",
		"  user: audit_app\n→":                                      "user",
		"  time_zone: UTC→  time_zone: Mars/Base":                   `detection: time_zone: "Mars/Base" is no time zone`,
		"  practice_time_zones: {}→  practice_time_zones: {x: UTC}": "practice_time_zones",
		"  keys: 50000→  keys: 5":                                   "detection: keys must be 1000 to 5000000",
	} {
		from, to, _ := strings.Cut(change, "→")
		require.Contains(t, string(example), from)
		path := filepath.Join(t.TempDir(), "audit.yaml")
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(example), from, to, 1)), 0o600))
		var s Settings
		require.ErrorContains(t, config.Load(path, &s), want)
	}
}

// The export command reads a database with nothing else running, and never overwrites.
func TestTheExportCommandWritesAFileThatVerifies(t *testing.T) {
	t.Parallel()
	s := filled(t)
	trust := s.trust()
	raw, err := yaml.Marshal(s.settings())
	require.NoError(t, err)
	var written map[string]any
	require.NoError(t, yaml.Unmarshal(raw, &written))
	delete(written, "checkpoint_bucket") // it holds a secret, which no file spells
	raw, err = yaml.Marshal(written)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "audit.yaml")
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	out := filepath.Join(t.TempDir(), "audit.jsonl")
	command := &export{configured: configured{program.Configured{Config: file}}, Out: out}
	require.NoError(t, command.Run(context.Background()))
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	report, err := ledger.Verify(bytes.NewReader(text), trust)
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.EqualValues(t, 600, report.Whole)
	require.ErrorIs(t, command.Run(context.Background()), os.ErrExist)
	info, err := os.Stat(out)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds every event in full")
}
