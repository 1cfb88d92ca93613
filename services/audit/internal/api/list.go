package api

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
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
	f, err := filter(req)
	if err != nil {
		return nil, err
	}
	from, err := readToken(req.GetPageToken(), fingerprint(req))
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	entries, err := s.log.List(ctx, own, f, from.Seq, size+1)
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListEntriesResponse{}
	if len(entries) > size {
		entries = entries[:size]
		out.NextPageToken = writeToken(store.AlertKey{Seq: entries[size-1].Seq}, fingerprint(req))
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

// filter reads what protovalidate has checked, apart from the times.
func filter(req *auditv1.ListEntriesRequest) (store.Filter, error) {
	f := store.Filter{Action: int16(req.GetAction()), Outcome: int16(req.GetOutcome())}
	for _, id := range []struct {
		field, text string
		into        *uuid.UUID
	}{{"patient_id", req.GetPatientId(), &f.Patient}, {"user_id", req.GetUserId(), &f.User}} {
		if id.text == "" {
			continue
		}
		var err error
		if *id.into, err = uuid.Parse(id.text); err != nil {
			return f, invalid(id.field, "must be a UUID")
		}
	}
	for _, at := range []struct {
		field string
		value *timestamppb.Timestamp
		into  *time.Time
	}{{"from_time", req.GetFromTime(), &f.From}, {"to_time", req.GetToTime(), &f.To}} {
		if at.value == nil {
			continue
		}
		if at.value.CheckValid() != nil {
			return f, invalid(at.field, "must be a time between the years 1 and 9999")
		}
		*at.into = at.value.AsTime()
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		return f, invalid("to_time", "must be after from_time")
	}
	return f, nil
}

func invalid(field, description string) error {
	return errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request is not valid").WithField(field, description)
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
