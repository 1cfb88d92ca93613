package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/incident"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// room is an incident room: a writer and the client of its officer.
type room struct {
	*suite
	replica *replica
	client  auditv1.IncidentServiceClient
}

var responding = []accessv1.Permission{
	accessv1.Permission_PERMISSION_INCIDENTS_LIST, accessv1.Permission_PERMISSION_INCIDENTS_READ, accessv1.Permission_PERMISSION_INCIDENTS_OPEN,
	accessv1.Permission_PERMISSION_INCIDENTS_HANDLE, accessv1.Permission_PERMISSION_INCIDENTS_CLOSE,
}

func newRoom(t *testing.T) *room {
	t.Helper()
	s := newSuite(t)
	r := s.writer()
	conn, err := identity(t, "gateway").Dial(r.server.Addr().String(), accessv1.Service_SERVICE_AUDIT)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &room{suite: s, replica: r, client: auditv1.NewIncidentServiceClient(conn)}
}

// now is the servers' time.
func (d *room) now() time.Time { return time.Now().Add(time.Duration(d.shift.Load())) }

// at moves the servers' clock forward to so long after a moment.
func (d *room) at(from time.Time, after time.Duration) {
	d.shift.Store(int64(time.Until(from.Add(after))))
}

func (d *room) officer(practice uuid.UUID) context.Context {
	return asUser(d.t, officer, practice, d.now(), responding...)
}

func (d *room) sweep() {
	d.t.Helper()
	require.NoError(d.t, d.replica.incidents.Sweep(d.t.Context()))
}

func (d *room) open(severity auditv1.Risk) *auditv1.Incident {
	d.t.Helper()
	i, err := d.client.OpenIncident(d.officer(practiceA), &auditv1.OpenIncidentRequest{Title: "Laptop of Mrs Example stolen", Severity: severity})
	require.NoError(d.t, err)
	return i
}

func (d *room) get(name string) *auditv1.Incident {
	d.t.Helper()
	i, err := d.client.GetIncident(d.officer(practiceA), &auditv1.GetIncidentRequest{Name: name})
	require.NoError(d.t, err)
	return i
}

func (d *room) acknowledge(name string) error {
	_, err := d.client.AcknowledgeIncident(d.officer(practiceA), &auditv1.AcknowledgeIncidentRequest{Name: name})
	return err
}

func (d *room) complete(name string, phase auditv1.IncidentPhase) error {
	r := &auditv1.CompletePhaseRequest{Name: name, Phase: phase, Text: "done: " + phase.String()}
	if phase == auditv1.IncidentPhase_INCIDENT_PHASE_CLASSIFY {
		r.Severity = auditv1.Risk_RISK_HIGH
	}
	_, err := d.client.CompletePhase(d.officer(practiceA), r)
	return err
}

// review brings an incident into the phase REVIEW.
func (d *room) review(name string) {
	d.t.Helper()
	require.NoError(d.t, d.acknowledge(name))
	for phase := auditv1.IncidentPhase_INCIDENT_PHASE_DETECT; phase <= auditv1.IncidentPhase_INCIDENT_PHASE_RECOVER; phase++ {
		require.NoError(d.t, d.complete(name, phase))
	}
}

func (d *room) close(name string) error {
	_, err := d.client.CloseIncident(d.officer(practiceA), &auditv1.CloseIncidentRequest{Name: name})
	return err
}

// alerts are the reasons of the alerts of a practice, oldest first.
func (d *room) alerts(practice uuid.UUID) (reasons []string) {
	d.t.Helper()
	rows, err := store.New(d.replica.pool).Alerts(d.t.Context(), practice, store.AlertKey{}, 500)
	require.NoError(d.t, err)
	for _, a := range rows {
		// The first is of the clock that the test moves, the others are what detection adds in its own time.
		if a.Reason != "CLOCK_SKEW" && !strings.HasSuffix(a.Reason, "_DUTY") {
			reasons = append([]string{a.Reason}, reasons...)
		}
	}
	return reasons
}

