package reports

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// acknowledgeDays is the promise of claim DMD-34, in business days after the day of the receipt.
	acknowledgeDays = 5
	checkEvery      = time.Minute
	manyAtOnce      = 100
)

// Reasons of the alerts.
const (
	ReasonNear    = "REPORT_NEARLY_DUE"
	ReasonOverdue = "REPORT_OVERDUE"
)

// Clock counts business days: Monday to Friday without the bank holidays of a nation, in
// London; for the zero value Monday to Friday, in UTC.
type Clock struct{ Nation calendar.Nation }

func (c Clock) where() *time.Location {
	if c.Nation == 0 {
		return time.UTC
	}
	return calendar.London
}

// times are from when a report is nearly due, which is the start of the last of its days, and overdue.
func (c Clock) times(received time.Time) (near, due time.Time) {
	last := c.day(calendar.DayOf(received, c.where()))
	return last.Start(c.where()), (last + 1).Start(c.where())
}

// day is the last day of the clock. Where the holidays are not known it is the earlier one that has none: a
// report is taken also when this release is older than its table.
func (c Clock) day(received calendar.Day) calendar.Day {
	if c.Nation != 0 {
		if last, err := calendar.AddWorkingDays(received, acknowledgeDays, c.Nation); err == nil {
			return last
		}
	}
	return calendar.AddWeekdays(received, acknowledgeDays)
}

// lastDay is the day that ends when a report is overdue, as YYYY-MM-DD.
func (c Clock) lastDay(due time.Time) string {
	return calendar.DayOf(due.Add(-time.Microsecond), c.where()).String()
}

// Run tells of due reports until ctx ends. Every replica does; the log takes each alert once.
func (r *Reports) Run(ctx context.Context) {
	every := time.NewTicker(checkEvery)
	defer every.Stop()
	for {
		if _, err := r.CheckDue(ctx); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "vulnerability reports were not checked for those that are due", telemetry.KeyError, err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// CheckDue raises an alert for each report that waits for its acknowledgement and is nearly
// due or overdue, once for each of the two. It returns how many it raised.
func (r *Reports) CheckDue(ctx context.Context) (int, error) {
	raised := 0
	for {
		list, err := r.Store.DueReports(ctx, r.Now(), answers, manyAtOnce)
		if err != nil {
			return raised, err
		}
		for _, d := range list {
			// The event's id follows from the report, so that an event that is in the log already,
			// because this process died after it, is not there twice.
			if err := r.Sink.Record(ctx, r.alert(d)); err != nil {
				return raised, fmt.Errorf("tell of report %s: %w", d.ID, err)
			}
			if err := r.Store.AddReportNotice(ctx, d, r.Now()); err != nil {
				return raised, err
			}
			raised++
		}
		if len(list) < manyAtOnce {
			return raised, nil
		}
	}
}

// alert is an event of critical risk, which is what alerts are made of; that goes for what is
// nearly due as well, since it is the last alert in time. It happened when the time came, whenever somebody looked.
func (r *Reports) alert(d store.DueReport) *auditv1.Event {
	reason := ReasonNear
	if d.Level == store.ReportOverdue {
		reason = ReasonOverdue
	}
	recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, "jobs/CheckDueReports", accessv1.Action_ACTION_ALERT, r.Now)
	return recorder.Event(evidence.Resource(Name(d.ID), 0), evidence.Reason(reason), evidence.Risk(auditv1.Risk_RISK_CRITICAL),
		func(e *auditv1.Event) { e.EventId, e.EventTime = alertID(d).String(), timestamppb.New(d.At) })
}

// alertID is a UUIDv7 of the alert's time whose random bits are a hash of what it is about.
func alertID(d store.DueReport) uuid.UUID {
	sum := sha256.Sum256(append(d.ID[:], byte(d.Level)))
	var id uuid.UUID
	copy(id[:], sum[:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(d.At.UnixMilli())) // after 1970
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}
