package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 10 * time.Second

// spoken collects what a stack says.
type spoken struct {
	mu    sync.Mutex
	lines []string
}

func (s *spoken) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func shell(t *testing.T, script string) *child {
	t.Helper()
	log, err := openLog(filepath.Join(t.TempDir(), "out.log"), func(string) {})
	require.NoError(t, err)
	c := &child{path: "/bin/sh", args: []string{"-c", script}, log: log}
	t.Cleanup(c.kill)
	return c
}

func always(context.Context) error { return nil }

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestCrashIsShownAndPartStartedAgain(t *testing.T) {
	t.Parallel()
	var said spoken
	p := &part{name: "records", run: shell(t, "echo the reason; exec sleep 1000"), ready: always, say: said.say}
	require.NoError(t, p.begin(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { defer close(watched); p.supervise(ctx) }()

	require.Eventually(t, func() bool { return p.run.last() != "" }, patience, watchEvery)
	first := p.run.pid()
	p.run.kill()
	require.Eventually(t, func() bool { pid := p.run.pid(); return pid != 0 && pid != first }, patience, watchEvery)
	require.Contains(t, said.String(), "records ended by itself")
	require.Contains(t, said.String(), "the reason")
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "records runs again") }, patience, watchEvery)

	p.stop()
	require.Zero(t, p.run.pid())
	require.Never(t, func() bool { return p.run.pid() != 0 }, 5*watchEvery, watchEvery, "what was stopped by hand stays down")
	require.NoError(t, p.resume())
	require.NotZero(t, p.run.pid())
	cancel()
	<-watched
}

func TestPartThatEndsWhileStartingFailsWithItsLastLines(t *testing.T) {
	t.Parallel()
	p := &part{name: "audit", run: shell(t, "echo unknown key >&2; exit 1"), say: (&spoken{}).say,
		ready: func(context.Context) error { return errors.New("refused") }}
	err := p.begin(t.Context())
	require.ErrorContains(t, err, "audit ended while it started")
	require.ErrorContains(t, err, "unknown key")
}

func TestBackoffGrows(t *testing.T) {
	t.Parallel()
	p := &part{name: "auth", run: shell(t, "exit 1"), wanted: true, started: time.Now(), say: (&spoken{}).say}
	var pauses []time.Duration
	for range 8 {
		pause, crashed := p.crashed()
		require.True(t, crashed)
		pauses = append(pauses, pause)
	}
	require.Equal(t, minBackoff, pauses[0])
	require.Equal(t, 2*minBackoff, pauses[1])
	require.Equal(t, maxBackoff, pauses[7])
	p.started = time.Now().Add(-2 * calm)
	pause, _ := p.crashed()
	require.Equal(t, minBackoff, pause, "a crash after a calm time starts anew")
}

func TestStopReachesTheWholeProcessGroup(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	c := shell(t, "sleep 1000 & echo $! > "+file+"; wait")
	require.NoError(t, c.start())
	var grandchild int
	require.Eventually(t, func() bool {
		raw, _ := os.ReadFile(file)
		grandchild, _ = strconv.Atoi(strings.TrimSpace(string(raw)))
		return grandchild != 0
	}, patience, watchEvery)
	c.stop()
	require.Zero(t, c.pid())
	require.Eventually(t, func() bool { return gone(grandchild) || zombie(grandchild) }, patience, watchEvery)
}

func zombie(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(raw), ") Z ")
}

// TestMain lets a test run itself as a supervisor that is then killed.
func TestMain(m *testing.M) {
	if file := os.Getenv("CAREKEEP_TEST_SUPERVISOR"); file != "" {
		log, err := openLog(file+".log", func(string) {})
		c := &child{path: "/bin/sleep", args: []string{"1000"}, log: log}
		if err = errors.Join(err, c.start()); err == nil {
			err = os.WriteFile(file, []byte(strconv.Itoa(c.pid())), 0o600)
		}
		if err != nil {
			panic(err)
		}
		select {}
	}
	os.Exit(m.Run())
}

func TestKilledSupervisorLeavesNothing(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	self, err := os.Executable()
	require.NoError(t, err)
	supervisor := exec.Command(self)
	supervisor.Env = append(os.Environ(), "CAREKEEP_TEST_SUPERVISOR="+file)
	require.NoError(t, supervisor.Start())
	var pid int
	require.Eventually(t, func() bool {
		raw, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(string(raw))
		return pid != 0
	}, patience, watchEvery)
	require.False(t, gone(pid))
	require.NoError(t, supervisor.Process.Kill())
	_ = supervisor.Wait() // killed
	require.Eventually(t, func() bool { return gone(pid) || zombie(pid) }, patience, watchEvery)
}
