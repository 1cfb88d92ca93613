// Package blob stores objects that are written once and never changed, so that
// object lock on a store that has it just works. It knows nothing of backups.
package blob

import (
	"context"
	"errors"
	"io"
)

var (
	// ErrExists says that the object is there already; it stays as it is.
	ErrExists = errors.New("the object exists already")
	// ErrNotFound says that there is no such object.
	ErrNotFound = errors.New("no such object")
)

// Store keeps objects under keys with slashes. An object appears whole and
// durable, or not at all.
type Store interface {
	// Put makes an object of what write produces. It fails with ErrExists if there is one
	// (If-None-Match: *), and leaves nothing behind if write fails.
	Put(ctx context.Context, key string, write func(io.Writer) error) error
	// Get opens an object. The caller closes it.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// List returns the keys that begin with prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
	// Ready says whether objects can be written.
	Ready(ctx context.Context) error
}
