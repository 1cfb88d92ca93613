package docs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
)

// patients are of this test alone, so that an import creates them.
const patients = 40_000

func (s *terminal) signsIn(t *testing.T, command string) {
	words := strings.Fields(command)
	s.signIn(t, command, words[len(words)-1])
}

// signsOut ends one of the sessions that the other commands needed.
func (s *terminal) signsOut(t *testing.T, command string) {
	for _, s.who = range []string{seed.Admin, seed.Smith, seed.Superadmin} {
		if s.signedIn() {
			break
		}
	}
	require.True(t, s.signedIn())
	s.must(t, command)
	require.False(t, s.signedIn())
}

// signedIn looks for a token: the name of the device stays when its user signs out.
func (s *terminal) signedIn() bool {
	raw, err := os.ReadFile(s.session())
	return err == nil && bytes.Contains(raw, []byte(`"token"`))
}

func (s *terminal) generate(t *testing.T, command string) {
	s.must(t, command)
	raw, err := os.ReadFile(filepath.Join(s.home, "bundle.json"))
	require.NoError(t, err)
	require.Contains(t, string(raw[:200]), `"Bundle"`)
	require.Equal(t, 1000, bytes.Count(raw, []byte(`"resourceType":"Patient"`))+bytes.Count(raw, []byte(`"resourceType": "Patient"`)))
}

// imports takes a smaller bundle than the documents' example.
func (s *terminal) imports(t *testing.T, command string) {
	s.as(t, seed.Smith)
	var bundle bytes.Buffer
	require.NoError(t, generator.Bundle(&bundle, generator.Options{Seed: patients, Patients: 2}))
	require.NoError(t, os.WriteFile(filepath.Join(s.home, "bundle.json"), bundle.Bytes(), 0o600))
	_, errs, err := s.run(t, "", command)
	require.NoError(t, err, errs)
	require.Regexp(t, `bundle\.json: [1-9]\d* created, 0 updated, 0 unchanged, 0 refused`, errs)
}

// tail is watched until it shows something, and then interrupted.
func (s *terminal) tail(t *testing.T, command string) {
	s.as(t, seed.Superadmin)
	ctx, cancel := context.WithTimeout(t.Context(), commandTime)
	defer cancel()
	seen := &screen{}
	cmd := s.shell(ctx, command)
	cmd.Stdout, cmd.Stderr = seen, seen
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(seen.String(), " [OK]\n") }, time.Minute, 50*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, cmd.Wait(), seen.String())
}

// list waits for the entry: an event is in the log a moment after it is committed.
func (s *terminal) list(t *testing.T, command string) {
	s.as(t, seed.Admin)
	command = strings.Replace(command, "patients/…", "patients/"+generator.Patient(patients, 0).ID.String(), 1)
	var listed string
	require.Eventually(t, func() bool {
		listed = s.must(t, command)
		return strings.Contains(listed, " [OK]\n")
	}, time.Minute, 500*time.Millisecond, "%s", listed)
	if strings.Contains(command, "--patient ") {
		require.Contains(t, listed, " IMPORT dr.smith→patient/")
	}
}

// export is the administrator's in the README. Elsewhere it is somebody's whose
// requests of this minute the demo and the README have not used up.
func (s *terminal) export(t *testing.T, command string) {
	if !strings.HasPrefix(command, ".bin/") {
		s.as(t, seed.Superadmin)
	}
	_ = os.Remove(filepath.Join(s.home, "log.jsonl"))
	s.must(t, command)
	require.FileExists(t, filepath.Join(s.home, "log.jsonl"))
}

// verify takes the key from where the local stack keeps it, unless the command says so.
func (s *terminal) verify(t *testing.T, command string) {
	key := filepath.Join(s.place.Checkpoints(), "verifier.key")
	out := s.must(t, strings.Replace(command, "--key verifier.key", "--key "+key, 1))
	require.Contains(t, out, "the log is whole")
	raw, err := os.ReadFile(filepath.Join(s.home, "log.jsonl"))
	require.NoError(t, err)
	forged := bytes.Replace(raw, []byte(`"leaf`), []byte(`"leef`), 1)
	require.NotEqual(t, raw, forged)
	require.NoError(t, os.WriteFile(filepath.Join(s.home, "forged.jsonl"), forged, 0o600))
	_, _, err = s.run(t, "", strings.NewReplacer("--key verifier.key", "--key "+key, " log.jsonl", " forged.jsonl").Replace(command))
	require.Error(t, err)
}

