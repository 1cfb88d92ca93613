package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/carekeep/carekeep/deploy/local/stack"
)

// area is a place where somebody who got hold of the disks would look.
type area struct {
	name   string
	folder string
	except []string
}

func areas(place *stack.Place) []area {
	wal := filepath.Join(place.PostgresData, "pg_wal")
	named := []area{
		{"write-ahead log", wal, nil},
		{"database files", filepath.Dir(place.PostgresData), []string{wal}},
		{"JetStream", place.BrokerData(), nil},
		{"transit", place.TransitData(), nil},
		{"logs", place.Logs(), nil},
		{"checkpoints", place.Checkpoints(), nil},
		{"backup", place.Backups(), nil},
	}
	rest := area{"everything else", place.Dir, nil}
	for _, a := range named {
		rest.except = append(rest.except, a.folder)
	}
	return append(named, rest)
}

// searchPlaintexts looks for the chart's plaintexts wherever bytes of the suite
// lie. First it plants a canary in each place, because a search that finds
// nothing proves nothing until it is known to find.
func (s *story) searchPlaintexts(ctx context.Context) (string, error) {
	canary := "canary-" + rand.Text()
	remove, err := plant(ctx, s.Place, canary)
	if err != nil {
		return "", errors.Join(err, remove(ctx))
	}
	secrets := append(s.chart.secrets(), secret{"canary", canary})
	forms := patterns(secrets)
	var report []string
	var leaks []string
	look := func(name string, search func(*scanner) (string, error)) error {
		scan := newScanner(forms)
		detail, err := search(scan)
		if err != nil {
			return err
		}
		found := false
		for _, h := range scan.hits {
			p := forms[h.pattern]
			if p.secret == len(secrets)-1 {
				found = true
				continue
			}
			leaks = append(leaks, fmt.Sprintf("%s (%s) in %s", secrets[p.secret].what, p.form, h.where))
		}
		if !found {
			return fmt.Errorf("the search of %s does not find what was planted there", name)
		}
		report = append(report, fmt.Sprintf("%s: 0 hits in %s%s, canary found", name, amount(scan.bytes), detail))
		return nil
	}
	err = look("rows", func(scan *scanner) (string, error) {
		tables, err := scan.rows(ctx, s.Place)
		return fmt.Sprintf(" of %d tables", tables), err
	})
	for _, a := range areas(s.Place) {
		if err == nil {
			err = look(a.name, func(scan *scanner) (string, error) { return "", scan.folder(a.folder, a.except...) })
		}
	}
	if err := errors.Join(err, remove(ctx)); err != nil {
		return "", err
	}
	if len(leaks) > 0 {
		return "", fmt.Errorf("plaintext lies open:\n%s", strings.Join(leaks, "\n"))
	}
	return fmt.Sprintf("%d plaintexts in %d forms\n%s", len(secrets)-1, len(forms), strings.Join(report, "\n")), nil
}

func amount(bytes int64) string {
	if bytes < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
}

const plantedFile = "planted-by-the-demo"

// plant writes the canary into a table, and so into the write-ahead log and the
// table's file, and into a file in every other place. The returned function,
// which is never nil, removes it.
func plant(ctx context.Context, place *stack.Place, canary string) (remove func(context.Context) error, err error) {
	var files []string
	remove = func(ctx context.Context) error {
		var failed []error
		for _, file := range files {
			failed = append(failed, os.Remove(file))
		}
		return errors.Join(append(failed, run(ctx, place, "DROP TABLE IF EXISTS planted_by_the_demo"))...)
	}
	if err := run(ctx, place, "CREATE TABLE planted_by_the_demo AS SELECT '"+canary+"' AS text", "CHECKPOINT"); err != nil {
		return remove, err
	}
	for _, a := range areas(place)[2:] {
		file := filepath.Join(a.folder, plantedFile)
		if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
			return remove, fmt.Errorf("plant: %w", err)
		}
		files = append(files, file)
	}
	return remove, nil
}

func run(ctx context.Context, place *stack.Place, statements ...string) error {
	conn, err := place.AdminDB(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // the statements' errors count
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", strings.Fields(statement)[0], err)
		}
	}
	return nil
}
