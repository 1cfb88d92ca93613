package archive

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/carekeep/carekeep/libs/errs"
)

// target is the folder that a restore fills. Its roots keep every name inside.
type target struct {
	dir, beside string
	root        *os.Root
	tablespaces *os.Root          // made with the first tablespace
	spaces      map[string]string // absolute folder by object id
	created     bool              // the folder was absent
	made        map[string]bool   // folders that are there; tablespaces' names begin with an object id
	buffer      []byte
}

// localError is a failure of the target's own file system: nothing is wrong with the backup.
type localError struct{ cause error }

func (e *localError) Error() string { return "restore target: " + e.cause.Error() }
func (e *localError) Unwrap() error { return e.cause }

func local(err error) error {
	if err == nil {
		return nil
	}
	return errs.Wrap(&localError{err}, errs.KindUnavailable, "RESTORE_TARGET_FAILED",
		"the restore target cannot be written: check its space and permissions")
}

func openTarget(to string) (*target, error) {
	dir, err := absolute(to)
	if err != nil {
		return nil, err
	}
	beside, err := absolute(dir + "-tablespaces")
	if err != nil {
		return nil, err
	}
	t := &target{dir: dir, beside: beside, spaces: map[string]string{}, made: map[string]bool{}, buffer: make([]byte, chunkSize)}
	_, err = os.Stat(dir)
	t.created = errors.Is(err, fs.ErrNotExist)
	// PostgreSQL refuses a data directory that others may enter.
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700)); err != nil { //nolint:gosec // a folder needs its x bit
		return nil, local(err)
	}
	if t.root, err = os.OpenRoot(dir); err != nil {
		return nil, local(err)
	}
	return t, nil
}

// tablespace makes the folder of a tablespace.
func (t *target) tablespace(id string) error {
	if t.tablespaces == nil {
		if err := os.MkdirAll(t.beside, 0o700); err != nil {
			return local(err)
		}
		root, err := os.OpenRoot(t.beside)
		if err != nil {
			return local(err)
		}
		t.tablespaces = root
	}
	if err := t.tablespaces.Mkdir(id, 0o700); err != nil {
		return local(err)
	}
	t.spaces[id] = filepath.Join(t.beside, id)
	return nil
}

// at says where a name below the data directory goes.
func (t *target) at(name string) (*os.Root, string) {
	if rest, ok := strings.CutPrefix(name, "pg_tblspc/"); ok {
		id, _, _ := strings.Cut(rest, "/")
		if _, known := t.spaces[id]; known {
			return t.tablespaces, rest
		}
	}
	return t.root, name
}

func (t *target) folder(name string) error {
	root, name := t.at(name)
	return local(root.MkdirAll(name, 0o700))
}

func (t *target) write(name string, content io.Reader) (int64, error) {
	root, name := t.at(name)
	if dir := path.Dir(name); !t.made[dir] { // each look is a system call for each element
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return 0, local(err)
		}
		t.made[dir] = true
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, local(err)
	}
	w := &fileWriter{f: f}
	// The reader's errors are the backup's, the file's are the target's.
	n, err := io.CopyBuffer(w, content, t.buffer)
	if err == nil {
		err = local(t.syncFile(f))
	}
	return n, errors.Join(err, local(f.Close()))
}

// fileWriter marks errors of the file, and hides ReadFrom so that the buffer is used.
type fileWriter struct{ f *os.File }

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	return n, local(err)
}

// sync makes everything durable: files, folders, and the names of both roots.
func (t *target) sync() error {
	dirs := []string{t.dir, filepath.Dir(t.dir)}
	if t.tablespaces != nil {
		dirs = append(dirs, t.beside)
	}
	return local(syncTrees(dirs))
}

func (t *target) close() error {
	err := t.root.Close()
	if t.tablespaces != nil {
		err = errors.Join(err, t.tablespaces.Close())
	}
	return local(err)
}

// remove takes away what a failed restore wrote; it was empty before.
func (t *target) remove() error {
	err := os.RemoveAll(t.beside)
	if t.created {
		return local(errors.Join(err, os.RemoveAll(t.dir)))
	}
	entries, readErr := os.ReadDir(t.dir)
	err = errors.Join(err, readErr)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(t.dir, e.Name())))
	}
	return local(err)
}
