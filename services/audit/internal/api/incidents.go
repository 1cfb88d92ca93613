package api

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/audit/internal/incident"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const incidentPage = 50

// IncidentService implements the API of incidents.
type IncidentService struct {
	auditv1.UnimplementedIncidentServiceServer
	incidents *incident.Incidents
}

// NewIncidents makes the service.
func NewIncidents(x *incident.Incidents) *IncidentService { return &IncidentService{incidents: x} }

// lastID is the UUID at the end of a resource name whose form protovalidate has checked.
func lastID(name string) uuid.UUID {
	id, _ := uuid.Parse(name[strings.LastIndexByte(name, '/')+1:])
	return id
}

// step begins a step of the caller's.
func (s *IncidentService) step(ctx context.Context, kind auditv1.IncidentStep_Kind, text string) incident.Step {
	out := incident.Step{Kind: kind, Time: s.incidents.Now().UTC().Truncate(time.Microsecond), Text: text}
	if c, ok := caller.From(ctx); ok {
		out.User = c.User
	}
	return out
}

// change adds a step to an incident and shows what it is then.
func (s *IncidentService) change(ctx context.Context, name string, step incident.Step) (*auditv1.Incident, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	id := lastID(name)
	if err := s.incidents.Change(ctx, own, id, step); err != nil {
		return nil, err
	}
	return s.incidents.Get(ctx, own, id)
}

// OpenIncident implements the RPC.
func (s *IncidentService) OpenIncident(ctx context.Context, r *auditv1.OpenIncidentRequest) (*auditv1.Incident, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	step := s.step(ctx, auditv1.IncidentStep_KIND_OPENED, r.GetTitle())
	step.Severity = r.GetSeverity()
	id, err := s.incidents.Open(ctx, own, step)
	if err != nil {
		return nil, err
	}
	return s.incidents.Get(ctx, own, id)
}

// ListIncidents implements the RPC.
func (s *IncidentService) ListIncidents(ctx context.Context, r *auditv1.ListIncidentsRequest) (*auditv1.ListIncidentsResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	list, next, err := s.incidents.List(ctx, own, lastID(r.GetPageToken()), r.GetOpenOnly(), sizeOr(r.GetPageSize(), incidentPage))
	if err != nil {
		return nil, err
	}
	return &auditv1.ListIncidentsResponse{Incidents: list, NextPageToken: token(next)}, nil
}

// GetIncident implements the RPC.
func (s *IncidentService) GetIncident(ctx context.Context, r *auditv1.GetIncidentRequest) (*auditv1.Incident, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	return s.incidents.Get(ctx, own, lastID(r.GetName()))
}

// AcknowledgeIncident implements the RPC.
func (s *IncidentService) AcknowledgeIncident(ctx context.Context, r *auditv1.AcknowledgeIncidentRequest) (*auditv1.Incident, error) {
	return s.change(ctx, r.GetName(), s.step(ctx, auditv1.IncidentStep_KIND_ACKNOWLEDGED, ""))
}

// CompletePhase implements the RPC.
func (s *IncidentService) CompletePhase(ctx context.Context, r *auditv1.CompletePhaseRequest) (*auditv1.Incident, error) {
	step := s.step(ctx, auditv1.IncidentStep_KIND_PHASE_COMPLETED, r.GetText())
	step.Phase, step.Severity = r.GetPhase(), r.GetSeverity()
	return s.change(ctx, r.GetName(), step)
}

// ReclassifyIncident implements the RPC.
func (s *IncidentService) ReclassifyIncident(ctx context.Context, r *auditv1.ReclassifyIncidentRequest) (*auditv1.Incident, error) {
	step := s.step(ctx, auditv1.IncidentStep_KIND_RECLASSIFIED, r.GetText())
	step.Severity = r.GetSeverity()
	return s.change(ctx, r.GetName(), step)
}

// AddIncidentNote implements the RPC.
func (s *IncidentService) AddIncidentNote(ctx context.Context, r *auditv1.AddIncidentNoteRequest) (*auditv1.Incident, error) {
	return s.change(ctx, r.GetName(), s.step(ctx, auditv1.IncidentStep_KIND_NOTE, r.GetText()))
}

// item begins a task or a corrective action.
func (s *IncidentService) item(ctx context.Context, kind auditv1.IncidentStep_Kind, text, owner, due string) (incident.Step, error) {
	step := s.step(ctx, kind, text)
	step.Item, step.Owner = uuid.New(), lastID(owner)
	var err error
	step.Due, err = incident.Promise(due, step.Time)
	return step, err
}

// AddIncidentTask implements the RPC.
func (s *IncidentService) AddIncidentTask(ctx context.Context, r *auditv1.AddIncidentTaskRequest) (*auditv1.Incident, error) {
	step, err := s.item(ctx, auditv1.IncidentStep_KIND_TASK_ADDED, r.GetText(), r.GetOwner(), r.GetDueDate())
	if err != nil {
		return nil, err
	}
	return s.change(ctx, r.GetName(), step)
}

// CompleteIncidentTask implements the RPC.
func (s *IncidentService) CompleteIncidentTask(ctx context.Context, r *auditv1.CompleteIncidentTaskRequest) (*auditv1.Incident, error) {
	step := s.step(ctx, auditv1.IncidentStep_KIND_TASK_COMPLETED, r.GetText())
	step.Item = lastID(r.GetTaskId())
	return s.change(ctx, r.GetName(), step)
}

// AttachIncidentEvidence implements the RPC.
func (s *IncidentService) AttachIncidentEvidence(ctx context.Context, r *auditv1.AttachIncidentEvidenceRequest) (*auditv1.Incident, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	entries := store.Range{From: r.GetFromSeq(), To: r.GetToSeq()}
	if err := s.incidents.Holds(ctx, own, entries); err != nil {
		return nil, err
	}
	step := s.step(ctx, auditv1.IncidentStep_KIND_EVIDENCE_ATTACHED, r.GetText())
	step.From, step.To = entries.From, entries.To
	return s.change(ctx, r.GetName(), step)
}

// RecordIncidentReview implements the RPC.
func (s *IncidentService) RecordIncidentReview(ctx context.Context, r *auditv1.RecordIncidentReviewRequest) (*auditv1.Incident, error) {
	return s.change(ctx, r.GetName(), s.step(ctx, auditv1.IncidentStep_KIND_REVIEWED, r.GetText()))
}

// AddCorrectiveAction implements the RPC.
func (s *IncidentService) AddCorrectiveAction(ctx context.Context, r *auditv1.AddCorrectiveActionRequest) (*auditv1.Incident, error) {
	step, err := s.item(ctx, auditv1.IncidentStep_KIND_ACTION_ADDED, r.GetText(), r.GetOwner(), r.GetDueDate())
	if err != nil {
		return nil, err
	}
	return s.change(ctx, r.GetName(), step)
}

// CompleteCorrectiveAction implements the RPC.
func (s *IncidentService) CompleteCorrectiveAction(ctx context.Context, r *auditv1.CompleteCorrectiveActionRequest) (*auditv1.Incident, error) {
	step := s.step(ctx, auditv1.IncidentStep_KIND_ACTION_COMPLETED, r.GetText())
	step.Item = lastID(r.GetActionId())
	return s.change(ctx, r.GetName(), step)
}

// CloseIncident implements the RPC.
func (s *IncidentService) CloseIncident(ctx context.Context, r *auditv1.CloseIncidentRequest) (*auditv1.Incident, error) {
	return s.change(ctx, r.GetName(), s.step(ctx, auditv1.IncidentStep_KIND_CLOSED, r.GetText()))
}
