package appender

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// writer is the state of one term as the writer. It is rebuilt from the database at
// the beginning of each, and thrown away at the first error.
type writer struct {
	Options
	conn   *pgx.Conn
	tree   *ledger.Frontier
	last   ledger.Checkpoint // zero for an empty log
	months map[time.Time]bool
	behind bool // the clock is behind the log, and an alert says so
}

// load rebuilds the tree and holds it to the newest checkpoint, and to the newest
// one that was kept outside the database.
func (w *writer) load(ctx context.Context) error {
	head, err := store.ReadHead(ctx, w.conn)
	if err != nil {
		return err
	}
	if head.End != head.Size {
		return fmt.Errorf("%w: the newest checkpoint covers %d entries, the table holds %d", ErrTampered, head.Size, head.End)
	}
	var unread error
	w.tree, err = ledger.LoadFrontier(head.Size, func(level int, from, to int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		hashes, unread = store.ReadHashes(ctx, w.conn, level, from, to)
		return hashes, unread
	})
	if unread != nil {
		return unread
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTampered, err)
	}
	known, err := w.Keys.Verifiers(ctx)
	if err != nil {
		return fmt.Errorf("verifier keys: %w", err)
	}
	w.months = map[time.Time]bool{}
	if head.Size > 0 {
		if err := w.checkHead(head, known); err != nil {
			return err
		}
	}
	return w.checkCopies(ctx, known)
}

func (w *writer) checkHead(head store.Head, known note.Verifiers) error {
	last, err := ledger.OpenCheckpoint(head.Note, known)
	if err != nil {
		return fmt.Errorf("%w: the newest checkpoint: %w", ErrTampered, err)
	}
	root, err := w.tree.Root()
	if err != nil {
		return err
	}
	if last.Log != w.Name || last.Size != head.Size || last.Root != root {
		return fmt.Errorf("%w: the entries and tiles are not those of checkpoint %d", ErrTampered, head.Size)
	}
	w.last = last
	return nil
}

// checkCopies refuses a database that was rolled back or rewritten together with its checkpoints.
func (w *writer) checkCopies(ctx context.Context, known note.Verifiers) error {
	newest, err := w.Copies.Newest(ctx)
	if err != nil {
		return fmt.Errorf("checkpoint copies: %w", err)
	}
	for _, signed := range newest {
		if err := w.checkCopy(ctx, signed, known); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) checkCopy(ctx context.Context, signed string, known note.Verifiers) error {
	kept, err := ledger.OpenCheckpoint(signed, known)
	if err != nil {
		return fmt.Errorf("%w: the newest checkpoint copy: %w", ErrTampered, err)
	}
	if kept.Size > w.last.Size {
		return fmt.Errorf("%w: a checkpoint copy covers %d entries, the database holds %d; after a restore move the copies away", ErrTampered, kept.Size, w.last.Size)
	}
	root, err := tlog.TreeHash(kept.Size, tlog.TileHashReader(w.last.Tree(), store.TilesOf(ctx, w.conn)))
	if ctx.Err() != nil || errs.KindOf(err) == errs.KindUnavailable {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTampered, err)
	}
	if root != kept.Root {
		return fmt.Errorf("%w: the checkpoint copy of size %d has another root", ErrTampered, kept.Size)
	}
	return nil
}

func (w *writer) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingEvery)
	defer cancel()
	if err := w.conn.Ping(ctx); err != nil {
		return fmt.Errorf("the writer's connection: %w", err)
	}
	return nil
}
