package breach

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/incident"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Get shows a breach with everything that happened, or fails with BREACH_NOT_FOUND.
func (x *Breaches) Get(ctx context.Context, practice, id uuid.UUID) (*auditv1.Breach, error) {
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
	out := x.describe(s)
	for n, step := range s.steps {
		out.Steps = append(out.Steps, &auditv1.BreachStep{
			Kind: step.Kind, CreateTime: timestamppb.New(step.Time), User: "users/" + step.User.String(), Text: texts[n],
		})
	}
	if out.Assessment != nil {
		// What does not parse was written by a newer release; the step above shows it as it is.
		var findings [4]string
		_ = json.Unmarshal([]byte(texts[s.state.Assessed-1]), &findings)
		for n, f := range factors(out.GetAssessment()) {
			f.Finding = findings[n]
		}
	}
	for _, n := range notices {
		out.Notices = append(out.Notices, incident.DescribeNotice(n))
	}
	return out, nil
}

// factors are the four, in the order of the rule.
func factors(a *auditv1.Assessment) [4]*auditv1.Factor {
	return [4]*auditv1.Factor{a.GetNature(), a.GetRecipient(), a.GetAcquired(), a.GetMitigated()}
}

// Findings reads an assessment: which factors speak for a low probability, and why. All four have to be
// there with a finding, unless evidence shows that the data was encrypted.
func Findings(a *auditv1.Assessment) (low [4]bool, text string, err error) {
	var findings [4]string
	for n, f := range factors(a) {
		low[n], findings[n] = f.GetLow(), strings.TrimSpace(f.GetFinding())
		if findings[n] == "" && a.GetEncryptionEvidence() == nil {
			return low, "", invalid("assessment", "needs a finding for each of the four factors (45 CFR 164.402), or the evidence of encryption")
		}
	}
	raw, err := json.Marshal(findings)
	return low, string(raw), err
}

// List shows at most size breaches of a practice, newest first, that come before the given one.
func (x *Breaches) List(ctx context.Context, practice, before uuid.UUID, size int) ([]*auditv1.Breach, uuid.UUID, error) {
	found, err := x.Store.Subjects(ctx, store.Breaches, practice, before, size+1)
	if err != nil {
		return nil, uuid.Nil, err
	}
	var next uuid.UUID
	if len(found) > size {
		found = found[:size]
		next = found[size-1][0].Subject
	}
	list := make([]*auditv1.Breach, len(found))
	for n, rows := range found {
		s, err := x.take(ctx, rows)
		if err != nil {
			return nil, uuid.Nil, err
		}
		list[n] = x.describe(s)
	}
	return list, next, nil
}

func (x *Breaches) describe(s *subject) *auditv1.Breach {
	b, r := s.state, s.reach
	out := &auditv1.Breach{
		Name: Name(s.id), Incident: incident.Name(b.Incident), DiscoveryDate: b.Discovery.String(), TimeZone: b.Zone.String(), Notifiable: b.Notifiable(),
		Recipients: r.Total, OpenTime: timestamppb.New(b.Opened), CloseTime: moment(b.Closed), AwareTime: moment(b.Aware), States: states(b.States),
		Deliveries:               &auditv1.DeliveryCounts{Pending: r.Pending, Sent: r.Sent, Delivered: r.Delivered, Unreachable: r.Unreachable},
		SubstituteNoticeRequired: r.Unreachable >= substituteFrom && !b.substituted(r),
	}
	if b.Proposed != 0 {
		out.ProposedDiscoveryDate = b.Proposed.String()
	}
	if b.Assessed > 0 {
		out.Assessment = &auditv1.Assessment{
			Nature: &auditv1.Factor{Low: b.Low[0]}, Recipient: &auditv1.Factor{Low: b.Low[1]}, Acquired: &auditv1.Factor{Low: b.Low[2]}, Mitigated: &auditv1.Factor{Low: b.Low[3]},
		}
		if b.Encrypted != nil {
			out.Assessment.EncryptionEvidence = &auditv1.EvidenceRange{FromSeq: b.Encrypted.From, ToSeq: b.Encrypted.To}
		}
	}
	for _, d := range b.Deadlines(r) {
		out.Deadlines = append(out.Deadlines, &auditv1.Deadline{
			Kind: d.Kind, State: d.State, DueDate: d.Day.String(), DueTime: timestamppb.New(d.End), DoneTime: moment(d.Done), Late: d.Late(x.Now()),
		})
	}
	return out
}

func states(counts map[string]int64) (out []*auditv1.StateCount) {
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, &auditv1.StateCount{State: state, Count: counts[state]})
	}
	return out
}

// moment shows a time that may not have come.
func moment(at time.Time) *timestamppb.Timestamp {
	if at.IsZero() {
		return nil
	}
	return timestamppb.New(at)
}

// Render writes the letter under the practice's name.
func (x *Breaches) Render(ctx context.Context, practice, id uuid.UUID, name string) (string, error) {
	s, err := x.load(ctx, practice, id)
	if err != nil {
		return "", err
	}
	e, err := x.letter(ctx, s)
	if err != nil {
		return "", err
	}
	return s.state.render(name, e)
}

// letter opens what the letter says.
func (x *Breaches) letter(ctx context.Context, s *subject) (*auditv1.LetterElements, error) {
	if s.state.Letter == 0 {
		return nil, refuse("LETTER_MISSING", "write the letter first")
	}
	texts, err := x.register.Texts(ctx, s.rows[s.state.Letter-1:s.state.Letter])
	if err != nil {
		return nil, err
	}
	return elements(texts[0])
}

// Form fills in what HHS asks for, as far as it is known here.
func (x *Breaches) Form(ctx context.Context, practice, id uuid.UUID) (*auditv1.HhsForm, error) {
	s, err := x.load(ctx, practice, id)
	if err != nil {
		return nil, err
	}
	b, r := s.state, s.reach
	out := &auditv1.HhsForm{
		Breach: Name(s.id), Affected: "fewer-than-500", Individuals: r.Total, OccurrenceDate: b.Occurred, DiscoveryDate: b.Discovery.String(),
		Type: b.Type, Locations: b.Locations, SubstituteNotice: !b.Substitute.IsZero(), States: states(b.States),
	}
	if r.Total >= hhsLarge {
		out.Affected = "500-or-more"
	}
	if r.Total == 0 {
		out.Missing = append(out.Missing, "the recipients: collect them")
	}
	if r.First != nil {
		out.IndividualNoticeDate = dayIn(*r.First, b.Zone)
	} else {
		out.Missing = append(out.Missing, "the day of the first letter: record deliveries")
	}
	for _, d := range b.Deadlines(r) {
		switch d.Kind {
		case auditv1.Deadline_KIND_HHS:
			out.DueDate = d.Day.String()
		case auditv1.Deadline_KIND_MEDIA:
			out.MediaNotice = out.GetMediaNotice() || !d.Done.IsZero()
		}
	}
	if b.Letter == 0 {
		out.Missing = append(out.Missing, "what happened and what is done: write the letter")
	} else {
		e, err := x.letter(ctx, s)
		if err != nil {
			return nil, err
		}
		out.Description, out.KindsOfData, out.ActionsTaken = e.GetWhatHappened(), e.GetKindsOfData(), e.GetMeasures()
	}
	if b.HHS > 0 {
		texts, err := x.register.Texts(ctx, s.rows[b.HHS-1:b.HHS])
		if err != nil {
			return nil, err
		}
		out.Receipt = texts[0]
	}
	return out, nil
}

func dayIn(at time.Time, zone *time.Location) string { return at.In(zone).Format(time.DateOnly) }
