// Package incident leads through security incidents: what happened to one is rows, its state
// follows from them, and every rule of the order is in this file's fold. It stores nothing by itself
// and knows no caller; handlers and the sweep of the clocks use it.
package incident

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// clocks says how long after the opening each phase has to be complete (claims DH-51, DH-53).
var clocks = map[auditv1.IncidentPhase]time.Duration{
	auditv1.IncidentPhase_INCIDENT_PHASE_DETECT:      time.Hour,
	auditv1.IncidentPhase_INCIDENT_PHASE_CLASSIFY:    2 * time.Hour,
	auditv1.IncidentPhase_INCIDENT_PHASE_CONTAIN:     4 * time.Hour,
	auditv1.IncidentPhase_INCIDENT_PHASE_INVESTIGATE: 48 * time.Hour,
	auditv1.IncidentPhase_INCIDENT_PHASE_RECOVER:     96 * time.Hour,
}

// Facts is what a step says besides the text that a person wrote. It names nobody's data.
type Facts struct {
	Rule     string                `json:"rule,omitempty"`
	Phase    auditv1.IncidentPhase `json:"phase,omitempty"`
	Severity auditv1.Risk          `json:"severity,omitempty"`
	Item     uuid.UUID             `json:"item,omitzero"`
	Owner    uuid.UUID             `json:"owner,omitzero"`
	Due      string                `json:"due,omitempty"` // YYYY-MM-DD
	From     int64                 `json:"from,omitempty"`
	To       int64                 `json:"to,omitempty"`
}

// Step is one thing that is done to an incident.
type Step struct {
	Kind auditv1.IncidentStep_Kind
	User uuid.UUID // nil for the service itself
	Time time.Time
	Facts
	Text string // as a person wrote it; the fold does not look at it
}

// Item is a task or a corrective action.
type Item struct {
	ID, Owner uuid.UUID
	Due       string
	Done      time.Time
	Step      int // which step added it, from 0: its text is there
}

// Incident is what follows from the steps.
type Incident struct {
	Rule         string
	Severity     auditv1.Risk
	Phase        auditv1.IncidentPhase
	Opened       time.Time
	Acknowledged time.Time
	Completed    map[auditv1.IncidentPhase]time.Time
	Tasks        []Item
	Actions      []Item
	Evidence     []store.Range
	Reviewed     time.Time
	Closed       time.Time
	Steps        int
}

// Fold returns the state that follows from steps in order. It fails where they are not what Apply lets pass.
func Fold(steps []Step) (*Incident, error) {
	i := &Incident{}
	for n, s := range steps {
		if err := i.Apply(s); err != nil {
			return nil, fmt.Errorf("step %d: %w", n+1, err)
		}
	}
	return i, nil
}

// Due returns by when a phase has to be complete; zero where it has no clock.
func (i *Incident) Due(p auditv1.IncidentPhase) time.Time {
	after, has := clocks[p]
	if !has {
		return time.Time{}
	}
	return i.Opened.Add(after)
}

// Late reports whether a phase was completed late, or is not complete although its time has passed.
func (i *Incident) Late(p auditv1.IncidentPhase, now time.Time) bool {
	due := i.Due(p)
	if done, ok := i.Completed[p]; ok {
		now = done
	}
	return !due.IsZero() && now.After(due)
}

func refuse(reason, format string, args ...any) error {
	return errs.New(errs.KindPrecondition, reason, fmt.Sprintf(format, args...))
}

// Apply takes the next step, or says why it cannot come now.
func (i *Incident) Apply(s Step) error {
	if err := i.may(s); err != nil {
		return err
	}
	switch s.Kind {
	case auditv1.IncidentStep_KIND_OPENED:
		i.Opened, i.Rule, i.Phase = s.Time, s.Rule, auditv1.IncidentPhase_INCIDENT_PHASE_DETECT
		i.Severity, i.Completed = s.Severity, map[auditv1.IncidentPhase]time.Time{}
	case auditv1.IncidentStep_KIND_ACKNOWLEDGED:
		i.Acknowledged = s.Time
	case auditv1.IncidentStep_KIND_PHASE_COMPLETED:
		i.Completed[s.Phase], i.Phase = s.Time, s.Phase+1
		if s.Phase == auditv1.IncidentPhase_INCIDENT_PHASE_CLASSIFY {
			i.Severity = s.Severity
		}
	case auditv1.IncidentStep_KIND_RECLASSIFIED:
		i.Severity = s.Severity
	case auditv1.IncidentStep_KIND_TASK_ADDED:
		i.Tasks = append(i.Tasks, Item{ID: s.Item, Owner: s.Owner, Due: s.Due, Step: i.Steps})
	case auditv1.IncidentStep_KIND_TASK_COMPLETED:
		find(i.Tasks, s.Item).Done = s.Time
	case auditv1.IncidentStep_KIND_EVIDENCE_ATTACHED:
		i.Evidence = append(i.Evidence, store.Range{From: s.From, To: s.To})
	case auditv1.IncidentStep_KIND_REVIEWED:
		i.Reviewed = s.Time
	case auditv1.IncidentStep_KIND_ACTION_ADDED:
		i.Actions = append(i.Actions, Item{ID: s.Item, Owner: s.Owner, Due: s.Due, Step: i.Steps})
	case auditv1.IncidentStep_KIND_ACTION_COMPLETED:
		find(i.Actions, s.Item).Done = s.Time
	case auditv1.IncidentStep_KIND_CLOSED:
		i.Closed, i.Phase = s.Time, auditv1.IncidentPhase_INCIDENT_PHASE_CLOSED
	}
	i.Steps++
	return nil
}

// find returns the open item of an id, nil where there is none.
func find(items []Item, id uuid.UUID) *Item {
	for n := range items {
		if items[n].ID == id && items[n].Done.IsZero() {
			return &items[n]
		}
	}
	return nil
}

// open counts the items that are not done.
func open(items []Item) (n int) {
	for _, item := range items {
		if item.Done.IsZero() {
			n++
		}
	}
	return n
}

// day reads a date of a request or step.
func day(text string) (calendar.Day, error) {
	at, err := calendar.ParseDay(text)
	if err != nil {
		return 0, errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request is not valid").
			WithField("due_date", "must be a day of the calendar, as 2027-01-31")
	}
	return at, nil
}

func decode(raw []byte) (f Facts, err error) {
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("facts of a step: %w", err)
	}
	return f, nil
}
