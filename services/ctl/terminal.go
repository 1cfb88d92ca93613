package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// terminal is what a command reads from and writes to.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time

	lines *bufio.Reader // of in, once a line was read
}

// note tells the user something that is no result.
func (t *terminal) note(format string, args ...any) { fmt.Fprintf(t.err, format+"\n", args...) }

// secret asks for something that must not be shown: at a terminal without echo,
// else it is the next line of the input.
func (t *terminal) secret(ctx context.Context, prompt string) (string, error) {
	file, ok := t.in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return t.line()
	}
	before, err := term.GetState(int(file.Fd()))
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	type typed struct {
		text []byte
		err  error
	}
	done := make(chan typed, 1)
	fmt.Fprint(t.err, prompt)
	go func() {
		text, err := term.ReadPassword(int(file.Fd()))
		done <- typed{text, err}
	}()
	select {
	case <-ctx.Done():
		// The read cannot be ended; what matters is that the terminal echoes again.
		return "", errors.Join(errors.New("interrupted"), term.Restore(int(file.Fd()), before))
	case got := <-done:
		fmt.Fprintln(t.err)
		if got.err != nil && !errors.Is(got.err, io.EOF) {
			return "", fmt.Errorf("read from the terminal: %w", got.err)
		}
		return string(got.text), nil
	}
}

// ask reads a line that may be shown. An interruption ends it, and the read that still waits with the program.
func (t *terminal) ask(ctx context.Context, prompt string) (string, error) {
	fmt.Fprint(t.err, prompt)
	type typed struct {
		text string
		err  error
	}
	done := make(chan typed, 1)
	go func() {
		text, err := t.line()
		done <- typed{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", errors.New("interrupted")
	case got := <-done:
		return strings.TrimSpace(got.text), got.err
	}
}

func (t *terminal) line() (string, error) {
	if t.lines == nil {
		t.lines = bufio.NewReader(t.in)
	}
	text, err := t.lines.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the input: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"), nil
}

// meter shows how far something is: at a terminal in one line that changes, else
// in a line now and then.
type meter struct {
	t    *terminal
	live bool
	last time.Time
}

func (t *terminal) meter() *meter {
	file, ok := t.err.(*os.File)
	return &meter{t: t, live: ok && term.IsTerminal(int(file.Fd()))}
}

const (
	liveEvery = 100 * time.Millisecond
	logEvery  = 5 * time.Second
)

func (m *meter) show(format string, args ...any) {
	now, every := m.t.now(), logEvery
	if m.live {
		every = liveEvery
	}
	if now.Sub(m.last) < every {
		return
	}
	m.last = now
	if m.live {
		fmt.Fprintf(m.t.err, "\r\x1b[K"+format, args...)
	} else {
		m.t.note(format, args...)
	}
}

// clear makes room for other lines.
func (m *meter) clear() {
	if m.live {
		fmt.Fprint(m.t.err, "\r\x1b[K")
	}
}
