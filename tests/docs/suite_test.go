package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/libs/devkit"
)

// buildOnce builds what `make up` would, under the lock of the stacks that other
// tests start now: two must not write one program at the same time.
func buildOnce(t *testing.T) {
	t.Helper()
	folder := filepath.Join(devkit.Root(), ".bin")
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for _, name := range []string{"stack.lock", "carekeep-transit.lock"} {
		lock, err := os.OpenFile(filepath.Join(folder, name), os.O_CREATE|os.O_RDWR, 0o644)
		require.NoError(t, err)
		defer lock.Close()
		require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	}
	s := newTerminal(t)
	out, errs, err := s.run(t, "", "make build")
	require.NoError(t, err, "%s%s", out, errs)
}

// begins runs the first command of the README and looks at all that it promises.
func (s *terminal) begins(t *testing.T, command string) {
	s.start(t, command)
	said := s.screen.String()
	for _, line := range []string{
		`(?m)^  API +` + s.place.URL() + `$`, `(?m)^  Documentation +` + s.place.URL() + `/docs$`,
		`(?m)^  Sign-in page +` + s.place.PageURL() + `/sign-in$`, `(?m)^  Inbox +` + s.place.InboxURL() + ` `,
		`(?m)^  Authority +` + s.place.CAFile() + `$`, `(?m)^  Users +` + s.place.Credentials() + `$`,
		` admin\.riverside +password \S+ +code now \d{6}`, ` dr\.smith +password \S+ +code now \d{6}`,
	} {
		require.Regexp(t, line, said)
	}
	s.get(t, s.place.URL()+"/readyz")
	require.Contains(t, s.get(t, s.place.URL()+"/docs"), "<html")
	require.Contains(t, s.get(t, s.place.InboxURL()+"/"), "<html")
	var described struct {
		Paths map[string]any `json:"paths"`
	}
	require.NoError(t, json.Unmarshal([]byte(s.get(t, s.place.URL()+"/openapi.json")), &described))
	require.Contains(t, described.Paths, "/v1/patients:search")
	t.Run("the printed request signs in", s.printedRequest)
	t.Run("the printed command is that of the README", s.printedCommand)
}

// printedRequest copies the curl call that up prints.
func (s *terminal) printedRequest(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("this machine has no curl")
	}
	call := regexp.MustCompile(`(?m)^  curl .*\\\n.*$`).FindString(s.screen.String())
	require.NotEmpty(t, call)
	var session struct{ SessionToken, Assurance string }
	answer := s.must(t, strings.Replace(call, "curl ", "curl -sS ", 1))
	require.NoError(t, json.Unmarshal([]byte(answer), &session), answer)
	require.NotEmpty(t, session.SessionToken, answer)
}

// printedCommand is the sign-in on the command line that up prints. The README
// has the same, and its row runs it.
func (s *terminal) printedCommand(t *testing.T) {
	found := regexp.MustCompile(`(?m)^  (\S*carekeep sign-in .*)$`).FindStringSubmatch(s.screen.String())
	require.NotEmpty(t, found, s.screen.String())
	typed := strings.NewReplacer(s.place.URL(), "https://127.0.0.1:8443", s.data+"/", ".data/").Replace(found[1])
	require.Contains(t, commands(read(t, "README.md")), typed)
}

// again stops the suite, shows that nothing is left, and starts it a second time:
// data, users and sessions are kept.
func (s *terminal) again(t *testing.T, command string) {
	before, err := os.ReadFile(s.place.Credentials())
	require.NoError(t, err)
	s.as(t, seed.Superadmin)
	entries := s.must(t, "carekeep audit list --limit 0")
	require.Contains(t, entries, " SIGN_IN superadmin→")
	s.stop(t)
	s.start(t, command)
	require.NotContains(t, s.screen.String(), "first start")
	after, err := os.ReadFile(s.place.Credentials())
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	s.follow(t)
	require.True(t, strings.HasSuffix(s.must(t, "carekeep audit list --limit 0"), entries), "session and entries are kept")
	_, errs, err := s.run(t, "", command)
	require.Error(t, err, "one stack at most runs on a folder")
	require.Contains(t, errs, "already")
}

// follow lets the sessions know where the gateway listens now: this suite asks
// for no fixed port.
func (s *terminal) follow(t *testing.T) {
	t.Helper()
	sessions, err := filepath.Glob(filepath.Join(s.home, "config-*", "carekeep", "session.json"))
	require.NoError(t, err)
	require.NotEmpty(t, sessions)
	for _, session := range sessions {
		raw, err := os.ReadFile(session)
		require.NoError(t, err)
		moved := regexp.MustCompile(`https://127\.0\.0\.1:\d+`).ReplaceAllString(string(raw), s.place.URL())
		require.NoError(t, os.WriteFile(session, []byte(moved), 0o600))
	}
}

func (s *terminal) demo(t *testing.T, command string) {
	out := s.must(t, command)
	require.Contains(t, out, "The story plays on the stack that runs on "+s.data)
	steps := regexp.MustCompile(`(?m)^✓ +\d+\. `).FindAllString(out, -1)
	require.GreaterOrEqual(t, len(steps), 13, out)
	require.Regexp(t, `All \d+ steps passed`, out)
	require.NotContains(t, out, "✗")
}

// isDemo shows that the command is the one that `make demo` has run.
func (s *terminal) isDemo(t *testing.T, command string) {
	require.Regexp(t, `(?m)/`+regexp.QuoteMeta(command)+`$`, s.must(t, "make -n demo"))
}

func (s *terminal) totp(t *testing.T, command string) {
	out, errs, err := s.run(t, "", command)
	require.NoError(t, err, errs)
	require.Regexp(t, `^\d{6}\n$`, out)
	require.Regexp(t, `^valid for \d+s`, errs)
}

func (s *terminal) help(t *testing.T, command string) {
	require.Contains(t, s.must(t, command), "Usage: "+strings.TrimSuffix(strings.TrimPrefix(command, ".bin/"), " --help"))
}

func (s *terminal) targets(t *testing.T, command string) {
	out := s.must(t, command)
	for _, target := range []string{"up", "test", "demo", "bench", "lint", "generate"} {
		require.Regexp(t, `(?m)^`+target+` +\S`, out)
	}
}

func (s *terminal) serves(t *testing.T, command string) {
	program, _, _ := strings.Cut(command, " ")
	s.requireRuns(t, program, "serve")
}

// migrated shows that the stack's start ran the migration: it says so, and the
// service would not be ready without its tables.
func (s *terminal) migrated(t *testing.T, command string) {
	program, _, _ := strings.Cut(command, " ")
	require.Regexp(t, `(?m)^  `+program+` tables +ready`, s.screen.String())
	s.must(t, program+" migrate --config "+s.place.ConfigFile(program+"-migrate"))
}

// bootstrap runs where the first superadmin exists, whom the same command made
// when the suite was seeded.
func (s *terminal) bootstrap(t *testing.T, command string) {
	require.True(t, s.people.Person(seed.Superadmin).Ready)
	command = strings.NewReplacer("auth.yaml", s.place.ConfigFile("auth"), "…", "root@carekeep.example").Replace(command)
	_, errs, err := s.run(t, "", command)
	require.Error(t, err)
	require.Contains(t, errs, "superadmin already")
}
