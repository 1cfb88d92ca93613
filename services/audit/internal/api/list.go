package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const defaultPage = 100

func pageSize(asked int32) int {
	if asked == 0 {
		return defaultPage
	}
	return int(asked)
}

// ListEntries implements AuditService.
func (s *Service) ListEntries(ctx context.Context, req *auditv1.ListEntriesRequest) (*auditv1.ListEntriesResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	f, err := filter(ctx, req)
	if err != nil {
		return nil, err
	}
	from, err := readToken(req.GetPageToken(), fingerprint(req))
	if err != nil {
		return nil, err
	}
	entries, before, err := s.log.List(ctx, own, f, from.Seq, pageSize(req.GetPageSize()))
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListEntriesResponse{}
	if before > 0 {
		out.NextPageToken = writeToken(store.AlertKey{Seq: before}, fingerprint(req))
	}
	for _, e := range entries {
		shown, err := describe(e)
		if err != nil {
			return nil, err
		}
		out.Entries = append(out.Entries, shown)
	}
	return out, nil
}

// ListAlerts implements AuditService.
func (s *Service) ListAlerts(ctx context.Context, req *auditv1.ListAlertsRequest) (*auditv1.ListAlertsResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	from, err := readToken(req.GetPageToken(), fingerprint(req))
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	rows, err := s.log.Alerts(ctx, own, from, size+1)
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListAlertsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		out.NextPageToken = writeToken(store.AlertKey{Seq: rows[size-1].Seq, Reason: rows[size-1].Reason}, fingerprint(req))
	}
	for _, a := range rows {
		entry, err := describe(a.Entry)
		if err != nil {
			return nil, err
		}
		out.Alerts = append(out.Alerts, &auditv1.Alert{
			Seq: a.Seq, Reason: a.Reason, Risk: auditv1.Risk(a.Risk), CreateTime: timestamppb.New(a.Time), Line: evidence.Line(entry.GetEvent()),
		})
	}
	return out, nil
}
