package api

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
)

// GetCheckpoint implements AuditService.
func (s *Service) GetCheckpoint(ctx context.Context, _ *auditv1.GetCheckpointRequest) (*auditv1.Checkpoint, error) {
	shown, _, err := s.checkpoint(ctx, 0)
	return shown, err
}

// checkpoint returns the smallest checkpoint of at least a size, or the newest for 0.
func (s *Service) checkpoint(ctx context.Context, atLeast int64) (*auditv1.Checkpoint, ledger.Checkpoint, error) {
	signed, err := s.log.Checkpoint(ctx, atLeast)
	if err != nil {
		return nil, ledger.Checkpoint{}, err
	}
	if signed == "" {
		return nil, ledger.Checkpoint{}, errs.New(errs.KindPrecondition, "LOG_TOO_SMALL", "the log has not grown to that size yet")
	}
	key, c, err := s.keys.KeyOf(ctx, signed)
	if err != nil {
		return nil, ledger.Checkpoint{}, inconsistent(err)
	}
	return &auditv1.Checkpoint{Note: signed, Size: c.Size, RootHash: c.Root[:], VerifierKey: key}, c, nil
}

// inconsistent says that the database does not hold what was signed. An outage is not that.
func inconsistent(err error) error {
	if k := errs.KindOf(err); k == errs.KindUnavailable || k == errs.KindDeadline || k == errs.KindCanceled {
		return err
	}
	return errs.Wrap(err, errs.KindDataLoss, "LOG_INCONSISTENT", "the log does not agree with its signed checkpoint")
}

// GetInclusionProof implements AuditService.
func (s *Service) GetInclusionProof(ctx context.Context, req *auditv1.GetInclusionProofRequest) (*auditv1.InclusionProof, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	e, err := s.log.Get(ctx, own, req.GetSeq())
	if err != nil {
		return nil, err
	}
	shown, c, err := s.checkpoint(ctx, req.GetTreeSize())
	if err != nil {
		return nil, err
	}
	size := req.GetTreeSize()
	if size == 0 {
		size = c.Size
	}
	if e.Seq >= size {
		return nil, invalid("tree_size", fmt.Sprintf("a tree that holds entry %d has a size of %d or more", e.Seq, e.Seq+1))
	}
	// Whatever the tiles hold is authenticated against the checkpoint before it is used.
	reader := tlog.TileHashReader(c.Tree(), s.log.Tiles(ctx))
	proof, err := tlog.ProveRecord(size, e.Seq, reader)
	if err != nil {
		return nil, inconsistent(err)
	}
	root, err := tlog.TreeHash(size, reader)
	if err != nil {
		return nil, inconsistent(err)
	}
	if err := tlog.CheckRecord(proof, size, root, e.Seq, e.Leaf); err != nil {
		return nil, inconsistent(fmt.Errorf("entry %d: %w", e.Seq, err))
	}
	return &auditv1.InclusionProof{Seq: e.Seq, TreeSize: size, LeafHash: e.Leaf[:], Hashes: hashes(proof), Checkpoint: shown}, nil
}

// GetConsistencyProof implements AuditService.
func (s *Service) GetConsistencyProof(ctx context.Context, req *auditv1.GetConsistencyProofRequest) (*auditv1.ConsistencyProof, error) {
	first, second := req.GetFirstSize(), req.GetSecondSize()
	_, c, err := s.checkpoint(ctx, second)
	if err != nil {
		return nil, err
	}
	if second == 0 {
		second = c.Size
	}
	if first > second {
		return nil, invalid("first_size", fmt.Sprintf("must not be larger than the second size, %d", second))
	}
	proof, err := tlog.ProveTree(second, first, tlog.TileHashReader(c.Tree(), s.log.Tiles(ctx)))
	if err != nil {
		return nil, inconsistent(err)
	}
	return &auditv1.ConsistencyProof{FirstSize: first, SecondSize: second, Hashes: hashes(proof)}, nil
}

func hashes(proof []tlog.Hash) [][]byte {
	out := make([][]byte, len(proof))
	for i := range proof {
		out[i] = proof[i][:]
	}
	return out
}