func TestDH10_AnIncidentGoesThroughItsPhasesInOrder(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	i := d.open(auditv1.Risk_RISK_MEDIUM)
	require.Equal(t, auditv1.IncidentPhase_INCIDENT_PHASE_DETECT, i.GetPhase())
	require.Equal(t, "INCIDENT_NOT_ACKNOWLEDGED", errs.ReasonOf(d.complete(i.GetName(), auditv1.IncidentPhase_INCIDENT_PHASE_DETECT)))
	require.NoError(t, d.acknowledge(i.GetName()))
	for phase := auditv1.IncidentPhase_INCIDENT_PHASE_DETECT; phase <= auditv1.IncidentPhase_INCIDENT_PHASE_RECOVER; phase++ {
		for other := auditv1.IncidentPhase_INCIDENT_PHASE_DETECT; other <= auditv1.IncidentPhase_INCIDENT_PHASE_RECOVER; other++ {
			if other != phase {
				require.Equal(t, "INCIDENT_PHASE_ORDER", errs.ReasonOf(d.complete(i.GetName(), other)), "%s in %s", other, phase)
			}
		}
		require.NoError(t, d.complete(i.GetName(), phase))
	}
	i = d.get(i.GetName())
	require.Equal(t, auditv1.IncidentPhase_INCIDENT_PHASE_REVIEW, i.GetPhase())
	require.Equal(t, auditv1.Risk_RISK_HIGH, i.GetSeverity(), "as it was classified")
	require.Equal(t, "Laptop of Mrs Example stolen", i.GetTitle())
	require.Len(t, i.GetSteps(), 7)
	require.Equal(t, "done: INCIDENT_PHASE_CONTAIN", i.GetSteps()[4].GetText())
	require.Equal(t, "users/"+officer.String(), i.GetSteps()[4].GetUser())
	for _, clock := range i.GetClocks() {
		require.NotNil(t, clock.GetCompleteTime())
		require.False(t, clock.GetLate())
	}

	// Every change is in the log, and no text of a person in the database.
	changes := 0
	for _, e := range list(t, d.suite.client(d.replica), practiceA, &auditv1.ListEntriesRequest{Action: accessv1.Action_ACTION_INCIDENT_CHANGE, Outcome: auditv1.Outcome_OUTCOME_OK}) {
		require.Equal(t, i.GetName(), e.GetEvent().GetResource())
		changes++
	}
	require.Equal(t, 7, changes)
	var clear int
	require.NoError(t, d.as("").QueryRow(t.Context(), "SELECT count(*) FROM incident_steps s WHERE s::text ~ 'Example|done'").Scan(&clear))
	require.Zero(t, clear)
	d.tamper("UPDATE incident_steps SET sealed = (SELECT sealed FROM incident_steps WHERE version = 4) WHERE version = 5")
	_, err := d.client.GetIncident(d.officer(practiceA), &auditv1.GetIncidentRequest{Name: i.GetName()})
	require.Equal(t, "SEAL_BROKEN", errs.ReasonOf(err), "a text in another row")
}

func TestDMD25_DC25_AnIncidentDoesNotCloseWithoutReviewAndCorrectiveActions(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	name := d.open(auditv1.Risk_RISK_LOW).GetName()
	d.review(name)
	require.Equal(t, "INCIDENT_NOT_REVIEWED", errs.ReasonOf(d.close(name)))
	_, err := d.client.RecordIncidentReview(d.officer(practiceA), &auditv1.RecordIncidentReviewRequest{Name: name, Text: "The disk was not encrypted."})
	require.NoError(t, err)
	require.Equal(t, "INCIDENT_NO_ACTION", errs.ReasonOf(d.close(name)))

	owner, soon := "users/"+drSmith.String(), d.now().AddDate(0, 0, 7).Format(time.DateOnly)
	for _, due := range []string{"2027-02-30", d.now().AddDate(0, 0, -2).Format(time.DateOnly)} {
		_, err = d.client.AddCorrectiveAction(d.officer(practiceA), &auditv1.AddCorrectiveActionRequest{Name: name, Text: "x", Owner: owner, DueDate: due})
		require.Equal(t, codes.InvalidArgument, status.Code(err), due)
	}
	_, err = d.client.AddCorrectiveAction(d.officer(practiceA), &auditv1.AddCorrectiveActionRequest{Name: name, Text: "x", DueDate: soon})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "nobody answers for it")
	i, err := d.client.AddCorrectiveAction(d.officer(practiceA), &auditv1.AddCorrectiveActionRequest{Name: name, Text: "Encrypt all disks", Owner: owner, DueDate: soon})
	require.NoError(t, err)
	require.Equal(t, "Encrypt all disks", i.GetCorrectiveActions()[0].GetText())
	require.Equal(t, owner, i.GetCorrectiveActions()[0].GetOwner())

	i, err = d.client.AddIncidentTask(d.officer(practiceA), &auditv1.AddIncidentTaskRequest{Name: name, Text: "Tell the insurer", Owner: owner, DueDate: soon})
	require.NoError(t, err)
	require.Equal(t, "INCIDENT_TASKS_OPEN", errs.ReasonOf(d.close(name)))
	task := &auditv1.CompleteIncidentTaskRequest{Name: name, TaskId: i.GetTasks()[0].GetId()}
	_, err = d.client.CompleteIncidentTask(d.officer(practiceA), task)
	require.NoError(t, err)
	_, err = d.client.CompleteIncidentTask(d.officer(practiceA), task)
	require.Equal(t, "INCIDENT_ITEM_NOT_OPEN", errs.ReasonOf(err))
	require.NoError(t, d.close(name))
	require.Equal(t, "INCIDENT_CLOSED", errs.ReasonOf(d.close(name)))

	// Corrective actions outlive the incident, and their day is held against them.
	d.sweep()
	require.Empty(t, d.get(name).GetNotices())
	d.at(time.Now(), 9*24*time.Hour)
	d.sweep()
	late := d.get(name).GetNotices()
	require.Len(t, late, 1)
	require.Equal(t, incident.ReasonActionLate, late[0].GetReason())
	i, err = d.client.CompleteCorrectiveAction(d.officer(practiceA), &auditv1.CompleteCorrectiveActionRequest{Name: name, ActionId: i.GetCorrectiveActions()[0].GetId()})
	require.NoError(t, err)
	require.NotNil(t, i.GetCorrectiveActions()[0].GetCompleteTime())
}

