package e2e

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
)

// commandLine runs the built carekeep with a session file of its own.
type commandLine struct {
	t      *testing.T
	folder string
}

// ran is what a command left behind.
type ran struct {
	out, err string
	failed   bool
}

func newCommandLine(t *testing.T) *commandLine {
	t.Helper()
	return &commandLine{t: t, folder: t.TempDir()}
}

func (c *commandLine) path(name string) string { return filepath.Join(c.folder, name) }

func (c *commandLine) run(stdin string, args ...string) ran {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite.Binary("carekeep"), args...)
	cmd.Dir, cmd.Env, cmd.Stdin = c.folder, []string{"XDG_CONFIG_HOME=" + c.folder, "HOME=" + c.folder}, strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil {
		require.ErrorAs(c.t, err, &exit)
	}
	return ran{out: out.String(), err: errs.String(), failed: err != nil}
}

func (c *commandLine) must(stdin string, args ...string) ran {
	c.t.Helper()
	got := c.run(stdin, args...)
	require.False(c.t, got.failed, "carekeep %s:\n%s%s", strings.Join(args, " "), got.out, got.err)
	return got
}

// signIn signs a seeded person in as a user does. A code counts once, and the
// suite's people may just have used the current one: the next one counts too.
func (c *commandLine) signIn(username string) {
	c.t.Helper()
	person := users.Person(username)
	var got ran
	for step := range 4 {
		if step > 1 {
			// Both codes that count now were used; the window moves on by itself.
			start := time.Now().Truncate(api.Step)
			require.Eventually(c.t, func() bool { return !time.Now().Truncate(api.Step).Equal(start) }, 2*api.Step, 100*time.Millisecond)
		}
		code, err := api.Code(person.TotpSecret, time.Now().Add(min(time.Duration(step), 1)*api.Step))
		require.NoError(c.t, err)
		got = c.run(person.Password+"\n"+code+"\n", "sign-in", "--url", suite.URL(), "--ca", suite.CAFile(), "--username", username)
		require.NotContains(c.t, got.out+got.err, person.Password)
		if strings.Contains(got.err, "SIGN_IN_LIMITED") {
			// Other tests signed in as this person: five a minute. To ask meanwhile would look like an attack.
			start := time.Now()
			require.Eventually(c.t, func() bool { return time.Since(start) > time.Minute }, 2*time.Minute, 100*time.Millisecond)
			continue
		}
		if !got.failed {
			return
		}
		require.Contains(c.t, got.err, "SIGN_IN_FAILED")
	}
	c.t.Fatalf("sign in %s: %s", username, got.err)
}

func TestTheCommandLineImportsListsExportsAndVerifies(t *testing.T) {
	doctor := newCommandLine(t)
	require.Contains(t, doctor.run("", "audit", "list").err, "run carekeep sign-in")
	doctor.signIn(seed.Smith)
	info, err := os.Stat(doctor.path("carekeep/session.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	var bundle bytes.Buffer
	require.NoError(t, generator.Bundle(&bundle, generator.Options{Seed: populationOfTerminals, Patients: 3}))
	require.NoError(t, os.WriteFile(doctor.path("good.json"), bundle.Bytes(), 0o600))
	require.Regexp(t, `good\.json: [1-9]\d* created, 0 updated, 0 unchanged, 0 refused`, doctor.must("", "import", "good.json").err)
	require.Regexp(t, `good\.json: 0 created, 0 updated, [1-9]\d* unchanged, 0 refused`, doctor.must("", "import", "good.json").err)
	bad := regexp.MustCompile(`"birthDate": ?"[^"]*"`).ReplaceAll(bundle.Bytes(), []byte(`"birthDate":"yesterday"`))
	require.NoError(t, os.WriteFile(doctor.path("bad.json"), bad, 0o600))
	refused := doctor.run("", "import", "bad.json")
	require.True(t, refused.failed)
	require.Regexp(t, `(?m)^bad\.json: entry 0: [A-Z_]+: .`, refused.out)

	patient := generator.Patient(populationOfTerminals, 0)
	id := patient.ID.String()
	require.NoError(t, as(t, seed.Smith).Call(t.Context(), http.MethodGet, "/v1/patients/"+id, nil, nil))
	denied := doctor.run("", "audit", "export", "--out", "log.jsonl")
	require.True(t, denied.failed)
	require.Contains(t, denied.err, "PERMISSION_MISSING", "a doctor may not export the log")

	admin := newCommandLine(t)
	admin.signIn(seed.Admin)
	var listed ran
	require.Eventually(t, func() bool {
		listed = admin.must("", "audit", "list", "--patient", id, "--limit", "0")
		return strings.Contains(listed.out, " READ dr.smith→patient/"+id)
	}, time.Minute, 200*time.Millisecond, "the read is in no line of\n%s", listed.out)
	require.Regexp(t, `(?m)^\d\d:\d\d:\d\d IMPORT dr\.smith→patient/`+id+`[^ ]* \[OK\]$`, listed.out)
	reads := admin.must("", "audit", "list", "--patient", id, "--action", "read")
	require.NotContains(t, reads.out, " IMPORT ")

	admin.verifies()
	admin.must("", "sign-out")
	left, err := os.ReadFile(admin.path("carekeep/session.json"))
	require.NoError(t, err, "the device keeps its name")
	require.NotContains(t, string(left), `"token"`)
	require.NotContains(t, string(left), "cks_")
	require.True(t, admin.run("", "audit", "list").failed)
}

// verifies exports the log over REST and verifies it offline: with the key alone,
// and with the checkpoints that the audit service and the user kept.
func (c *commandLine) verifies() {
	c.t.Helper()
	c.must("", "audit", "checkpoint", "--keep", "kept")
	c.must("", "audit", "export", "--out", "log.jsonl")
	key := filepath.Join(suite.Checkpoints(), "verifier.key")
	for _, args := range [][]string{
		{"--key", key, "log.jsonl"},
		{"--key", "kept/verifier.key", "--checkpoints", "kept", "--export", "log.jsonl"},
	} {
		got := c.must("", append([]string{"audit", "verify"}, args...)...)
		require.Contains(c.t, got.out, "the log is whole")
		require.Regexp(c.t, `(?s)scope +practice\n.*entries +[1-9]\d*, of which [1-9]\d* in full\n`, got.out)
	}

	raw, err := os.ReadFile(c.path("log.jsonl"))
	require.NoError(c.t, err)
	at := regexp.MustCompile(`"seq":(\d+),"leaf":"[^"]*","event":"`).FindSubmatchIndex(raw)
	require.NotNil(c.t, at)
	seq, changed := string(raw[at[2]:at[3]]), at[1]+10
	if raw[changed]++; raw[changed] == 'z'+1 || raw[changed] == 'Z'+1 || raw[changed] == '9'+1 || raw[changed] == '+'+1 {
		raw[changed] = 'A'
	}
	require.NoError(c.t, os.WriteFile(c.path("altered.jsonl"), raw, 0o600))
	got := c.run("", "audit", "verify", "--key", key, "altered.jsonl")
	require.True(c.t, got.failed)
	require.Contains(c.t, got.out, "entry "+seq+": ENTRY_ALTERED")
	require.Contains(c.t, got.err, "entry "+seq)
}
