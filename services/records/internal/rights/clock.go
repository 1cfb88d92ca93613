package rights

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/clocks"
)

// matter is a request as its clock sees it. The enums of both count alike.
func matter(m *Request) (clocks.Matter, error) {
	out := clocks.Matter{
		Law: clocks.Law(m.GetLaw()), Right: clocks.Right(m.GetKind()), Nation: calendar.Nation(m.GetNation()),
		Received: m.GetReceiveTime().AsTime(), Told: instant(m.GetExtension().GetTellTime()),
	}
	if m.GetTimeZone() != "" {
		zone, err := time.LoadLocation(m.GetTimeZone())
		if err != nil || m.GetTimeZone() == "Local" {
			return out, errs.New(errs.KindInvalid, "ZONE_UNKNOWN", "There is no such time zone.").WithField("rights_request.time_zone", "must be a name such as America/Chicago")
		}
		out.Zone = zone
	}
	for _, p := range m.GetPauses() {
		out.Pauses = append(out.Pauses, clocks.Pause{Start: p.GetStartTime().AsTime(), End: instant(p.GetEndTime())})
	}
	return out, nil
}

func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// clock fills in what the clock says.
func (r *Rights) clock(m *Request) error {
	due, where, err := dueDay(m, r.now())
	if err != nil {
		return err
	}
	m.DueDate = due.String()
	end := r.now()
	if m.GetCompletion() != nil {
		end = m.GetCompletion().GetCompleteTime().AsTime()
	}
	m.Overdue = m.GetState() != recordsv1.RightsState_RIGHTS_STATE_PAUSED && calendar.DayOf(end, where) > due
	return nil
}

func dueDay(m *Request, now time.Time) (calendar.Day, *time.Location, error) {
	x, err := matter(m)
	if err != nil {
		return 0, nil, err
	}
	due, err := x.Due(now)
	if err != nil {
		return 0, nil, err
	}
	where, err := x.Where()
	return due, where, err
}

// dueRow is what a row says in the clear: the day on which an answer is due, where a clock runs.
func dueRow(msg proto.Message, now time.Time) (time.Time, string, error) {
	m, ok := msg.(*Request)
	if !ok {
		return time.Time{}, "", nil
	}
	due, where, err := dueDay(m, now) // also of a closed one: a clock that cannot be computed is refused
	if err != nil {
		return time.Time{}, "", err
	}
	switch m.GetState() {
	case recordsv1.RightsState_RIGHTS_STATE_PAUSED, recordsv1.RightsState_RIGHTS_STATE_COMPLETED:
		return time.Time{}, "", nil
	}
	return due.Start(time.UTC), where.String(), nil
}

// fee says of an accounting under HIPAA whether it may cost something.
func (r *Rights) fee(ctx context.Context, who actor, patient uuid.UUID, m *Request) error {
	if m.GetLaw() != recordsv1.RightsLaw_RIGHTS_LAW_HIPAA || m.GetKind() != recordsv1.RightsKind_RIGHTS_KIND_ACCOUNTING {
		return nil
	}
	x, err := matter(m)
	if err != nil {
		return err
	}
	where, err := x.Where()
	if err != nil {
		return err
	}
	var earlier []time.Time
	if err := requests.each(ctx, r, who, patient, func(e entry[*Request]) error {
		if e.msg.GetKind() == m.GetKind() && e.msg.GetDecision().GetGround() == "" {
			earlier = append(earlier, e.msg.GetReceiveTime().AsTime())
		}
		return nil
	}); err != nil {
		return err
	}
	m.FeeAllowed = !clocks.FreeAccounting(x.Received, earlier, where)
	return nil
}
