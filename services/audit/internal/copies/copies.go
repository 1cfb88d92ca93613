// Package copies keeps signed checkpoints outside the database, in a folder and where there is one in a bucket, each
// written once. They are what shows that a database was rolled back or rewritten
// together with its own checkpoints; put them where the database's
// administrators cannot reach.
package copies

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/carekeep/carekeep/libs/ledger"
)

// KeyFile is the file in the folder with the keys that verify the checkpoints.
const KeyFile = "verifier.key"

const (
	suffix = ledger.KeptSuffix
	// Every bounds the files under load: a checkpoint is copied at once when the last
	// copy is older than this, else when it is.
	Every = 5 * time.Second
)

// Folder is a folder of checkpoints: one folder a day, in it one file a checkpoint,
// named {size}.note.
type Folder struct {
	*queue
	dir string
}

// Open makes the folder unless it exists, and checks that it can be written.
func Open(dir string, log *slog.Logger) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("checkpoint copies: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return nil, fmt.Errorf("checkpoint copies: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, fmt.Errorf("checkpoint copies: %w", err)
	}
	f := &Folder{dir: dir}
	f.queue = newQueue(Every, func(_ context.Context, signed string) error { return f.write(signed) }, log)
	return f, nil
}

func (f *Folder) write(signed string) error {
	c, err := parse(signed)
	if err != nil {
		return err
	}
	day := filepath.Join(f.dir, c.Time.Format(time.DateOnly))
	if err := os.MkdirAll(day, 0o750); err != nil {
		return fmt.Errorf("checkpoint copies: %w", err)
	}
	return writeOnce(filepath.Join(day, strconv.FormatInt(c.Size, 10)+suffix), signed)
}

// WriteKeys stores the verifier keys beside the checkpoints.
func (f *Folder) WriteKeys(text string) error {
	path := filepath.Join(f.dir, KeyFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	return write(path, text, os.Rename)
}

// writeOnce never replaces a file: one with other content is left as it is.
func writeOnce(path, text string) error {
	err := write(path, text, os.Link)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if old, readErr := os.ReadFile(path); readErr != nil || string(old) != text {
		return fmt.Errorf("checkpoint copies: %s holds another checkpoint: %w", path, err)
	}
	return nil
}

// write puts a whole file in place by publish, and sees to it that it survives a power failure.
func write(path, text string, publish func(from, to string) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("checkpoint copies: %w", err)
	}
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Chmod(0o440), tmp.Sync(), tmp.Close())
	if err == nil {
		err = publish(tmp.Name(), path)
	}
	if removeErr := os.Remove(tmp.Name()); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("checkpoint copies: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Newest returns the largest checkpoint in the folder, "" where there is none. The log's
// time never runs backwards, so it is in the newest day that holds any.
func (f *Folder) Newest(context.Context) (string, error) {
	days, err := os.ReadDir(f.dir)
	if err != nil {
		return "", fmt.Errorf("checkpoint copies: %w", err)
	}
	for _, day := range slices.Backward(days) {
		if !day.IsDir() {
			continue
		}
		path, err := largest(filepath.Join(f.dir, day.Name()))
		if err != nil {
			return "", err
		}
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("checkpoint copies: %w", err)
		}
		return string(text), nil
	}
	return "", nil
}

func largest(day string) (string, error) {
	files, err := os.ReadDir(day)
	if err != nil {
		return "", fmt.Errorf("checkpoint copies: %w", err)
	}
	most, path := int64(0), ""
	for _, file := range files {
		if size, ok := sizeOf(file.Name()); ok && size > most {
			most, path = size, filepath.Join(day, file.Name())
		}
	}
	return path, nil
}
