package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

func someIncident() *auditv1.Incident {
	return &auditv1.Incident{
		Name: "incidents/" + someID, Title: "Lost laptop", Severity: auditv1.Risk_RISK_HIGH, Phase: auditv1.IncidentPhase_INCIDENT_PHASE_CONTAIN,
		OpenTime: timestamppb.New(epoch),
		Clocks:   []*auditv1.PhaseClock{{Phase: auditv1.IncidentPhase_INCIDENT_PHASE_CLASSIFY, DueTime: timestamppb.New(epoch), Late: true}},
		Steps:    []*auditv1.IncidentStep{{Kind: auditv1.IncidentStep_KIND_PHASE_COMPLETED, CreateTime: timestamppb.New(epoch), Text: "it is one"}},
	}
}

func TestDH51_IncidentsAreListedAndShown(t *testing.T) {
	g := signedIn(t)
	g.on(t, "GET /v1/incidents", func(w http.ResponseWriter, r *http.Request) {
		page := &auditv1.ListIncidentsResponse{Incidents: []*auditv1.Incident{someIncident()}}
		if r.URL.Query().Get("openOnly") == "true" && r.URL.Query().Get("pageToken") == "" {
			page.NextPageToken = someID
		}
		answer(w, page)
	})
	g.on(t, "GET /v1/incidents/"+someID, func(w http.ResponseWriter, _ *http.Request) { answer(w, someIncident()) })
	line := "incidents/" + someID + "  high      contain  2026-11-21 13:04:22  Lost laptop\n"
	got := g.run(t, "", "incidents", "list")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, line+line)
	got = g.run(t, "", "incidents", "list", "--all")
	require.Contains(t, got.out, line)
	require.NotContains(t, got.out, line+line)
	got = g.run(t, "", "incidents", "show", someID)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "due 2026-11-21 13:04:22, complete -, LATE\n")
	require.Contains(t, got.out, "phase completed by carekeep: it is one\n")
}

// What a person writes is the input, never an argument.
func TestDH51_IncidentsAreHandledFromTheCommandLine(t *testing.T) {
	g := signedIn(t)
	name := "incidents/" + someID
	g.on(t, "POST /v1/incidents", func(w http.ResponseWriter, r *http.Request) {
		var got auditv1.OpenIncidentRequest
		if take(t, r, &got) && (got.GetTitle() != "Lost laptop" || got.GetSeverity() != auditv1.Risk_RISK_HIGH) {
			t.Errorf("%v", &got)
		}
		answer(w, someIncident())
	})
	g.on(t, "POST /v1/incidents/"+someID+":completePhase", func(w http.ResponseWriter, r *http.Request) {
		var got auditv1.CompletePhaseRequest
		if take(t, r, &got) && (got.GetName() != name || got.GetText() != "it is one" || got.GetSeverity() != auditv1.Risk_RISK_LOW ||
			got.GetPhase() != auditv1.IncidentPhase_INCIDENT_PHASE_CLASSIFY) {
			t.Errorf("%v", &got)
		}
		answer(w, someIncident())
	})
	g.on(t, "POST /v1/incidents/"+someID+":addCorrectiveAction", func(w http.ResponseWriter, r *http.Request) {
		var got auditv1.AddCorrectiveActionRequest
		if take(t, r, &got) && (got.GetOwner() != "users/"+someID || got.GetDueDate() != "2027-01-31" || got.GetText() != "Encrypt disks") {
			t.Errorf("%v", &got)
		}
		answer(w, someIncident())
	})
	g.on(t, "POST /v1/incidents/"+someID+":completeCorrectiveAction", func(w http.ResponseWriter, r *http.Request) {
		var got auditv1.CompleteCorrectiveActionRequest
		if take(t, r, &got) && got.GetActionId() != someID {
			t.Errorf("%v", &got)
		}
		answer(w, someIncident())
	})
	for _, c := range []struct {
		in   string
		args []string
	}{
		{"Lost laptop\n", []string{"incidents", "open", "--severity", "high"}},
		{"it is one\n", []string{"incidents", "phase", name, "classify", "--severity", "low"}},
		{"Encrypt disks\n", []string{"incidents", "action", name, "--owner", "users/" + someID, "--due", "2027-01-31"}},
		{"", []string{"incidents", "action", name, "--done", someID}},
	} {
		got := g.run(t, c.in, c.args...)
		require.Zero(t, got.code, "%v: %s", c.args, got.err)
		require.Contains(t, got.out, "Lost laptop")
	}
	got := g.run(t, "", "incidents", "note", name)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "the input is empty")
}
