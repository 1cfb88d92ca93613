package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/ctl/internal/livelog"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

// logPrefix is where a gateway serves the log, maxLogFile what none of its files reaches.
const (
	logPrefix  = "/v1/log/"
	maxLogFile = 64 << 10
)

type verifyLive struct {
	Live    string   `placeholder:"URL" help:"Verify the log that the gateway at this address serves to everybody. It needs no session."`
	CA      string   `name:"ca" type:"existingfile" placeholder:"FILE" help:"With --live: certificates of the gateway's authority in PEM; by default the system's."`
	State   string   `type:"path" placeholder:"FILE" help:"With --live: where the newest verified checkpoint is kept. The next time only what came after is read, and a log that was cut back or rewritten since is found. By default in your configuration folder, by the log's name."`
	All     bool     `help:"With --live: read every entry again."`
	Witness []string `placeholder:"KEY" help:"With --live: key of a witness that must have signed the checkpoint; may be given several times."`
}

func (v *verifyLive) live(ctx context.Context, t *terminal, trust ledger.Trust) error {
	client, err := rest.New(v.Live, v.CA)
	if err != nil {
		return err
	}
	client = client.With("", func(time.Duration) {})
	options := livelog.Options{Trust: trust, Now: t.now()}
	for _, key := range v.Witness {
		w, err := ledger.ParseWitness(key)
		if err != nil {
			return fmt.Errorf("--witness %q: %w", key, err)
		}
		options.Witnesses = append(options.Witnesses, w)
	}
	state, err := v.state(trust.Log)
	if err != nil {
		return err
	}
	last, err := readState(state, trust.Keys)
	if err != nil {
		return err
	}
	if v.All {
		options.Trust.Kept = append(options.Trust.Kept, last...)
	} else if len(last) > 0 {
		options.Last = last[0]
	}
	report, err := livelog.Verify(ctx, fetch(client), options)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	missing := unsigned(options.Witnesses, report)
	showLive(t.out, report)
	if err := errors.Join(verdict(report.Problems, 0), missing); err != nil {
		return err
	}
	return writeState(state, report, last)
}

func fetch(client *rest.Client) livelog.Fetch {
	return func(ctx context.Context, path string) ([]byte, error) {
		raw, err := client.Fetch(ctx, logPrefix+path, maxLogFile)
		if refusal := new(rest.Refusal); errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
			return nil, fmt.Errorf("%s: %w", path, livelog.ErrAbsent)
		}
		return raw, err
	}
}

// state names the file for a log; a log's name may hold slashes.
func (v *verifyLive) state(log string) (string, error) {
	if v.State != "" {
		return v.State, nil
	}
	folder, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no folder for what was verified (%w): name a file with --state", err)
	}
	return filepath.Join(folder, "carekeep", "verified", strings.ReplaceAll(log, "/", "_")+ledger.KeptSuffix), nil
}

// readState returns the checkpoint of the last time, none the first time.
func readState(file string, keys note.Verifiers) ([]ledger.Checkpoint, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--state: %w", err)
	}
	c, err := ledger.OpenCheckpoint(string(raw), keys)
	if err != nil {
		return nil, fmt.Errorf("--state %s holds no checkpoint of this log; where it is another log's, name another file: %w", file, err)
	}
	return []ledger.Checkpoint{c}, nil
}

// writeState keeps the larger of the two checkpoints, in one step.
func writeState(file string, r *livelog.Report, last []ledger.Checkpoint) error {
	if len(last) > 0 && last[0].Size >= r.Checkpoint.Size {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	part := file + ".new"
	if err := os.WriteFile(part, []byte(r.Signed), 0o600); err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	if err := os.Rename(part, file); err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	return nil
}

// unsigned is the error where a witness that was asked for has not signed.
func unsigned(wanted []note.Verifier, r *livelog.Report) error {
	var missing []error
	for _, w := range wanted {
		found := false
		for _, name := range r.Cosigners {
			found = found || name == w.Name()
		}
		if !found {
			missing = append(missing, fmt.Errorf("the checkpoint is not signed by witness %s", w.Name()))
		}
	}
	return errors.Join(missing...)
}

func showLive(w io.Writer, r *livelog.Report) {
	row := rows(w)
	c := r.Checkpoint
	if c.Size > 0 {
		row("log", "%s", c.Log)
		row("size", "%d", c.Size)
		row("root", "%s", c.Root)
		row("signed", "%s", c.Time.Format(time.RFC3339Nano))
		row("witnesses", "%s", strings.Join(append(r.Cosigners, fmt.Sprintf("(%d)", len(r.Cosigners))), " "))
		row("entries", "%d verified now, %d before", r.Entries, r.From)
		row("kept", "%d checkpoints from before agree", r.Kept)
	}
	if r.Younger > 0 {
		row("", "%d may be younger than what the server shows", r.Younger)
	}
	showProblems(w, r.Problems, 0)
}
