package stack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

const (
	tailLines  = 15
	rotateSize = 16 << 20
)

// logFile takes what a process prints: it goes into a file, the last lines stay
// at hand for when the process crashes, and warnings are passed on.
type logFile struct {
	warn func(line string) // never nil

	mu   sync.Mutex
	file *os.File
	rest []byte // a line that has not ended yet
	last []string
}

func openLog(path string, warn func(string)) (*logFile, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > rotateSize {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return &logFile{warn: warn, file: file}, nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte{'\n'})
		if !found {
			break
		}
		l.note(string(line))
		l.rest = slices.Clone(rest)
	}
	return l.file.Write(p)
}

func (l *logFile) note(line string) {
	l.last = append(l.last, line)
	if len(l.last) > tailLines {
		l.last = l.last[1:]
	}
	if text, ok := warning(line); ok {
		l.warn(text)
	}
}

func (l *logFile) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.last, "\n")
}

func (l *logFile) Close() error { return l.file.Close() }

// warning shortens a JSON log line of level WARN or ERROR to one that reads well
// beside others; all else stays in the file.
func warning(line string) (string, bool) {
	var fields map[string]any
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &fields) != nil {
		return "", false
	}
	level, _ := fields["level"].(string)
	if level != "WARN" && level != "ERROR" {
		return "", false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", level, fields["msg"])
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch key {
		case "time", "level", "msg", "service", "trace_id", "span_id":
		default:
			fmt.Fprintf(&b, " %s=%v", key, fields[key])
		}
	}
	return b.String(), true
}
