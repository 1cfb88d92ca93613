package api

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/auditevent"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// GetAccessReport implements ReadingService. Its event names the patient, so that the report
// itself stands in the next one.
func (r *Reading) GetAccessReport(ctx context.Context, req *auditv1.GetAccessReportRequest) (*auditv1.AccessReport, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	seen := addresses(ctx)
	if req.GetIncludeEvents() && !seen {
		return nil, errs.New(errs.KindDenied, "PERMISSION_MISSING", "to include events takes the permission to see addresses, which stand in them")
	}
	patient, err := uuid.Parse(req.GetPatientId())
	if err != nil {
		return nil, invalid("patient_id", "must be a UUID")
	}
	f := store.Filter{Patient: patient}
	if err := times(req, &f); err != nil {
		return nil, err
	}
	from, err := readToken(req.GetPageToken(), fingerprint(req))
	if err != nil {
		return nil, err
	}
	recorder := evidence.From(ctx)
	event := recorder.Event(evidence.Patient(patient))
	if err := r.Sink.Record(ctx, event); err != nil {
		return nil, err
	}
	recorder.Committed([]*auditv1.Event{event})
	entries, before, err := r.Log.List(ctx, own, f, from.Seq, pageSize(req.GetPageSize()))
	if err != nil {
		return nil, err
	}
	// The newest checkpoint is of after the list, so it covers all of it.
	shown, c, err := (&Service{log: r.Log, keys: r.Keys}).checkpoint(ctx, 0)
	if err != nil {
		return nil, err
	}
	items, err := prove(entries, c, r.Log.Tiles(ctx))
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		if !req.GetIncludeEvents() {
			item.Proof.Event, item.Proof.Salt = nil, nil
		}
	}
	bundle, err := auditevent.Bundle(visible(items, seen), shown.GetNote(), "", event.GetEventTime().AsTime())
	if err != nil {
		return nil, err
	}
	out := &auditv1.AccessReport{Bundle: string(bundle), VerifierKey: shown.GetVerifierKey()}
	if before > 0 {
		out.NextPageToken = writeToken(store.AlertKey{Seq: before}, fingerprint(req))
	}
	return out, nil
}

// addresses reports whether the caller may see them.
func addresses(ctx context.Context) bool {
	c, ok := caller.From(ctx)
	return ok && c.Permissions.Has(accessv1.Permission_PERMISSION_AUDIT_ADDRESSES_READ)
}

// visible takes addresses out of what is written as text, which no field rule reaches.
func visible(items []auditevent.Item, addresses bool) []auditevent.Item {
	for _, item := range items {
		if !addresses {
			item.Entry.GetEvent().Address = ""
		}
	}
	return items
}

// prove adds to each entry the proof that it is in the tree of a checkpoint.
func prove(entries []ledger.Entry, c ledger.Checkpoint, tiles tlog.TileReader) ([]auditevent.Item, error) {
	// Whatever the tiles hold is authenticated against the checkpoint before it is used.
	reader := tlog.TileHashReader(c.Tree(), tiles)
	items := make([]auditevent.Item, len(entries))
	for i, e := range entries {
		shown, err := describe(e)
		if err != nil {
			return nil, err
		}
		path, err := tlog.ProveRecord(c.Size, e.Seq, reader)
		if err != nil {
			return nil, inconsistent(err)
		}
		if err := tlog.CheckRecord(path, c.Size, c.Root, e.Seq, e.Leaf); err != nil {
			return nil, inconsistent(fmt.Errorf("entry %d: %w", e.Seq, err))
		}
		items[i] = auditevent.Item{Entry: shown, Proof: &auditevent.Proof{
			Seq: e.Seq, Size: c.Size, Leaf: e.Leaf[:], Hashes: hashes(path), Event: e.Event, Salt: e.Salt,
		}}
	}
	return items, nil
}

// SearchAuditEvents implements ReadingService.
func (r *Reading) SearchAuditEvents(ctx context.Context, req *auditv1.SearchAuditEventsRequest) (*auditv1.SearchAuditEventsResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	search, err := readSearch(req.GetParameters())
	if err != nil {
		return nil, err
	}
	entries, before, err := r.Log.List(ctx, own, search.filter, search.cursor, search.count)
	if err != nil {
		return nil, err
	}
	items := make([]auditevent.Item, len(entries))
	for i, e := range entries {
		if items[i].Entry, err = describe(e); err != nil {
			return nil, err
		}
	}
	bundle, err := auditevent.Bundle(visible(items, addresses(ctx)), "", search.next(before), time.Now())
	if err != nil {
		return nil, err
	}
	return &auditv1.SearchAuditEventsResponse{Bundle: string(bundle)}, nil
}
