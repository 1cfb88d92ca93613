package ledger

import (
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// Index is what the audit store keeps of an event in columns, for filters. It
// follows from the event's bytes, and the verifier holds the columns to that.
type Index struct {
	EventID   uuid.UUID `json:"event_id"`
	Practice  uuid.UUID `json:"practice_id"` // uuid.Nil outside any practice
	User      uuid.UUID `json:"user_id"`     // uuid.Nil where nobody had signed in
	Patient   uuid.UUID `json:"patient_id"`  // uuid.Nil where the event is about no patient
	Action    int16     `json:"action"`
	Outcome   int16     `json:"outcome"`
	EventTime time.Time `json:"event_time"`
}

// IndexOf derives the index of an event. An error says what is wrong with the
// event without repeating any of it: such an event cannot be in the log.
func IndexOf(e *auditv1.Event) (Index, error) {
	var x Index
	var err error
	if x.EventID, err = uuid.Parse(e.GetEventId()); err != nil || x.EventID.Version() != 7 {
		return Index{}, fmt.Errorf("event_id is not a UUIDv7")
	}
	for _, id := range []struct {
		name, text string
		into       *uuid.UUID
	}{
		{"practice_id", e.GetPracticeId(), &x.Practice},
		{"user_id", e.GetUserId(), &x.User},
		{"patient_id", e.GetPatientId(), &x.Patient},
	} {
		if id.text == "" {
			continue
		}
		if *id.into, err = uuid.Parse(id.text); err != nil {
			return Index{}, fmt.Errorf("%s is not a UUID", id.name)
		}
	}
	if err := e.GetEventTime().CheckValid(); err != nil {
		return Index{}, fmt.Errorf("event_time is missing or out of range")
	}
	x.EventTime = e.GetEventTime().AsTime().Truncate(time.Microsecond)
	// An action that a newer release added is kept; outcome and risk are closed lists.
	if a := int32(e.GetAction()); a < 0 || a > math.MaxInt16 {
		return Index{}, fmt.Errorf("action %d is out of range", a)
	}
	x.Action = int16(e.GetAction())
	switch e.GetOutcome() {
	case auditv1.Outcome_OUTCOME_OK, auditv1.Outcome_OUTCOME_DENIED, auditv1.Outcome_OUTCOME_FAILED:
		x.Outcome = int16(e.GetOutcome())
	default:
		return Index{}, fmt.Errorf("outcome %d is none of OK, DENIED and FAILED", e.GetOutcome())
	}
	if r := e.GetRisk(); r < auditv1.Risk_RISK_LOW || r > auditv1.Risk_RISK_CRITICAL {
		return Index{}, fmt.Errorf("risk %d is none of the four levels", r)
	}
	return x, nil
}

// differs names the first column in which the stored index is not what the event says.
func (x Index) differs(stored Index) (string, bool) {
	switch {
	case x.EventID != stored.EventID:
		return "event_id", true
	case x.Practice != stored.Practice:
		return "practice_id", true
	case x.User != stored.User:
		return "user_id", true
	case x.Patient != stored.Patient:
		return "patient_id", true
	case x.Action != stored.Action:
		return "action", true
	case x.Outcome != stored.Outcome:
		return "outcome", true
	case !x.EventTime.Equal(stored.EventTime):
		return "event_time", true
	}
	return "", false
}
