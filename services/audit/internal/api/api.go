// Package api answers the RPCs of AuditService: it reads the log for callers and proves
// what it says. It writes nothing to the log; events arrive by the broker, and those of its own
// RPCs through libs/server. The RPCs of the registers it hands to their packages.
package api

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Log is what the handlers read.
type Log interface {
	List(ctx context.Context, practice uuid.UUID, f store.Filter, before int64, limit int) ([]ledger.Entry, int64, error)
	// From is List the other way round: oldest first, up to an end, with the number to go on from.
	From(ctx context.Context, practice uuid.UUID, f store.Filter, from, end int64, limit int) ([]ledger.Entry, int64, error)
	End(ctx context.Context) (int64, error)
	Get(ctx context.Context, practice uuid.UUID, seq int64) (ledger.Entry, error)
	Alerts(ctx context.Context, practice uuid.UUID, after store.AlertKey, limit int) ([]store.AlertRow, error)
	Checkpoint(ctx context.Context, atLeast int64) (string, error)
	Tiles(ctx context.Context) tlog.TileReader
	Export(ctx context.Context, practice uuid.UUID, to store.Sink) error
}

// Keys finds the key that a checkpoint was signed with.
type Keys interface {
	KeyOf(ctx context.Context, signed string) (string, ledger.Checkpoint, error)
}

// Service implements AuditService.
type Service struct {
	auditv1.UnimplementedAuditServiceServer
	log  Log
	keys Keys
	sink evidence.Sink

	complete Completeness
	now      func() time.Time
}

// New returns the service.
func New(log Log, keys Keys, sink evidence.Sink, complete Completeness, now func() time.Time) *Service {
	return &Service{log: log, keys: keys, sink: sink, complete: complete, now: now}
}

// practice is the caller's: the only one that a query may see. A superadmin has none
// and sees the events that belong to no practice.
func practice(ctx context.Context) (uuid.UUID, error) {
	c, ok := caller.From(ctx)
	if !ok {
		return uuid.Nil, errs.New(errs.KindUnauthenticated, "CALLER_MISSING", "no caller")
	}
	return c.Practice, nil
}

// describe shows an entry, after holding it to its own leaf: an entry that was
// changed in the database is never shown as if it were evidence.
func describe(e ledger.Entry) (*auditv1.Entry, error) {
	event, problem := e.Check()
	if problem != nil {
		return nil, errs.Wrap(fmt.Errorf("%s", problem), errs.KindDataLoss, "ENTRY_ALTERED",
			fmt.Sprintf("entry %d was changed after it was written", e.Seq))
	}
	return &auditv1.Entry{
		Seq: e.Seq, Event: event, LeafHash: e.Leaf[:], Line: evidence.Line(event),
		AppendTime: timestamppb.New(*e.AppendTime), EventBytes: e.Event, Salt: e.Salt,
	}, nil
}

// GetEntry implements AuditService.
func (s *Service) GetEntry(ctx context.Context, req *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	e, err := s.log.Get(ctx, own, req.GetSeq())
	if err != nil {
		return nil, err
	}
	return describe(e)
}