func (s *terminal) exportAll(t *testing.T, command string) {
	s.must(t, strings.Replace(command, "FILE", s.place.ConfigFile("audit"), 1))
}

func (s *terminal) verifyAll(t *testing.T, command string) {
	if _, err := os.Stat(filepath.Join(s.home, "LOG.jsonl")); err != nil {
		s.exportAll(t, "audit export --config FILE --out LOG.jsonl")
	}
	key := filepath.Join(s.place.Checkpoints(), "verifier.key")
	out := s.must(t, strings.NewReplacer("verifier.key", key, "COPIES", s.place.Checkpoints()).Replace(command))
	require.Contains(t, out, "the log is whole")
}

// trusting spells where a local stack keeps what a verifier trusts.
func (s *terminal) trusting(command string) string {
	return strings.NewReplacer("--key verifier.key", "--key "+filepath.Join(s.place.Checkpoints(), "verifier.key"), "COPIES", s.place.Checkpoints(),
		"https://carekeep.example:8443", "https://127.0.0.1:8443 --ca .data/ca/ca.crt", "verify.yaml", s.place.ConfigFile("audit-verify")).Replace(command)
}

func (s *terminal) verifyLive(t *testing.T, command string) {
	require.Contains(t, s.must(t, s.trusting(command)), "verified now")
}

func (s *terminal) verifyDatabase(t *testing.T, command string) {
	require.Contains(t, s.must(t, s.trusting(command)), "the log is whole")
}

// detects asks for the rules, what they found, and what a file with one rule less would have found.
func (s *terminal) detects(t *testing.T, command string) {
	s.as(t, seed.Admin)
	require.NoError(t, os.WriteFile(filepath.Join(s.home, "rules.yaml"), []byte("version: 1\nwithout: [NEW_NETWORK]\n"), 0o600))
	out := s.must(t, command)
	if strings.HasSuffix(command, "rules list") {
		require.Contains(t, out, "SNOOPING")
	}
}

var incidentName = regexp.MustCompile(`incidents/[0-9a-f-]{36}`)

// handles leads one incident as far as the documents do; it cannot be closed so early, and the refusal says why.
func (s *terminal) handles(t *testing.T, command string) {
	s.as(t, seed.Admin)
	if s.incident == "" && !strings.Contains(command, "incidents open") {
		s.handles(t, "carekeep incidents open --severity high")
	}
	command = strings.NewReplacer("incidents/…", s.incident, "users/…", "users/0194c9a0-0000-7000-8000-000000000051",
		"2027-01-31", time.Now().AddDate(0, 1, 0).Format(time.DateOnly)).Replace(command)
	out, errs, err := s.run(t, "A laptop was stolen\n", command)
	if strings.Contains(command, "incidents close") {
		require.Error(t, err)
		require.Contains(t, errs, "phase")
		return
	}
	require.NoError(t, err, "%s\n%s%s", command, out, errs)
	if strings.Contains(command, "incidents open") {
		s.incident = incidentName.FindString(out)
		require.NotEmpty(t, s.incident, out)
	}
}

// keeps looks at what decides how long records are kept; nothing of the demonstration's is destroyed.
func (s *terminal) keeps(t *testing.T, command string) {
	s.as(t, seed.Admin)
	shown := map[string]string{
		"holds list": "REASON", "retention show": "calendar years", "retention purge --dry-run": "", "erasures list": "LAW",
		"certificate keys": "carekeep.records/certificates+",
	}
	want, known := shown[strings.TrimPrefix(command, "carekeep ")]
	require.True(t, known, command)
	require.Contains(t, s.must(t, command), want)
}

func (s *terminal) backup(t *testing.T, command string) {
	s.as(t, seed.Superadmin)
	require.Contains(t, s.must(t, command), "backups/")
}
