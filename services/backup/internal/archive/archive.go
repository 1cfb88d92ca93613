// Package archive takes base backups into a blob store, lists them and restores
// them. It authorises nobody and speaks no gRPC.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/backup/internal/blob"
	"github.com/carekeep/carekeep/services/backup/internal/replication"
)

const (
	// partSize is how much of a tar stream goes into one object: large enough for an object
	// store's throughput, small enough to fetch several side by side.
	partSize = 256 << 20
	// epoch would move on when the log's chain breaks; log streaming is not in this version.
	epoch = 1
	// maxCommit bounds what is read of a COMMIT: it lists one object for each 256 MiB.
	maxCommit = 16 << 20
)

// Wrapper makes data keys. Whoever writes backups has this and no Unwrapper.
type Wrapper interface {
	CreateKey(ctx context.Context, name, typ string) error
	DataKey(ctx context.Context, name string) (plain []byte, wrapped string, err error)
}

// Unwrapper opens data keys; only a restore has it.
type Unwrapper interface {
	Decrypt(ctx context.Context, name string, wrapped []string) ([][]byte, error)
}

// Primary opens replication connections.
type Primary interface {
	Connect(ctx context.Context) (*replication.Conn, error)
}

// Archive is the backups in one store.
type Archive struct {
	Store blob.Store
	Now   func() time.Time
	Log   *slog.Logger
	// PartSize is for tests; 0 is 256 MiB.
	PartSize int
}

// List returns all finished backups, newest first. What has no COMMIT was never
// finished and is not there.
func (a *Archive) List(ctx context.Context) ([]*Backup, error) {
	keys, err := a.Store.List(ctx, "")
	if err != nil {
		return nil, unavailable(err)
	}
	var backups []*Backup
	for _, key := range keys {
		if !strings.HasSuffix(key, "/"+commitName) {
			continue
		}
		b, _, err := a.commit(ctx, key)
		if err != nil {
			// One damaged COMMIT must not hide the backups that are good.
			a.Log.ErrorContext(ctx, "a backup's COMMIT cannot be read", "object", key, "error", err)
			continue
		}
		backups = append(backups, b)
	}
	slices.SortFunc(backups, func(x, y *Backup) int {
		if c := y.Start.Compare(x.Start); c != 0 {
			return c
		}
		return strings.Compare(y.ID.String(), x.ID.String())
	})
	return backups, nil
}

// Get returns one finished backup.
func (a *Archive) Get(ctx context.Context, id uuid.UUID) (*Backup, error) {
	key, err := a.find(ctx, id)
	if err != nil {
		return nil, err
	}
	b, _, err := a.commit(ctx, key)
	return b, err
}

func (a *Archive) find(ctx context.Context, id uuid.UUID) (string, error) {
	keys, err := a.Store.List(ctx, "")
	if err != nil {
		return "", unavailable(err)
	}
	for _, key := range keys {
		if strings.HasSuffix(key, "/base/"+id.String()+"/"+commitName) {
			return key, nil
		}
	}
	return "", errs.New(errs.KindNotFound, "BACKUP_NOT_FOUND", "there is no finished backup of that name")
}

func (a *Archive) commit(ctx context.Context, key string) (*Backup, commitCheck, error) {
	r, err := a.Store.Get(ctx, key)
	if err != nil {
		return nil, nil, unavailable(err)
	}
	defer func() { _ = r.Close() }() // it was only read
	raw, err := io.ReadAll(io.LimitReader(r, maxCommit+1))
	if err != nil {
		return nil, nil, unavailable(err)
	}
	b, check, err := decodeCommit(raw)
	if err == nil && b.prefix()+commitName != key {
		err = errors.New("it belongs to another place")
	}
	if err != nil {
		return nil, nil, broken(key, err)
	}
	return b, check, nil
}

// broken names the object that is damaged, for the operator who has to find another copy.
func broken(key string, cause error) error {
	return errs.Wrap(cause, errs.KindDataLoss, "BACKUP_BROKEN", fmt.Sprintf("object %s of the backup fails its integrity check", key))
}

func unavailable(cause error) error {
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return errs.Wrap(cause, errs.KindUnavailable, "STORAGE_UNAVAILABLE", "the backup storage cannot be used now")
}
