// Package demo plays the story of the suite against a running stack: real
// patients in, read back under control, every access proved. Each step says in
// one line what it proves and shows the evidence. It looks from outside, with the
// means of a front end, an administrator and somebody who got hold of the disks.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
)

// Options say on what stack the story is played.
type Options struct {
	Place  *stack.Place
	People *seed.Credentials
	// Bundles is a folder with FHIR bundles, one patient each; where it is missing
	// or empty, the generator's patients are taken.
	Bundles string
	Out     io.Writer
}

// step is one part of the story.
type step struct {
	// title says what the step proves.
	title string
	// play does it and returns the evidence: a line, and below it more where there is more.
	play func(*story, context.Context) (string, error)
}

var steps = []step{
	{"patients go in by FHIR bundle, each entry once", (*story).importPatients},
	{"a password alone reaches no patient; with a one-time code dr.smith is in", (*story).signIn},
	{"a patient is found by social security number, though it is stored nowhere in clear", (*story).search},
	{"the chart reads back, byte for byte what went in", (*story).readChart},
	{"dr.smith writes a note and an appointment", (*story).write},
	{"a doctor off the care team cannot tell the patient from one that does not exist", (*story).offCareTeam},
	{"a receptionist sees appointments, but no reason, no prescription, no national identifier", (*story).receptionist},
	{"the audit trail shows who did what, denials included", (*story).trail},
	{"the log verifies offline", (*story).verify},
	{"one changed byte in one entry is found and named", (*story).tamper},
	{"a base backup of the running cluster is taken, encrypted", (*story).backUp},
	{"database rows and files, write-ahead log, JetStream, keys, logs and backup hold no plaintext", (*story).searchPlaintexts},
	{"the backup restores into an empty folder, starts, and its log verifies", (*story).restore},
}

// story is what the steps learn and hand on.
type story struct {
	Options
	begun   time.Time
	work    string
	clients map[string]*api.Client

	bundles     []bundle
	chart       *chart
	written     written
	verifierKey string
	backup      string
	kept        string // checkpoints from before the backup
}

// Run plays the whole story. It stops at the first step that fails, because the
// next ones build on it.
func Run(ctx context.Context, o Options) error {
	work, err := os.MkdirTemp("", "carekeep-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	s := &story{Options: o, begun: time.Now(), work: work, clients: map[string]*api.Client{}}
	for i, step := range steps {
		begun := time.Now()
		evidence, err := step.play(s, ctx)
		if err != nil {
			s.print("✗", i, step.title, fmt.Sprintf("%v", err), begun)
			return errors.Join(fmt.Errorf("demo: step %d failed: %w", i+1, err), os.RemoveAll(work))
		}
		s.print("✓", i, step.title, evidence, begun)
	}
	_, err = fmt.Fprintf(o.Out, "All %d steps passed in %s.\n", len(steps), time.Since(s.begun).Round(100*time.Millisecond))
	return errors.Join(err, os.RemoveAll(work))
}

func (s *story) print(mark string, i int, title, evidence string, begun time.Time) {
	first, more, _ := strings.Cut(evidence, "\n")
	// A terminal that is gone changes nothing about the result.
	_, _ = fmt.Fprintf(s.Out, "%s %2d. %s — %s (%s)\n", mark, i+1, title, first, time.Since(begun).Round(time.Millisecond))
	if more != "" {
		_, _ = fmt.Fprintln(s.Out, "       "+strings.ReplaceAll(more, "\n", "\n       "))
	}
}

// as gives a client with a two-factor session of the user, signed in once.
func (s *story) as(ctx context.Context, username string) (*api.Client, error) {
	if client := s.clients[username]; client != nil {
		return client, nil
	}
	client, err := seed.SignIn(ctx, s.Place, s.People.Person(username))
	if err == nil {
		s.clients[username] = client
	}
	return client, err
}
