package docs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
	"github.com/carekeep/carekeep/libs/devkit"
)

const (
	startTime   = 10 * time.Minute // a first build may be part of it
	commandTime = 3 * time.Minute
	stopTime    = time.Minute
)

// terminal is where the commands of the documents are typed. They run as they
// stand there, but for the places: the data folder, the ports and the files are
// this test's own.
type terminal struct {
	// suite is the test with whose end everything ends.
	suite      *testing.T
	home, data string
	// who is signed in on the command line; each has a session file of their own.
	who string

	up     *exec.Cmd
	screen *screen
	ended  chan error
	place  *stack.Place
	people *seed.Credentials
	// incident is the one that the documents' commands lead through its phases.
	incident string
}

// screen collects what a program prints while it runs.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	return &terminal{suite: t, home: t.TempDir(), data: filepath.Join(t.TempDir(), "data")}
}

// shell is a shell about to run a line.
func (s *terminal) shell(ctx context.Context, line string) *exec.Cmd {
	root := devkit.Root()
	url, place := "https://127.0.0.1:8443", []string{}
	if s.place != nil {
		place = []string{url, s.place.URL(), "127.0.0.1:8443", s.place.Address("gateway")}
	}
	line = strings.NewReplacer(append(place, ".bin/", root+"/.bin/", ".data/", s.data+"/")...).Replace(line)
	if target, ok := strings.CutPrefix(line, "make "); ok {
		line = "make --no-print-directory -C " + root + " " + target
	}
	if !strings.ContainsAny(line, "\n>|") {
		line = "exec " + line // a signal to the process is one to the command
	}
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", line)
	cmd.Dir = s.home
	if strings.Contains(line, "/carekeep-local up") {
		cmd.Dir = root // it runs in the source tree only
	}
	cmd.WaitDelay = 5 * time.Second
	for _, variable := range os.Environ() {
		// What an outer make says to its children is not meant for ours.
		if name, _, _ := strings.Cut(variable, "="); name != "MAKEFLAGS" && name != "MFLAGS" && name != "MAKELEVEL" && !strings.HasPrefix(name, "CAREKEEP_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "CAREKEEP_DATA="+s.data, "XDG_CONFIG_HOME="+filepath.Dir(filepath.Dir(s.session())),
		"PATH="+filepath.Join(root, ".bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, part := range []string{"GATEWAY", "INBOX", "MAIL", "AUTH", "RECORDS", "AUDIT", "BACKUP", "POSTGRES", "BROKER", "TRANSIT"} {
		cmd.Env = append(cmd.Env, "CAREKEEP_"+part+"_PORT=0")
	}
	return cmd
}

// run types a line and returns what it prints.
func (s *terminal) run(t *testing.T, stdin, line string) (out, errs string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTime)
	defer cancel()
	cmd := s.shell(ctx, line)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

func (s *terminal) must(t *testing.T, line string) string {
	t.Helper()
	out, errs, err := s.run(t, "", line)
	require.NoError(t, err, "%s\n%s%s", line, out, errs)
	return out
}

// start types a line that runs the suite, and waits until it says that all is ready.
func (s *terminal) start(t *testing.T, line string) {
	t.Helper()
	s.screen, s.ended, s.place = &screen{}, make(chan error, 1), nil
	s.up = s.shell(context.Background(), line)
	s.up.Stdout, s.up.Stderr = s.screen, s.screen
	s.up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the group that a Ctrl-C reaches
	require.NoError(t, s.up.Start())
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait() }(s.up, s.ended)
	s.guard(t, s.up.Process.Pid)
	deadline := time.After(startTime)
	for !strings.Contains(s.screen.String(), "Ctrl-C stops everything.") {
		select {
		case err := <-s.ended:
			t.Fatalf("%s ended before it was ready: %v\n%s", line, err, s.screen)
		case <-deadline:
			t.Fatalf("%s is not ready:\n%s", line, s.screen)
		case <-time.After(50 * time.Millisecond):
		}
	}
	var err error
	s.place, err = stack.Attach(s.data)
	require.NoError(t, err)
	s.people, err = seed.Load(s.place.Credentials())
	require.NoError(t, err)
}

// interrupt presses Ctrl-C and waits for the end.
func (s *terminal) interrupt(t *testing.T) {
	t.Helper()
	require.NoError(t, syscall.Kill(-s.up.Process.Pid, syscall.SIGINT))
	select {
	case err := <-s.ended:
		// make reports the signal; carekeep-local takes it as a wish.
		if exit := (*exec.ExitError)(nil); err != nil {
			require.ErrorAs(t, err, &exit)
			require.Equal(t, syscall.SIGINT, exit.Sys().(syscall.WaitStatus).Signal(), "%v\n%s", err, s.screen)
		}
	case <-time.After(stopTime):
		t.Fatalf("it does not stop:\n%s", s.screen)
	}
	require.Contains(t, s.screen.String(), "\nStopped.\n")
}

// guard kills a process group when the suite's test ends, by whatever means: its end
// closes a pipe on which another process waits.
func (s *terminal) guard(t *testing.T, group int) {
	t.Helper()
	watch := exec.Command("bash", "-c", fmt.Sprintf("read -r _; kill -KILL -- -%d 2>/dev/null", group))
	watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := watch.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, watch.Start())
	s.suite.Cleanup(func() {
		_ = pipe.Close()
		_ = watch.Wait() // its kill fails where the group ended in order
	})
}

// signIn types a sign-in command, with password and code as the answers. The next
// code is taken, which counts too: the current one may have been used, and a
// code counts once.
func (s *terminal) signIn(t *testing.T, line, username string) {
	t.Helper()
	person := s.people.Person(username)
	require.NotNil(t, person, username)
	s.who = username
	var out, errs string
	var err error
	for range 4 {
		now := time.Now()
		code, broken := api.Code(person.TotpSecret, now.Add(api.Step))
		require.NoError(t, broken)
		out, errs, err = s.run(t, person.Password+"\n"+code+"\n", line)
		require.NotContains(t, out+errs, person.Password)
		if err == nil {
			require.Contains(t, errs, "signed in as "+username)
			return
		}
		require.Regexp(t, "SIGN_IN_FAILED|try again in", errs, line)
		select {
		case <-time.After(now.Truncate(api.Step).Add(api.Step).Sub(now)):
		case <-t.Context().Done():
		}
	}
	t.Fatalf("%s: %v\n%s%s", line, err, out, errs)
}

// as makes sure that somebody is signed in.
func (s *terminal) as(t *testing.T, username string) {
	t.Helper()
	s.who = username
	if !s.signedIn() {
		s.signIn(t, "carekeep sign-in --url https://127.0.0.1:8443 --ca .data/ca/ca.crt --username "+username, username)
	}
}

// session is the session file of whoever types now.
func (s *terminal) session() string {
	return filepath.Join(s.home, "config-"+s.who, "carekeep", "session.json")
}

// get reads a page as a browser that trusts the suite's authority does.
func (s *terminal) get(t *testing.T, url string) string {
	t.Helper()
	client, err := s.place.Client()
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	answer, err := client.Get(url)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, 200, answer.StatusCode, "%s: %s", url, body)
	return string(body)
}
