package incident_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/incident"
)

var start = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)

func opened(severity auditv1.Risk) incident.Step {
	return incident.Step{Kind: auditv1.IncidentStep_KIND_OPENED, Time: start, Facts: incident.Facts{Severity: severity}}
}

// Each clock runs from the opening, to the second.
func TestDH51_TheClocksOfThePhases(t *testing.T) {
	t.Parallel()
	i, err := incident.Fold([]incident.Step{opened(auditv1.Risk_RISK_HIGH)})
	require.NoError(t, err)
	for phase, hours := range map[auditv1.IncidentPhase]time.Duration{
		auditv1.IncidentPhase_INCIDENT_PHASE_DETECT: 1, auditv1.IncidentPhase_INCIDENT_PHASE_CLASSIFY: 2,
		auditv1.IncidentPhase_INCIDENT_PHASE_CONTAIN: 4, auditv1.IncidentPhase_INCIDENT_PHASE_INVESTIGATE: 48,
		auditv1.IncidentPhase_INCIDENT_PHASE_RECOVER: 96,
	} {
		due := start.Add(hours * time.Hour)
		require.Equal(t, due, i.Due(phase))
		require.False(t, i.Late(phase, due), "%s is in time at its end", phase)
		require.True(t, i.Late(phase, due.Add(time.Second)), "%s", phase)
	}
	require.False(t, i.Late(auditv1.IncidentPhase_INCIDENT_PHASE_REVIEW, start.AddDate(1, 0, 0)), "a review has no clock")
}

// Whatever is called in whatever order, phases complete one after the other, and what
// is closed was reviewed and has corrective actions with owner and day.
func TestDMD21_NoSequenceOfCallsSkipsAPhaseOrClosesWithoutReview(t *testing.T) {
	t.Parallel()
	items := []uuid.UUID{uuid.New(), uuid.New(), uuid.Nil}
	closed := 0
	rapid.Check(t, func(t *rapid.T) {
		i := &incident.Incident{}
		var completed []auditv1.IncidentPhase
		var acknowledged, reviewed, over bool
		actions, tasks := 0, 0
		for n := range rapid.IntRange(0, 120).Draw(t, "calls") {
			s := incident.Step{
				Kind: auditv1.IncidentStep_Kind(rapid.IntRange(0, 13).Draw(t, "kind")),
				Time: start.Add(time.Duration(n) * time.Minute),
				Facts: incident.Facts{
					Phase:    auditv1.IncidentPhase(rapid.IntRange(0, 7).Draw(t, "phase")),
					Severity: auditv1.Risk(rapid.IntRange(0, 4).Draw(t, "severity")),
					Item:     rapid.SampledFrom(items).Draw(t, "item"), Owner: rapid.SampledFrom(items).Draw(t, "owner"),
					Due: rapid.SampledFrom([]string{"", "2027-01-31", "2027-02-30"}).Draw(t, "due"),
				},
			}
			if rapid.IntRange(0, 3).Draw(t, "steer") == 0 {
				s = next(i, s) // chance alone hardly ever reaches the end
			}
			if i.Apply(s) != nil {
				continue
			}
			if over && s.Kind != auditv1.IncidentStep_KIND_ACTION_COMPLETED {
				t.Fatalf("%s after the end", s.Kind)
			}
			switch s.Kind {
			case auditv1.IncidentStep_KIND_ACKNOWLEDGED:
				acknowledged = true
			case auditv1.IncidentStep_KIND_PHASE_COMPLETED:
				completed = append(completed, s.Phase)
				if !acknowledged {
					t.Fatalf("%s is complete and nobody has the incident", s.Phase)
				}
			case auditv1.IncidentStep_KIND_REVIEWED:
				reviewed = true
			case auditv1.IncidentStep_KIND_ACTION_ADDED:
				actions++
				if s.Owner == uuid.Nil || s.Due != "2027-01-31" {
					t.Fatalf("a corrective action without owner or day: %+v", s)
				}
			case auditv1.IncidentStep_KIND_TASK_ADDED:
				tasks++
			case auditv1.IncidentStep_KIND_TASK_COMPLETED:
				tasks--
			case auditv1.IncidentStep_KIND_CLOSED:
				over, closed = true, closed+1
				if len(completed) != 5 || !reviewed || actions == 0 || tasks > 0 {
					t.Fatalf("closed after %v, reviewed %t, %d corrective actions, %d open tasks", completed, reviewed, actions, tasks)
				}
			}
			for n, phase := range completed {
				if phase != auditv1.IncidentPhase(n+1) {
					t.Fatalf("phases in the order %v", completed)
				}
			}
		}
	})
	require.Positive(t, closed, "no sequence came to an end, so the property was not tested")
}

// next turns a step into one that leads towards the end.
func next(i *incident.Incident, s incident.Step) incident.Step {
	s.Severity = auditv1.Risk_RISK_UNSPECIFIED
	switch {
	case i.Phase == auditv1.IncidentPhase_INCIDENT_PHASE_UNSPECIFIED:
		s.Kind, s.Severity = auditv1.IncidentStep_KIND_OPENED, auditv1.Risk_RISK_HIGH
	case i.Acknowledged.IsZero():
		s.Kind = auditv1.IncidentStep_KIND_ACKNOWLEDGED
	case i.Phase < auditv1.IncidentPhase_INCIDENT_PHASE_REVIEW:
		s.Kind, s.Phase = auditv1.IncidentStep_KIND_PHASE_COMPLETED, i.Phase
		if i.Phase == auditv1.IncidentPhase_INCIDENT_PHASE_CLASSIFY {
			s.Severity = auditv1.Risk_RISK_HIGH
		}
	default:
		s.Kind = auditv1.IncidentStep_KIND_CLOSED
	}
	return s
}

func TestDC23_WhatComesTooEarlyIsRefusedByName(t *testing.T) {
	t.Parallel()
	i, err := incident.Fold([]incident.Step{opened(auditv1.Risk_RISK_HIGH)})
	require.NoError(t, err)
	for reason, s := range map[string]incident.Step{
		"INCIDENT_NOT_ACKNOWLEDGED": {Kind: auditv1.IncidentStep_KIND_PHASE_COMPLETED, Facts: incident.Facts{Phase: auditv1.IncidentPhase_INCIDENT_PHASE_DETECT}},
		"INCIDENT_PHASE_ORDER":      {Kind: auditv1.IncidentStep_KIND_PHASE_COMPLETED, Facts: incident.Facts{Phase: auditv1.IncidentPhase_INCIDENT_PHASE_CONTAIN}},
		"INCIDENT_ORDER":            opened(auditv1.Risk_RISK_LOW),
		"INCIDENT_ITEM_NOT_OPEN":    {Kind: auditv1.IncidentStep_KIND_TASK_COMPLETED, Facts: incident.Facts{Item: uuid.New()}},
	} {
		require.Equal(t, reason, errs.ReasonOf(i.Apply(s)))
	}
	require.Equal(t, "INCIDENT_PHASE_ORDER", errs.ReasonOf(i.Apply(incident.Step{Kind: auditv1.IncidentStep_KIND_CLOSED})))
	require.Equal(t, "INCIDENT_PHASE_ORDER", errs.ReasonOf(i.Apply(incident.Step{Kind: auditv1.IncidentStep_KIND_REVIEWED})))
}