func TestDH53_ACriticalIncidentThatNobodyTakesOnEscalates(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	lesser, taken, left := d.open(auditv1.Risk_RISK_HIGH), d.open(auditv1.Risk_RISK_CRITICAL), d.open(auditv1.Risk_RISK_CRITICAL)
	require.NoError(t, d.acknowledge(taken.GetName()))
	_, err := d.client.ReclassifyIncident(d.officer(practiceA), &auditv1.ReclassifyIncidentRequest{Name: left.GetName(), Severity: auditv1.Risk_RISK_LOW, Text: "so that it is quiet"})
	require.Equal(t, "INCIDENT_NOT_ACKNOWLEDGED", errs.ReasonOf(err))
	start := left.GetOpenTime().AsTime()
	d.at(start, time.Hour-5*time.Second)
	d.sweep()
	require.Empty(t, d.alerts(practiceA))
	d.at(start, time.Hour)
	d.sweep()
	d.sweep() // tells nothing twice
	require.Equal(t, []string{incident.ReasonEscalated}, d.alerts(practiceA))
	d.at(start, 2*time.Hour)
	d.sweep()
	require.Equal(t, []string{incident.ReasonEscalated, incident.ReasonEscalated}, d.alerts(practiceA))
	require.NoError(t, d.acknowledge(left.GetName()))
	d.at(start, 5*time.Hour)
	d.sweep()
	require.Len(t, d.alerts(practiceA), 2, "it ends with the acknowledgement")

	var recipients []string
	for _, n := range d.get(left.GetName()).GetNotices() {
		if n.GetReason() == incident.ReasonEscalated {
			recipients = append(recipients, n.GetRecipient())
			require.Equal(t, auditv1.Risk_RISK_CRITICAL, n.GetRisk())
		}
	}
	require.Equal(t, []string{"security-officer", "administrator"}, recipients)
	// It is a detection too, which is what mail and webhooks carry.
	conn := d.as("")
	require.Eventually(t, func() bool {
		var n int
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM detections WHERE rule = 'INCIDENT_DUTY' AND practice_id = $1", practiceA).Scan(&n))
		return n > 0
	}, patience, often)
	for _, i := range []*auditv1.Incident{lesser, taken} {
		for _, n := range d.get(i.GetName()).GetNotices() {
			require.Equal(t, incident.ReasonPhaseLate, n.GetReason())
		}
	}
	// Each notice is an entry of the log, of the same id.
	logged := map[string]auditv1.Risk{}
	entries, _, err := store.New(d.replica.pool).List(t.Context(), practiceA, store.Filter{Action: int16(accessv1.Action_ACTION_INCIDENT_CHANGE)}, 0, 500)
	require.NoError(t, err)
	for _, e := range entries {
		event, problem := e.Check()
		require.Nil(t, problem)
		logged[event.GetEventId()] = event.GetRisk()
	}
	for _, n := range d.get(left.GetName()).GetNotices() {
		require.Equal(t, n.GetRisk(), logged[n.GetEventId()])
	}
}

