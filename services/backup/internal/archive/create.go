package archive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/backup/internal/manifest"
	"github.com/carekeep/carekeep/services/backup/internal/replication"
	"github.com/carekeep/carekeep/services/backup/internal/seal"
)

// Create takes a base backup. It exists once its COMMIT is stored, which is the
// last thing to happen; until then, and after any failure, nobody sees it.
// Progress is called with the bytes received so far.
func (a *Archive) Create(ctx context.Context, primary Primary, keys Wrapper, progress func(source int64)) (*Backup, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("backup id: %w", err)
	}
	key, err := newKey(ctx, keys)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	conn, err := primary.Connect(ctx)
	if err != nil {
		return nil, source(ctx, err)
	}
	defer conn.Close()
	system, err := conn.Identify(ctx)
	if err != nil {
		return nil, source(ctx, err)
	}
	if system.Major < 15 {
		return nil, errs.New(errs.KindPrecondition, "POSTGRES_TOO_OLD", "backups need PostgreSQL 15 or newer")
	}
	b := &Backup{
		ID: id, System: system.ID, Epoch: epoch, Postgres: system.Major, Timeline: system.Timeline,
		Start: a.Now().UTC(), Wrapped: key.Wrapped,
	}
	if err := conn.Hold(ctx, "carekeep_"+strings.ReplaceAll(id.String(), "-", "")); err != nil {
		return nil, source(ctx, err)
	}
	if err := a.receive(ctx, conn, b, key, progress); err != nil {
		return nil, err
	}
	if err := a.store(ctx, b, key); err != nil {
		return nil, err
	}
	return b, nil
}

func newKey(ctx context.Context, keys Wrapper) (*seal.Key, error) {
	if err := keys.CreateKey(ctx, transit.Backup, transit.AES256); err != nil {
		return nil, fmt.Errorf("key of backups: %w", err)
	}
	plain, wrapped, err := keys.DataKey(ctx, transit.Backup)
	if err != nil {
		return nil, fmt.Errorf("data key of a backup: %w", err)
	}
	return seal.NewKey(plain, wrapped)
}

// sender streams a base backup; it is a replication.Conn.
type sender interface {
	BaseBackup(ctx context.Context, label string, to replication.Receiver) (start, stop replication.Position, err error)
}

// receive stores all parts and fills in what they tell.
func (a *Archive) receive(ctx context.Context, conn sender, b *Backup, key *seal.Key, progress func(int64)) error {
	in := newIntake(ctx, a, b, key, progress)
	start, stop, err := conn.BaseBackup(in.ctx, "carekeep "+b.ID.String(), in)
	if stored := in.finish(err); stored != nil {
		return stored // the reason for which the stream was cut, where there is one
	}
	if err != nil {
		return source(ctx, err)
	}
	b.StartLSN, b.StopLSN, b.Timeline = start.LSN.String(), stop.LSN.String(), start.Timeline
	b.SourceBytes, b.Files = in.total, int64(len(in.seen))
	m, err := manifest.Parse(in.manifest.Bytes())
	if err == nil {
		err = m.Check(in.seen)
	}
	if err == nil && !covers(m, start, stop) {
		err = fmt.Errorf("the manifest's log does not reach from %s to %s", start.LSN, stop.LSN)
	}
	if err != nil {
		return unfaithful(err)
	}
	b.Manifest, err = a.put(ctx, b, key, Object{Key: b.prefix() + "manifest"}, func(w io.Writer) error {
		_, err := w.Write(in.manifest.Bytes())
		return err
	})
	return err
}

// unfaithful is a stream that lost or changed something on its way.
func unfaithful(cause error) error {
	return errs.Wrap(cause, errs.KindDataLoss, "BACKUP_UNFAITHFUL", "what the database sent does not match its own manifest; the backup was not finished")
}

func covers(m *manifest.Manifest, start, stop replication.Position) bool {
	first, last := m.WAL[0], m.WAL[0]
	for _, r := range m.WAL {
		if r.Start < first.Start {
			first = r
		}
		if r.End > last.End {
			last = r
		}
	}
	return first.Start <= start.LSN && last.End >= stop.LSN
}

// store writes the COMMIT.
func (a *Archive) store(ctx context.Context, b *Backup, key *seal.Key) error {
	b.StoredBytes = b.Manifest.Size
	for _, space := range b.Spaces {
		for _, part := range space.Parts {
			b.StoredBytes += part.Size
		}
	}
	b.End = a.Now().UTC()
	text, err := encodeCommit(b, key)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	err = a.Store.Put(ctx, b.prefix()+commitName, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(text))
		return err
	})
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// source classes an error of the primary.
func source(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errs.Wrap(cause, errs.KindUnavailable, "PRIMARY_UNAVAILABLE", "the database cannot be backed up now")
}
