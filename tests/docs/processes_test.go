package docs

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is one line of /proc: what it is, and from when, since numbers return.
type process struct {
	pid, parent int
	begun, line string
}

// processes are those that run; what has ended and only waits to be collected is none.
func processes() map[int]process {
	found := map[int]process{}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		raw, err := os.ReadFile(entry + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		// After the name in parentheses: state, parent, …; the start time is the 20th.
		fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		if fields[0] == "Z" {
			continue
		}
		line, _ := os.ReadFile(entry + "/cmdline")
		p := process{begun: fields[19], line: strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))}
		p.pid, _ = strconv.Atoi(filepath.Base(entry))
		p.parent, _ = strconv.Atoi(fields[1])
		found[p.pid] = p
	}
	return found
}

// below are a process and all that it started.
func below(top int) []process {
	all := processes()
	var found []process
	for pid, p := range all {
		for at := pid; at != 0; at = all[at].parent {
			if at == top {
				found = append(found, p)
				break
			}
		}
	}
	return found
}

// requireRuns finds a program of the stack by how it was started.
func (s *terminal) requireRuns(t *testing.T, program, subcommand string) {
	t.Helper()
	for _, p := range below(s.up.Process.Pid) {
		if strings.Contains(p.line, "/"+program+" "+subcommand+" ") && strings.Contains(p.line, s.data) {
			return
		}
	}
	t.Errorf("the stack runs no `%s %s`", program, subcommand)
}

// stop presses Ctrl-C and shows that nothing is left: no process, no open port.
func (s *terminal) stop(t *testing.T) {
	t.Helper()
	running := below(s.up.Process.Pid)
	require.Greater(t, len(running), 10, "supervisor, database, transit, broker, five services: %v", running)
	s.interrupt(t)
	var left []process
	require.Eventually(t, func() bool {
		left = nil
		for pid, now := range processes() {
			for _, p := range running {
				if p.pid == pid && p.begun == now.begun {
					left = append(left, p)
				}
			}
		}
		return len(left) == 0
	}, 10*time.Second, 50*time.Millisecond, "left over: %v", left)
	for _, part := range []string{"gateway", "inbox", "mail", "auth", "records", "audit", "backup", "postgres", "broker", "transit"} {
		conn, err := net.Dial("tcp", s.place.Address(part))
		if err == nil {
			_ = conn.Close()
		}
		require.Error(t, err, "%s still listens on %s", part, s.place.Address(part))
	}
}