func TestDH51_ClocksThatRunOutAreReportedOnce(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	i := d.open(auditv1.Risk_RISK_LOW)
	start := i.GetOpenTime().AsTime()
	require.NoError(t, d.acknowledge(i.GetName()))
	require.NoError(t, d.complete(i.GetName(), auditv1.IncidentPhase_INCIDENT_PHASE_DETECT))
	late := func() (phases []string) {
		d.sweep()
		for _, n := range d.get(i.GetName()).GetNotices() {
			phases = append(phases, n.GetDetail())
		}
		return phases
	}
	for _, c := range []struct {
		after time.Duration
		want  []string
	}{
		{2*time.Hour - 5*time.Second, nil}, {2*time.Hour + time.Second, []string{"CLASSIFY"}}, {4*time.Hour - 5*time.Second, []string{"CLASSIFY"}},
		{4*time.Hour + time.Second, []string{"CLASSIFY", "CONTAIN"}}, {48*time.Hour + time.Second, []string{"CLASSIFY", "CONTAIN", "INVESTIGATE"}},
		{96*time.Hour + time.Second, []string{"CLASSIFY", "CONTAIN", "INVESTIGATE", "RECOVER"}},
	} {
		d.at(start, c.after)
		require.Equal(t, c.want, late(), "%s after the opening", c.after)
	}
	require.NoError(t, d.complete(i.GetName(), auditv1.IncidentPhase_INCIDENT_PHASE_CLASSIFY))
	require.True(t, d.get(i.GetName()).GetClocks()[1].GetLate(), "late stays late")

	// A notice whose entry was lost in a crash reaches the log with the next sweep.
	lost := store.Notice{
		ID: uuid.Must(uuid.NewV7()), Practice: practiceA, Subject: i.GetName(), Reason: incident.ReasonPhaseLate, Detail: "LOST",
		Risk: int16(auditv1.Risk_RISK_HIGH), Due: d.now(), Created: d.now(),
	}
	require.NoError(t, store.New(d.replica.pool).AddNotices(t.Context(), []store.Notice{lost}))
	d.sweep()
	known, err := store.KnownEvents(t.Context(), d.replica.pool, []uuid.UUID{lost.ID})
	require.NoError(t, err)
	require.True(t, known[lost.ID])
}

func TestDH51_CriticalAlertsOpenOneIncidentForEachRuleAndPractice(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	p := d.producer("records")
	broken := func(e *auditv1.Event) {
		e.Risk, e.Reason, e.Outcome = auditv1.Risk_RISK_CRITICAL, "SEAL_BROKEN", auditv1.Outcome_OUTCOME_FAILED
	}
	opened := func(practice uuid.UUID) []*auditv1.Incident {
		d.sweep()
		page, err := d.client.ListIncidents(d.officer(practice), &auditv1.ListIncidentsRequest{OpenOnly: true})
		require.NoError(t, err)
		return page.GetIncidents()
	}
	p.await(p.send(event(), event(broken), event(broken, practice(practiceB))))
	require.Len(t, opened(practiceA), 1)
	p.await(p.send(event(broken), event(broken)))
	list := opened(practiceA)
	require.Len(t, list, 1)
	require.Equal(t, "SEAL_BROKEN", list[0].GetRule())
	require.Equal(t, auditv1.Risk_RISK_CRITICAL, list[0].GetSeverity())
	require.Len(t, list[0].GetEvidence(), 2)
	require.EqualValues(t, 1, list[0].GetEvidence()[0].GetFromSeq())
	require.Len(t, opened(practiceB), 1)
	d.tamper(fmt.Sprintf("UPDATE incident_cursors SET seq = %d", list[0].GetEvidence()[1].GetFromSeq()-1)) // as when a sweep ends before its end
	require.Len(t, opened(practiceA)[0].GetEvidence(), 2, "what is evidence is not attached again")
	d.tamper("DELETE FROM incident_cursors")
	require.Len(t, opened(practiceA), 1, "a lost cursor opens nothing twice")
	d.at(list[0].GetOpenTime().AsTime(), 5*time.Hour)
	require.Len(t, opened(practiceA), 1, "escalations open no incidents")

	name := list[0].GetName()
	d.review(name)
	_, err := d.client.RecordIncidentReview(d.officer(practiceA), &auditv1.RecordIncidentReviewRequest{Name: name, Text: "x"})
	require.NoError(t, err)
	_, err = d.client.AddCorrectiveAction(d.officer(practiceA), &auditv1.AddCorrectiveActionRequest{
		Name: name, Text: "x", Owner: "users/" + drSmith.String(), DueDate: d.now().AddDate(0, 0, 3).Format(time.DateOnly),
	})
	require.NoError(t, err)
	require.NoError(t, d.close(name))
	require.Empty(t, opened(practiceA))
	p.await(p.send(event(broken), event(broken), event(), event(broken)))
	again := opened(practiceA)
	require.Len(t, again[0].GetEvidence(), 2, "what lies between two alerts is no evidence")
	require.Len(t, again, 1, "after the end another one opens")
	require.NotEqual(t, name, again[0].GetName())
}

