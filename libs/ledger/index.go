package ledger

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
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
	// Where came after the others: nil in rows and exports from before.
	Where *Where `json:"where,omitempty"`
}

// Where is the part of an index that says by which way something was done. Unlike
// that of the others its text was never a condition for an event to be in the log, so what
// cannot stand in a column is indexed as if it were not there.
type Where struct {
	Session uuid.UUID  `json:"session_id"` // uuid.Nil where there is none, or it is no UUID
	Device  uuid.UUID  `json:"device_id"`  // likewise
	Address netip.Addr `json:"address"`    // the zero Addr where there is none; without zone, IPv4 as such
	Risk    int16      `json:"risk"`
	Service int16      `json:"service"`
	Method  string     `json:"method"` // "" where it is longer than 128 bytes or not visible ASCII
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
	x.Where = whereOf(e)
	return x, nil
}

const maxMethod = 128

func whereOf(e *auditv1.Event) *Where {
	w := &Where{Session: idOrNil(e.GetSessionId()), Device: idOrNil(e.GetDeviceId()), Risk: int16(e.GetRisk())}
	if s := e.GetService(); s >= 0 && s <= math.MaxInt16 {
		w.Service = int16(s)
	}
	if at, err := netip.ParseAddr(e.GetAddress()); err == nil {
		w.Address = at.Unmap().WithZone("")
	}
	hidden := func(c rune) bool { return c <= ' ' || c > '~' }
	if m := e.GetMethod(); len(m) <= maxMethod && !strings.ContainsFunc(m, hidden) {
		w.Method = m
	}
	return w
}

func idOrNil(text string) uuid.UUID {
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil
	}
	return id
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
	case stored.Where == nil:
		return "", false // from before these columns; whoever filters asks the event
	}
	return x.Where.differs(*stored.Where)
}

func (w Where) differs(stored Where) (string, bool) {
	switch {
	case w.Session != stored.Session:
		return "session_id", true
	case w.Device != stored.Device:
		return "device_id", true
	case w.Address != stored.Address:
		return "address", true
	case w.Risk != stored.Risk:
		return "risk", true
	case w.Service != stored.Service:
		return "service", true
	case w.Method != stored.Method:
		return "method", true
	}
	return "", false
}
