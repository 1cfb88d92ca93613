package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/deploy/local/seed"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// verify exports the log and verifies the file with a program that has nothing
// else: no database, no network, no key but the public one.
func (s *story) verify(ctx context.Context) (string, error) {
	admin, err := s.as(ctx, seed.Admin)
	if err != nil {
		return "", err
	}
	var checkpoint auditv1.Checkpoint
	if err := admin.Call(ctx, http.MethodGet, "/v1/audit/checkpoint", nil, &checkpoint); err != nil {
		return "", err
	}
	s.verifierKey = checkpoint.GetVerifierKey()
	report, err := s.exportAndVerify(ctx, "log")
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, report)
	}
	return "with the public key " + s.verifierKey + "\n" + report, nil
}

// tamper changes one byte of one entry as somebody would who owns the database,
// past the triggers that refuse it to the service and to the tables' owner.
func (s *story) tamper(ctx context.Context) (string, error) {
	conn, err := s.Place.AdminDB(ctx, "audit")
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx) //nolint:errcheck // the statements' errors count
	var seq int64
	if err := conn.QueryRow(ctx, "SELECT max(seq) FROM entries WHERE patient_id = $1 AND action = 1 AND outcome = 1", s.chart.id).Scan(&seq); err != nil {
		return "", fmt.Errorf("find an entry: %w", err)
	}
	// The last byte of an event belongs to its risk: a high one made low, say.
	if err := flip(ctx, conn, seq); err != nil {
		return "", err
	}
	report, verdict := s.exportAndVerify(ctx, "tampered")
	if err := flip(ctx, conn, seq); err != nil {
		return "", fmt.Errorf("put the byte back: %w", err)
	}
	if verdict == nil {
		return "", fmt.Errorf("entry %d was changed and the log still verifies", seq)
	}
	if failure := (*exec.ExitError)(nil); !errors.As(verdict, &failure) {
		return "", verdict
	}
	if !names(report, seq) {
		return "", fmt.Errorf("the verifier does not name entry %d:\n%s", seq, report)
	}
	if after, err := s.exportAndVerify(ctx, "repaired"); err != nil {
		return "", fmt.Errorf("with the byte put back: %w\n%s", err, after)
	}
	return fmt.Sprintf("entry %d; with the byte put back it verifies again. The verifier said:\n%s", seq, report), nil
}

// flip changes the lowest bit of the entry's last byte. Twice is as before.
func flip(ctx context.Context, conn *pgx.Conn, seq int64) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("change an entry: %w", err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // does nothing after the commit
	if _, err := tx.Exec(ctx, "SET LOCAL session_replication_role = replica"); err != nil {
		return fmt.Errorf("switch triggers off: %w", err)
	}
	changed, err := tx.Exec(ctx, `UPDATE entries SET event = set_byte(event, length(event) - 1, get_byte(event, length(event) - 1) # 1) WHERE seq = $1`, seq)
	if err != nil {
		return fmt.Errorf("change an entry: %w", err)
	}
	if changed.RowsAffected() != 1 {
		return fmt.Errorf("entry %d is not there", seq)
	}
	return tx.Commit(ctx)
}

// names says whether the report has the number as a word of its own.
func names(report string, seq int64) bool {
	for _, word := range strings.FieldsFunc(report, func(r rune) bool { return r < '0' || r > '9' }) {
		if word == fmt.Sprint(seq) {
			return true
		}
	}
	return false
}

// exportAndVerify takes the kept checkpoints before the export: the log goes on,
// and an export that lacks what was signed after it is whole.
func (s *story) exportAndVerify(ctx context.Context, name string) (string, error) {
	kept, err := s.keep(name)
	if err != nil {
		return "", err
	}
	file, err := s.export(ctx, name, s.Place.ConfigFile("audit"))
	if err != nil {
		return "", err
	}
	return s.verifier(ctx, file, kept)
}

// keep copies the checkpoints that lie outside the database. One that is just
// being written may change its name meanwhile; then it begins again.
func (s *story) keep(name string) (folder string, err error) {
	folder = filepath.Join(s.work, name+"-kept")
	for range 5 {
		err = errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(s.Place.Checkpoints())))
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("keep checkpoints: %w", err)
	}
	return folder, nil
}

// export writes the whole log of the database that a configuration names.
func (s *story) export(ctx context.Context, name, config string) (string, error) {
	file := filepath.Join(s.work, name+".jsonl")
	out, err := exec.CommandContext(ctx, s.Place.Binary("audit"), "export", "--config", config, "--out", file).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("audit export: %w\n%s", err, out)
	}
	return file, nil
}

// verifier runs `carekeep audit verify`, with an empty environment, and with the
// checkpoints that were kept outside the database.
func (s *story) verifier(ctx context.Context, file, kept string) (string, error) {
	cmd := exec.CommandContext(ctx, s.Place.Binary("carekeep"), "audit", "verify", "--key", s.verifierKey, "--checkpoints", kept, file)
	cmd.Env, cmd.Dir = []string{}, s.work
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}
