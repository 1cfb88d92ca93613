package main

import (
	"bytes"
	"io"
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

	"github.com/carekeep/carekeep/deploy/local/stack"
)

// startTime allows for the first build of every program.
const startTime = 15 * time.Minute

// up is the real program, run as in a terminal.
type up struct {
	cmd  *exec.Cmd
	data string

	mu  sync.Mutex
	out bytes.Buffer
}

func (u *up) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.out.Write(p)
}

func (u *up) said() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.out.String()
}

func program(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "carekeep-local")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

func start(t *testing.T, binary, data string) *up {
	t.Helper()
	args := []string{"up", "--data", data}
	for _, name := range []string{"gateway", "inbox", "mail", "auth", "records", "audit", "backup", "postgres", "broker", "transit"} {
		args = append(args, "--"+name+"-port=0")
	}
	u := &up{cmd: exec.Command(binary, args...), data: data}
	u.cmd.Stdout, u.cmd.Stderr = u, u
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, u.cmd.Start())
	t.Cleanup(func() { _ = u.cmd.Process.Kill() })
	require.Eventually(t, func() bool {
		return strings.Contains(u.said(), "carekeep is ready.") && strings.Contains(u.said(), "Ctrl-C stops") || u.ended()
	}, startTime, 100*time.Millisecond)
	require.False(t, u.ended(), u.said())
	return u
}

func (u *up) ended() bool {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(u.cmd.Process.Pid) + "/stat")
	return err != nil || strings.Contains(string(raw), ") Z ")
}

// using lists the processes that work on the data folder.
func using(data string) []string {
	var found []string
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, entry := range entries {
		raw, err := os.ReadFile(entry)
		if err == nil && strings.Contains(string(raw), data) {
			found = append(found, strings.ReplaceAll(string(raw), "\x00", " "))
		}
	}
	return found
}

func TestUpStopsRestartsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	binary, data := program(t), filepath.Join(t.TempDir(), "data")
	u := start(t, binary, data)
	require.GreaterOrEqual(t, len(using(data)), 8, "supervisor, database, transit, broker, five services: %v", using(data))
	require.Contains(t, u.said(), "https://127.0.0.1:")
	require.Contains(t, u.said(), "otpauth://totp/carekeep:dr.smith")

	second, err := exec.Command(binary, "up", "--data", data).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(second), "runs on "+data+" already")
	code, err := exec.Command(binary, "totp", "--data", data, "dr.smith").Output()
	require.NoError(t, err)
	require.Regexp(t, `^[0-9]{6}\n$`, string(code))
	people, err := os.ReadFile(filepath.Join(data, "credentials.json"))
	require.NoError(t, err)

	require.NoError(t, u.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, u.cmd.Wait(), u.said())
	require.Empty(t, using(data))
	require.False(t, stack.Running(data))

	begun := time.Now()
	u = start(t, binary, data)
	require.Less(t, time.Since(begun), time.Minute, "a second start is quick")
	again, err := os.ReadFile(filepath.Join(data, "credentials.json"))
	require.NoError(t, err)
	require.Equal(t, string(people), string(again), "a second start keeps the data")

	require.NoError(t, u.cmd.Process.Kill())
	_ = u.cmd.Wait() // killed
	u = start(t, binary, data)
	require.NoError(t, u.cmd.Process.Kill())
	_ = u.cmd.Wait() // killed
	require.Eventually(t, func() bool { return len(using(data)) == 0 }, time.Minute, 100*time.Millisecond, "a killed supervisor leaves nothing")
}

func TestTotpOfNobodyNamesThePeople(t *testing.T) {
	t.Parallel()
	c := totpCommand{dataFlag: dataFlag{Data: t.TempDir()}, Name: "dr.who"}
	require.ErrorContains(t, c.Run(io.Discard), "make up")
	file := filepath.Join(c.Data, "credentials.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"people":[{"username":"dr.smith","ready":true}]}`), 0o600))
	require.ErrorContains(t, c.Run(io.Discard), "there are dr.smith")
}

func TestGenerateWritesABundle(t *testing.T) {
	t.Parallel()
	raw, err := exec.Command(program(t), "generate", "--patients", "3").Output()
	require.NoError(t, err)
	require.Contains(t, string(raw), `"resourceType": "Bundle"`)
}
