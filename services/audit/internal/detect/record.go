package detect

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/detect/engine"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
	auditevent "github.com/carekeep/carekeep/services/audit/internal/event"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	methodRules = "jobs/LoadRules"
	// ReasonRefused: the rules file is not valid.
	ReasonRefused = "RULES_FILE_REFUSED"
	reasonChanged = "RULES_CHANGED"
)

// record puts an event of each finding into the log, whose alert commits with it, and returns what is to be stored beside it. The ids
// follow from entry and rule: should this process die before the rows are stored, the next one finds
// the same again, and the log takes each event once.
func (t *term) record(ctx context.Context, found []engine.Finding) ([]store.Detection, error) {
	if len(found) == 0 {
		return nil, nil
	}
	now := t.Now().UTC().Truncate(time.Microsecond)
	if now.Before(t.last) {
		now = t.last // so that who reads by time misses none
	}
	recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, auditevent.MethodDetect, accessv1.Action_ACTION_ALERT, t.Now)
	detections, events := make([]store.Detection, len(found)), make([]*auditv1.Event, len(found))
	for i, f := range found {
		detections[i] = detection(f, now)
		events[i] = recorder.Event(about(f, detections[i].ID))
	}
	if err := t.Sink.Record(ctx, events...); err != nil {
		return nil, fmt.Errorf("record what was found: %w", err)
	}
	t.last = now
	return detections, nil
}

func detection(f engine.Finding, now time.Time) store.Detection {
	e := f.Event
	return store.Detection{
		ID: idOf(f, "detection"), Rule: f.Rule.ID, Practice: parsed(e.GetPracticeId()), User: parsed(e.GetUserId()),
		Patient: parsed(e.GetPatientId()), Session: parsed(e.GetSessionId()), Device: parsed(e.GetDeviceId()), Address: e.GetAddress(),
		Risk: int16(f.Rule.Risk), Seq: f.Seq, FirstSeq: f.FirstSeq, Count: f.Count, Title: f.Rule.Title, Actions: append([]string{}, f.Rule.Actions...), Time: now,
	}
}

// about fills in the event of a finding: whom and what the entry was about that made the rule fire.
func about(f engine.Finding, id uuid.UUID) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		of := f.Event
		e.EventId = idOf(f, "event").String()
		e.PracticeId, e.UserId, e.Username, e.PatientId = of.GetPracticeId(), of.GetUserId(), of.GetUsername(), of.GetPatientId()
		e.SessionId, e.DeviceId, e.Address = of.GetSessionId(), of.GetDeviceId(), of.GetAddress()
		e.Resource, e.Count, e.Reason, e.Risk = "detections/"+id.String(), f.Count, f.Rule.ID, f.Rule.Risk
		if alreadyAlert(f) {
			e.Code = int32(codes.AlreadyExists)
		}
	}
}

// alreadyAlert reports whether a finding says no more than its entry, which is an alert by its own risk.
func alreadyAlert(f engine.Finding) bool {
	return f.Event.GetRisk() == auditv1.Risk_RISK_CRITICAL && len(f.Rule.When.Counters) == 0
}

// parsed reads an id of an entry; uuid.Nil for none.
func parsed(id string) uuid.UUID {
	u, err := uuid.Parse(id)
	if err != nil {
		return uuid.Nil
	}
	return u
}

// idOf is a UUIDv7 of the entry's time whose other bits follow from entry and rule.
func idOf(f engine.Finding, what string) uuid.UUID {
	sum := sha256.Sum256(fmt.Appendf(nil, "carekeep %s %s %d", what, f.Rule.ID, f.Seq))
	var id uuid.UUID
	copy(id[:], sum[:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(f.AppendTime.UnixMilli()))
	copy(id[:6], ms[2:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}

// refused tells the log, and by a rule of its own everybody who reads alerts, that the file is not valid.
func (t *term) refused(ctx context.Context) error {
	recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, methodRules, accessv1.Action_ACTION_ALERT, t.Now)
	return t.Sink.Record(ctx, recorder.Event(evidence.Outcome(auditv1.Outcome_OUTCOME_FAILED, codes.FailedPrecondition, ReasonRefused),
		evidence.Resource("rules", 0)))
}

// changed tells the log that other rules are in force. The first ones ever are no change.
func (t *term) changed(ctx context.Context, before string, pack *rules.Pack) error {
	if before == "" {
		return nil
	}
	recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, methodRules, accessv1.Action_ACTION_POLICY_CHANGE, t.Now)
	return t.Sink.Record(ctx, recorder.Event(evidence.Reason(reasonChanged), evidence.Resource("rules/"+pack.Digest, 0), evidence.Count(len(pack.Rules))))
}
