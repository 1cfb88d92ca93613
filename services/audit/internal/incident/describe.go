package incident

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Get shows an incident with its timeline, or fails with INCIDENT_NOT_FOUND.
func (x *Incidents) Get(ctx context.Context, practice, id uuid.UUID) (*auditv1.Incident, error) {
	s, err := x.load(ctx, practice, id)
	if err != nil {
		return nil, err
	}
	texts, err := x.register.Texts(ctx, s.rows)
	if err != nil {
		return nil, err
	}
	notices, err := x.Store.Notices(ctx, practice, Name(id))
	if err != nil {
		return nil, err
	}
	out := x.describe(s, texts[0])
	for n, step := range s.steps {
		out.Steps = append(out.Steps, describeStep(step, texts[n]))
	}
	for n, item := range s.state.Tasks {
		out.Tasks[n].Text = texts[item.Step]
	}
	for n, item := range s.state.Actions {
		out.CorrectiveActions[n].Text = texts[item.Step]
	}
	for _, n := range notices {
		out.Notices = append(out.Notices, DescribeNotice(n))
	}
	return out, nil
}

// List shows at most size incidents of a practice, newest first, that come before the given one, and
// where the next page begins; uuid.Nil at the end.
func (x *Incidents) List(ctx context.Context, practice, before uuid.UUID, openOnly bool, size int) (list []*auditv1.Incident, next uuid.UUID, err error) {
	for len(list) < size {
		found, err := x.Store.Subjects(ctx, store.Incidents, practice, before, size)
		if err != nil {
			return nil, uuid.Nil, err
		}
		shown, last, err := x.page(ctx, found, openOnly, size-len(list))
		if err != nil {
			return nil, uuid.Nil, err
		}
		list = append(list, shown...)
		if len(found) < size && (len(found) == 0 || last == found[len(found)-1][0].Subject) {
			return list, uuid.Nil, nil
		}
		before = last
	}
	return list, before, nil
}

// page shows the first of found that count, at most so many, and says which one was looked at last.
func (x *Incidents) page(ctx context.Context, found [][]store.Step, openOnly bool, most int) (list []*auditv1.Incident, last uuid.UUID, err error) {
	var taken []*subject
	var titles []store.Step
	for _, rows := range found {
		if len(taken) == most {
			break
		}
		s, err := take(rows)
		if err != nil {
			return nil, uuid.Nil, err
		}
		last = s.id
		if openOnly && !s.state.Closed.IsZero() {
			continue
		}
		taken, titles = append(taken, s), append(titles, rows[0])
	}
	texts, err := x.register.Texts(ctx, titles)
	if err != nil {
		return nil, uuid.Nil, err
	}
	for n, s := range taken {
		list = append(list, x.describe(s, texts[n]))
	}
	return list, last, nil
}

func (x *Incidents) describe(s *subject, title string) *auditv1.Incident {
	i := s.state
	out := &auditv1.Incident{
		Name: Name(s.id), Title: title, Severity: i.Severity, Phase: i.Phase, OpenTime: timestamppb.New(i.Opened),
		AcknowledgeTime: moment(i.Acknowledged), CloseTime: moment(i.Closed), Rule: i.Rule,
		Tasks: describeItems(i.Tasks), CorrectiveActions: describeItems(i.Actions),
	}
	for p := auditv1.IncidentPhase_INCIDENT_PHASE_DETECT; clocks[p] > 0; p++ {
		out.Clocks = append(out.Clocks, &auditv1.PhaseClock{
			Phase: p, DueTime: timestamppb.New(i.Due(p)), CompleteTime: moment(i.Completed[p]), Late: i.Late(p, x.Now()),
		})
	}
	for _, r := range i.Evidence {
		out.Evidence = append(out.Evidence, &auditv1.EvidenceRange{FromSeq: r.From, ToSeq: r.To})
	}
	return out
}

func describeItems(items []Item) []*auditv1.IncidentItem {
	out := make([]*auditv1.IncidentItem, len(items))
	for n, item := range items {
		out[n] = &auditv1.IncidentItem{Id: item.ID.String(), Owner: "users/" + item.Owner.String(), DueDate: item.Due, CompleteTime: moment(item.Done)}
	}
	return out
}

func describeStep(s Step, text string) *auditv1.IncidentStep {
	out := &auditv1.IncidentStep{Kind: s.Kind, CreateTime: timestamppb.New(s.Time), Text: text, Phase: s.Phase, Severity: s.Severity}
	if s.User != uuid.Nil {
		out.User = "users/" + s.User.String()
	}
	if s.Item != uuid.Nil {
		out.ItemId = s.Item.String()
	}
	if s.Kind == auditv1.IncidentStep_KIND_EVIDENCE_ATTACHED {
		out.Evidence = &auditv1.EvidenceRange{FromSeq: s.From, ToSeq: s.To}
	}
	return out
}

// DescribeNotice shows a notice.
func DescribeNotice(n store.Notice) *auditv1.Notice {
	return &auditv1.Notice{
		EventId: n.ID.String(), Reason: n.Reason, Detail: n.Detail, Recipient: n.Recipient, Risk: auditv1.Risk(n.Risk),
		DueTime: timestamppb.New(n.Due), CreateTime: timestamppb.New(n.Created),
	}
}

// moment shows a time that may not have come.
func moment(at time.Time) *timestamppb.Timestamp {
	if at.IsZero() {
		return nil
	}
	return timestamppb.New(at)
}