func TestDC23_EvidenceIsRangesOfThePracticesEntries(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	p := d.producer("records")
	p.await(p.send(event(), event(practice(practiceB))))
	name := d.open(auditv1.Risk_RISK_LOW).GetName()
	for _, r := range []*auditv1.AttachIncidentEvidenceRequest{
		{FromSeq: 1, ToSeq: 0}, {FromSeq: 1, ToSeq: 1}, {FromSeq: 1 << 40, ToSeq: 1 << 41},
		{FromSeq: 0, ToSeq: 1000}, {FromSeq: 0, ToSeq: 1 << 62}, {FromSeq: 0, ToSeq: math.MaxInt64},
	} {
		r.Name = name
		_, err := d.client.AttachIncidentEvidence(d.officer(practiceA), r)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", r)
	}
	i, err := d.client.AttachIncidentEvidence(d.officer(practiceA), &auditv1.AttachIncidentEvidenceRequest{Name: name, FromSeq: 0, ToSeq: 1, Text: "first"})
	require.NoError(t, err)
	require.Len(t, i.GetEvidence(), 1)
	var ranges int
	require.NoError(t, d.as("").QueryRow(t.Context(), "SELECT count(*) FROM incident_evidence WHERE incident_id = $1 AND practice_id = $2 AND from_seq = 0 AND to_seq = 1",
		strings.TrimPrefix(name, "incidents/"), practiceA).Scan(&ranges))
	require.Equal(t, 1, ranges)
}

func TestDMD06_AnIncidentIsItsPracticesOwn(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	name := d.open(auditv1.Risk_RISK_LOW).GetName()
	_, err := d.client.GetIncident(d.officer(practiceB), &auditv1.GetIncidentRequest{Name: name})
	_, none := d.client.GetIncident(d.officer(practiceB), &auditv1.GetIncidentRequest{Name: incident.Name(uuid.New())})
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Equal(t, none.Error(), err.Error())
	_, err = d.client.AcknowledgeIncident(d.officer(practiceB), &auditv1.AcknowledgeIncidentRequest{Name: name})
	require.Equal(t, codes.NotFound, status.Code(err))
	page, err := d.client.ListIncidents(d.officer(practiceB), &auditv1.ListIncidentsRequest{})
	require.NoError(t, err)
	require.Empty(t, page.GetIncidents())
}

// Two people at the same moment: both look, one acts, the other is told what became of it.
func TestDC23_OneOfTwoAcknowledgementsCounts(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	name := d.open(auditv1.Risk_RISK_LOW).GetName()
	results := make([]string, 8)
	var all sync.WaitGroup
	for n := range results {
		ctx := d.officer(practiceA)
		all.Go(func() {
			_, err := d.client.AcknowledgeIncident(ctx, &auditv1.AcknowledgeIncidentRequest{Name: name})
			if results[n] = "taken"; err != nil {
				results[n] = errs.ReasonOf(err)
			}
		})
	}
	all.Wait()
	count := map[string]int{}
	for _, r := range results {
		count[r]++
	}
	require.Equal(t, map[string]int{"taken": 1, "INCIDENT_ACKNOWLEDGED": 7}, count)
	require.Len(t, d.get(name).GetSteps(), 2)
}

func TestIncidentsAreListedInPages(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	var want []string
	for range 5 {
		want = append([]string{d.open(auditv1.Risk_RISK_LOW).GetName()}, want...)
	}
	var got []string
	r := &auditv1.ListIncidentsRequest{PageSize: 2, OpenOnly: true}
	for pages := 1; ; pages++ {
		page, err := d.client.ListIncidents(d.officer(practiceA), r)
		require.NoError(t, err)
		for _, i := range page.GetIncidents() {
			require.Equal(t, "Laptop of Mrs Example stolen", i.GetTitle())
			got = append(got, i.GetName())
		}
		if r.PageToken = page.GetNextPageToken(); r.PageToken == "" {
			require.Equal(t, 3, pages)
			break
		}
	}
	require.Equal(t, want, got)
}
