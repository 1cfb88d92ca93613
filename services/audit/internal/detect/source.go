package detect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
)

// lookEvery is how often the rules file is read again.
const lookEvery = 2 * time.Second

// Source is the rules in force: the embedded pack and, beside it, a file that may change. A file that
// is not valid leaves the rules as they were, or at the start the embedded ones. Safe for concurrent use.
type Source struct {
	path  string
	log   *slog.Logger
	state atomic.Pointer[state]
}

// state is what the file came to.
type state struct {
	pack    *rules.Pack
	text    string // of the file, as it was last read; empty where it could not be
	problem string // why that is not in force; empty where it is
}

// NewSource reads the rules. An empty path is the embedded pack alone.
func NewSource(path string, log *slog.Logger) (*Source, error) {
	pack, err := rules.Default()
	if err != nil {
		return nil, err
	}
	s := &Source{path: path, log: log}
	s.state.Store(&state{pack: pack})
	s.Look()
	return s, nil
}

// Run reads the file again and again until ctx ends.
func (s *Source) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.Look()
		}
	}
}

// Look reads the file and takes it where it changed.
func (s *Source) Look() {
	if s.path == "" {
		return
	}
	before := s.state.Load()
	next := *before
	text, err := read(s.path)
	if err == nil && string(text) == before.text {
		return
	}
	if next.text = string(text); err == nil {
		var pack *rules.Pack
		if pack, err = rules.Read(text); err == nil {
			next.pack, next.problem = pack, ""
		}
	}
	if err != nil {
		next.problem = err.Error()
	}
	s.state.Store(&next)
	if next.problem != before.problem || next.pack != before.pack {
		s.tell(next)
	}
}

func (s *Source) tell(now state) {
	if now.problem != "" {
		s.log.Error("the rules file is not valid; the rules before it stay in force", "file", s.path, telemetry.KeyError, now.problem)
		return
	}
	s.log.Info("rules of detection are read", "file", s.path, "rules", len(now.pack.Rules), "digest", now.pack.Digest)
}

// read reads the file, unless it is too large to be one.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("rules_file: %w", err)
	}
	if info.Size() > rules.MaxBytes {
		return nil, fmt.Errorf("rules_file: it has %d bytes, at most %d are taken", info.Size(), rules.MaxBytes)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("rules_file: %w", err)
	}
	if len(text) == 0 {
		return nil, errors.New("rules_file: it is empty; write `version: 1` and your rules, or take the setting out")
	}
	return text, nil
}

// Pack is the rules in force.
func (s *Source) Pack() *rules.Pack { return s.state.Load().pack }

// Problem says why the file is not in force; empty where it is.
func (s *Source) Problem() string { return s.state.Load().problem }
