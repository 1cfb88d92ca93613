package retention

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// ReasonAltered is the reason of the critical alert about an entry that is due by its row and not by what was signed.
const ReasonAltered = "RETENTION_ENTRY_ALTERED"

// Keys tells by which key of the log a checkpoint was signed, and refuses any other.
type Keys interface {
	KeyOf(ctx context.Context, signed string) (string, ledger.Checkpoint, error)
}

// check holds a batch to what was signed before anything of it goes. Class, practice and patient, by which the database
// decides, are columns that no leaf covers; once the bytes are gone nobody can tell what they said. So
// each entry's bytes must be those of its leaf, the leaf that of the signed tree, and the columns those of the bytes.
func (r *Retention) check(ctx context.Context, class ledger.Class, b store.Batch) error {
	entries, err := r.Store.Stored(ctx, b.Seqs)
	if err != nil {
		return err
	}
	signed, err := r.signed(ctx, b.Seqs)
	if err != nil {
		return err
	}
	for i, seq := range b.Seqs {
		if i >= len(entries) || entries[i].Seq != seq {
			return r.altered(ctx, seq, fmt.Errorf("entry %d cannot be read", seq))
		}
		event, problem := entries[i].Check()
		switch {
		case problem != nil:
			return r.altered(ctx, seq, errors.New(problem.String()))
		case entries[i].Leaf != signed[i] || b.Leaves[i] != signed[i]:
			return r.altered(ctx, seq, fmt.Errorf("entry %d is not the one that was signed", seq))
		case ledger.ClassOf(event) != class:
			return r.altered(ctx, seq, fmt.Errorf("entry %d is not of class %s", seq, class))
		}
	}
	return nil
}

// signed returns the leaf hashes of entries by the newest signed checkpoint.
func (r *Retention) signed(ctx context.Context, seqs []int64) ([]tlog.Hash, error) {
	note, err := r.Store.Checkpoint(ctx, 0)
	if err != nil {
		return nil, err
	}
	_, c, err := r.Keys.KeyOf(ctx, note)
	if err != nil {
		return nil, fmt.Errorf("open the newest checkpoint: %w", err)
	}
	indexes := make([]int64, len(seqs))
	for i, seq := range seqs {
		indexes[i] = tlog.StoredHashIndex(0, seq)
	}
	hashes, err := tlog.TileHashReader(c.Tree(), r.Store.Tiles(ctx)).ReadHashes(indexes)
	if err != nil {
		return nil, fmt.Errorf("read leaf hashes from %d to %d: %w", seqs[0], seqs[len(seqs)-1], err)
	}
	return hashes, nil
}

// altered raises the alert, and returns what ends the run: while the log is not what was signed, nothing of it goes.
func (r *Retention) altered(ctx context.Context, seq int64, cause error) error {
	recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, job, accessv1.Action_ACTION_VERIFY, r.Now)
	alert := recorder.Event(evidence.Outcome(auditv1.Outcome_OUTCOME_FAILED, codes.DataLoss, ReasonAltered),
		evidence.Resource(fmt.Sprintf("auditEntries/%d-%d", seq, seq), 0), evidence.Risk(auditv1.Risk_RISK_CRITICAL))
	if err := r.Sink.Record(ctx, alert); err != nil {
		return fmt.Errorf("tell that entry %d was altered: %w", seq, err)
	}
	return errs.Wrap(cause, errs.KindDataLoss, ReasonAltered,
		"An entry that is due was altered in the database: nothing of its batch was deleted. Verify the log, and restore the row from an export or a backup.")
}
