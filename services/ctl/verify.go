package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/ledger"
)

type verify struct {
	File        string `arg:"" optional:"" type:"existingfile" placeholder:"FILE" help:"The export, as \"carekeep audit export\" or \"audit export\" wrote it; - for standard input."`
	Export      string `type:"existingfile" placeholder:"FILE" help:"The export, as a flag."`
	Key         string `required:"" help:"The log's verifier key, or a file with one key a line. Take it from where you trust, not from the export."`
	Checkpoints string `type:"existingdir" placeholder:"DIR" help:"Folder with checkpoints (*.note) that were kept outside the database. They find a log that was cut back or rewritten together with its own checkpoints."`

	verifyLive     `embed:""`
	verifyDatabase `embed:""`
}

// Validate asks for exactly one source.
func (v *verify) Validate() error {
	given := 0
	for _, source := range []string{v.File, v.Export, v.Live, v.Database} {
		if source != "" {
			given++
		}
	}
	switch {
	case given == 0:
		return errors.New("no export given; name its file, or --live URL, or --database FILE")
	case v.File != "" && v.Export != "":
		return errors.New("two exports given; leave out --export or the argument")
	case given > 1:
		return errors.New("more than one log given; verify an export, --live or --database")
	}
	return nil
}

// Run needs neither session nor network for an export.
func (v *verify) Run(ctx context.Context, t *terminal) error {
	trust, err := v.trust()
	if err != nil {
		return err
	}
	switch {
	case v.Live != "":
		return v.live(ctx, t, trust)
	case v.Database != "":
		return v.database(ctx, t, trust)
	}
	return v.export(ctx, t, trust)
}

func (v *verify) export(ctx context.Context, t *terminal, trust ledger.Trust) error {
	export := t.in
	if name := v.File + v.Export; name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("open the export: %w", err)
		}
		defer file.Close() //nolint:errcheck // only read from
		export = file
	}
	report, err := ledger.Verify(stoppable{ctx, export}, trust)
	if err != nil {
		return err
	}
	show(t.out, report)
	return verdict(report.Problems, report.Omitted)
}

// stoppable is a reader that ends with its context.
type stoppable struct {
	ctx  context.Context
	from io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.from.Read(p)
}

// trust reads the key and the kept checkpoints.
func (v *verify) trust() (ledger.Trust, error) {
	text := v.Key
	if _, err := note.NewVerifier(text); err != nil {
		raw, err := os.ReadFile(v.Key)
		if errors.Is(err, fs.ErrNotExist) {
			return ledger.Trust{}, fmt.Errorf("--key %q is neither a verifier key (name+hash+key) nor a file", v.Key)
		} else if err != nil {
			return ledger.Trust{}, fmt.Errorf("read the key: %w", err)
		}
		text = string(raw)
	}
	log, keys, err := ledger.ParseKeys(text)
	if err != nil {
		return ledger.Trust{}, fmt.Errorf("--key: %w", err)
	}
	trust := ledger.Trust{Log: log, Keys: keys}
	if v.Checkpoints != "" {
		trust.Kept, err = ledger.ReadKept(os.DirFS(v.Checkpoints), keys)
	}
	return trust, err
}

// rows writes lines of a name and a value.
func rows(w io.Writer) func(name, format string, args ...any) {
	return func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s "+format+"\n", append([]any{name}, args...)...)
	}
}

// show writes what was looked at, whether it was right or wrong.
func show(w io.Writer, r *ledger.Report) {
	row := rows(w)
	row("log", "%s", r.Log)
	row("scope", "%s", r.Scope)
	row("exported", "%s", r.CreateTime.UTC().Format(time.RFC3339))
	row("entries", "%d, of which %d in full", r.Entries, r.Whole)
	if r.LetGo > 0 {
		row("gone", "%d whose time was over, as the log itself says", r.LetGo)
	}
	row("checkpoints", "%d with a valid signature over the right root", r.Checkpoints)
	row("kept", "%d checkpoints from outside the database agree", r.Kept)
	if r.Younger > 0 {
		row("", "%d are younger than the export and say nothing about it", r.Younger)
	}
	if r.Checkpoints > 0 {
		row("size", "%d", r.Size)
		row("root", "%s", r.Root)
		row("signed", "%s", r.Time.Format(time.RFC3339Nano))
	}
	showProblems(w, r.Problems, r.Omitted)
}

func showProblems(w io.Writer, problems []ledger.Problem, omitted int64) {
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	if omitted > 0 {
		fmt.Fprintf(w, "and %d more problems\n", omitted)
	}
	if len(problems) == 0 {
		fmt.Fprintln(w, "the log is whole")
	}
}

// verdict is the error that makes the exit status 1.
func verdict(problems []ledger.Problem, omitted int64) error {
	if len(problems) == 0 {
		return nil
	}
	err := fmt.Errorf("%w: %s", ledger.ErrNotWhole, problems[0])
	if n := int64(len(problems)) + omitted; n > 1 {
		err = fmt.Errorf("%w (and %d more problems)", err, n-1)
	}
	return err
}
