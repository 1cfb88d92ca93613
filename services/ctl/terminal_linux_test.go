package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pseudoTerminal returns the side of a user and the side of a program.
func pseudoTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { program.Close() })
	return user, program
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	require.NoError(t, err)
	return state.Lflag&unix.ECHO != 0
}

func TestSecretsAreNotShownAtATerminal(t *testing.T) {
	user, program := pseudoTerminal(t)
	term := &terminal{in: program, out: program, err: program, now: time.Now}
	typed := make(chan string, 1)
	go func() {
		text, err := term.secret(t.Context(), "Password: ")
		noError(t, err)
		typed <- text
	}()
	require.Eventually(t, func() bool { return !echoes(t, program) }, 10*time.Second, time.Millisecond)
	_, err := user.WriteString(testPassword + "\n")
	require.NoError(t, err)
	require.Equal(t, testPassword, <-typed)
	require.True(t, echoes(t, program))
	shown, err := bufio.NewReader(user).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "Password:", strings.TrimSpace(shown))
}

func TestAnInterruptedPromptLeavesTheTerminalAsItWas(t *testing.T) {
	_, program := pseudoTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	term := &terminal{in: program, out: program, err: program, now: time.Now}
	ended := make(chan error, 1)
	go func() {
		_, err := term.secret(ctx, "Password: ")
		ended <- err
	}()
	require.Eventually(t, func() bool { return !echoes(t, program) }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorContains(t, <-ended, "interrupted")
	require.True(t, echoes(t, program))
}

func TestProgressAtATerminalStaysInOneLine(t *testing.T) {
	user, program := pseudoTerminal(t)
	now := epoch
	term := &terminal{err: program, now: func() time.Time { return now }}
	m := term.meter()
	m.show("%d %%", 1)
	m.show("%d %%", 2) // too soon
	now = now.Add(liveEvery)
	m.show("%d %%", 3)
	m.clear()
	term.note("done")
	shown, err := bufio.NewReader(user).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "\r\x1b[K1 %\r\x1b[K3 %\r\x1b[Kdone\r\n", shown)
}
