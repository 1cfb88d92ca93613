package incident

import (
	"strings"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/errs"
)

// mostSteps bounds an incident; the last ones are kept for what ends it.
const mostSteps = 5000

// may says whether a step may come now (claims DH-10, DMD-21, DC-23: phases in order, none skipped).
func (i *Incident) may(s Step) error {
	if (s.Kind == auditv1.IncidentStep_KIND_OPENED) != (i.Phase == auditv1.IncidentPhase_INCIDENT_PHASE_UNSPECIFIED) {
		return refuse("INCIDENT_ORDER", "an incident is opened first, and once")
	}
	done := i.Phase == auditv1.IncidentPhase_INCIDENT_PHASE_CLOSED
	if done && s.Kind != auditv1.IncidentStep_KIND_ACTION_COMPLETED {
		return refuse("INCIDENT_CLOSED", "the incident is closed; open another one")
	}
	switch s.Kind {
	case auditv1.IncidentStep_KIND_OPENED:
		return severe(s)
	case auditv1.IncidentStep_KIND_RECLASSIFIED:
		// Otherwise a critical incident could be made a lesser one so that it does not escalate.
		if i.Acknowledged.IsZero() {
			return errNotAcknowledged
		}
		return severe(s)
	case auditv1.IncidentStep_KIND_ACKNOWLEDGED:
		if !i.Acknowledged.IsZero() {
			return refuse("INCIDENT_ACKNOWLEDGED", "somebody has taken the incident on already")
		}
	case auditv1.IncidentStep_KIND_PHASE_COMPLETED:
		return i.mayComplete(s)
	case auditv1.IncidentStep_KIND_NOTE, auditv1.IncidentStep_KIND_EVIDENCE_ATTACHED:
		return i.mayGrow()
	case auditv1.IncidentStep_KIND_TASK_ADDED, auditv1.IncidentStep_KIND_ACTION_ADDED:
		if err := owned(s); err != nil {
			return err
		}
		return i.mayGrow()
	case auditv1.IncidentStep_KIND_TASK_COMPLETED:
		return known(i.Tasks, s.Item)
	case auditv1.IncidentStep_KIND_ACTION_COMPLETED:
		return known(i.Actions, s.Item)
	case auditv1.IncidentStep_KIND_REVIEWED:
		if i.Phase != auditv1.IncidentPhase_INCIDENT_PHASE_REVIEW {
			return i.disorder()
		}
	case auditv1.IncidentStep_KIND_CLOSED:
		return i.mayClose()
	default:
		return refuse("INCIDENT_STEP_UNKNOWN", "a newer release has written this incident")
	}
	return nil
}

var errNotAcknowledged = refuse("INCIDENT_NOT_ACKNOWLEDGED", "acknowledge the incident first, so that it is known who has it")

func (i *Incident) mayGrow() error {
	if i.Steps >= mostSteps {
		return refuse("INCIDENT_FULL", "the incident has %d steps: close it and open another one", i.Steps)
	}
	return nil
}

func severe(s Step) error {
	if s.Severity < auditv1.Risk_RISK_LOW || s.Severity > auditv1.Risk_RISK_CRITICAL {
		return refuse("INCIDENT_SEVERITY", "say one of the four severities")
	}
	return nil
}

func owned(s Step) error {
	_, err := day(s.Due)
	if s.Item == uuid.Nil || s.Owner == uuid.Nil || err != nil {
		return refuse("INCIDENT_ITEM_INCOMPLETE", "say who answers for it and until which day")
	}
	return nil
}

func known(items []Item, id uuid.UUID) error {
	if find(items, id) == nil {
		return refuse("INCIDENT_ITEM_NOT_OPEN", "the incident has no open item of this id")
	}
	return nil
}

func (i *Incident) disorder() error {
	return refuse("INCIDENT_PHASE_ORDER", "the incident is in the phase %s: complete that one first", PhaseName(i.Phase))
}

func (i *Incident) mayComplete(s Step) error {
	_, clocked := clocks[s.Phase]
	if s.Phase != i.Phase || !clocked {
		return i.disorder()
	}
	if s.Phase == auditv1.IncidentPhase_INCIDENT_PHASE_DETECT && i.Acknowledged.IsZero() {
		return errNotAcknowledged
	}
	if s.Phase == auditv1.IncidentPhase_INCIDENT_PHASE_CLASSIFY {
		return severe(s)
	}
	if s.Severity != auditv1.Risk_RISK_UNSPECIFIED {
		return refuse("INCIDENT_SEVERITY", "this phase takes no severity; reclassify the incident")
	}
	return nil
}

// mayClose asks for the review and the corrective actions (claims DMD-25, DC-25).
func (i *Incident) mayClose() error {
	switch {
	case i.Phase != auditv1.IncidentPhase_INCIDENT_PHASE_REVIEW:
		return i.disorder()
	case i.Reviewed.IsZero():
		return refuse("INCIDENT_NOT_REVIEWED", "record the review first")
	case len(i.Actions) == 0:
		return refuse("INCIDENT_NO_ACTION", "add at least one corrective action, with its owner and its day")
	case open(i.Tasks) > 0:
		return refuse("INCIDENT_TASKS_OPEN", "%d tasks are open: complete them first", open(i.Tasks))
	}
	return nil
}

// PhaseName is a phase as people say it.
func PhaseName(p auditv1.IncidentPhase) string {
	return strings.TrimPrefix(p.String(), "INCIDENT_PHASE_")
}

// overdue reports whether an item's last day has passed everywhere.
func overdue(item Item, now time.Time) bool {
	last, err := day(item.Due)
	// The day ends last at UTC-12; until then it is not late for anybody.
	return err == nil && item.Done.IsZero() && now.After((last + 1).Start(time.UTC).Add(12*time.Hour))
}

// Promise reads a day that somebody will have done something by: today somewhere on earth, or later.
func Promise(text string, now time.Time) (string, error) {
	last, err := day(text)
	if err != nil {
		return "", err
	}
	if last < calendar.DayOf(now.Add(-12*time.Hour), time.UTC) {
		return "", errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request is not valid").WithField("due_date", "has passed")
	}
	return text, nil
}
