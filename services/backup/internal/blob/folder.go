package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// temporary begins the names of files that are still being written. Keys have no
// such elements.
const temporary = ".put-"

// Folder is a Store in a local folder.
type Folder struct{ root *os.Root }

// NewFolder opens the folder, making it where it is missing.
func NewFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("storage folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("storage folder: %w", err)
	}
	return &Folder{root}, nil
}

// Close lets go of the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Put implements Store: a temporary file, synced, then linked under its name,
// which fails where the name is taken.
func (f *Folder) Put(ctx context.Context, key string, write func(io.Writer) error) (err error) {
	if err := check(key); err != nil {
		return err
	}
	if err := f.makeFolders(path.Dir(key)); err != nil {
		return fmt.Errorf("object %s: %w", key, err)
	}
	name := path.Join(path.Dir(key), temporary+rand.Text())
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("object %s: %w", key, err)
	}
	defer func() {
		if gone := f.root.Remove(name); err == nil && gone != nil {
			err = fmt.Errorf("object %s: %w", key, gone)
		}
	}()
	err = write(file)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("object %s: %w", key, err)
	}
	if err := f.root.Link(name, key); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("object %s: %w", key, ErrExists)
	} else if err != nil {
		return fmt.Errorf("object %s: %w", key, err)
	}
	return f.sync(path.Dir(key))
}

// makeFolders makes the folders of a key, and syncs each parent that got a new one.
func (f *Folder) makeFolders(dir string) error {
	if _, err := f.root.Stat(dir); err == nil || dir == "." {
		return nil
	}
	if err := f.makeFolders(path.Dir(dir)); err != nil {
		return err
	}
	if err := f.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.sync(path.Dir(dir))
}

func (f *Folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get implements Store.
func (f *Folder) Get(_ context.Context, key string) (io.ReadCloser, error) {
	if err := check(key); err != nil {
		return nil, err
	}
	file, err := f.root.Open(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("object %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", key, err)
	}
	return file, nil
}

// List implements Store.
func (f *Folder) List(ctx context.Context, prefix string) ([]string, error) {
	start := path.Dir(prefix + "x") // the deepest folder that the prefix names whole
	var keys []string
	err := fs.WalkDir(f.root.FS(), start, func(key string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // the folder itself, or an object that is just being written
			return nil
		case err != nil:
			return err
		case !d.IsDir() && strings.HasPrefix(key, prefix) && !strings.HasPrefix(d.Name(), temporary):
			keys = append(keys, key)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	return keys, nil
}

// Ready implements Store.
func (f *Folder) Ready(context.Context) error {
	name := temporary + rand.Text()
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("storage folder: %w", err)
	}
	return errors.Join(file.Close(), f.root.Remove(name))
}

func check(key string) error {
	if !fs.ValidPath(key) || key == "." || strings.Contains("/"+key, "/"+temporary) {
		return fmt.Errorf("object key %q is not a relative path", key)
	}
	return nil
}
