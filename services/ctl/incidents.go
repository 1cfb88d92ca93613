package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

type incidentCommands struct {
	List  listIncidents `cmd:"" help:"List your practice's incidents, newest first."`
	Show  showIncident  `cmd:"" help:"Show an incident with its clocks and timeline."`
	Open  openIncident  `cmd:"" help:"Open an incident. Its title is the input, one line."`
	Take  takeIncident  `cmd:"" help:"Take an incident on: escalation ends."`
	Phase completePhase `cmd:"" help:"Complete the phase that the incident is in. What was found or done is the input."`
	Grade gradeIncident `cmd:"" help:"Say anew how severe the incident is. The reason is the input."`
	Note  noteIncident  `cmd:"" help:"Add a note, which is the input."`
	Task  taskIncident  `cmd:"" help:"Give somebody a task, which is the input; or complete one."`

	Evidence attachEvidence `cmd:"" help:"Attach entries of the log, which retention then spares. What they show is the input."`
	Review   reviewIncident `cmd:"" help:"Record the review, which is the input."`
	Action   actionIncident `cmd:"" help:"Add a corrective action, which is the input; or complete one."`
	Radius   computeRadius  `cmd:"" help:"Tell what was opened by a session, a user, a device, from an address or with a key."`
	Close    closeIncident  `cmd:"" help:"Close an incident that was reviewed and has corrective actions."`
}

type listIncidents struct {
	kept
	All bool `help:"Closed ones as well."`
}

// Run prints page after page.
func (c *listIncidents) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSEVERITY\tPHASE\tOPENED (UTC)\tTITLE")
	query := url.Values{}
	if !c.All {
		query.Set("openOnly", "true")
	}
	for {
		var page auditv1.ListIncidentsResponse
		if err := client.Call(ctx, http.MethodGet, "/v1/incidents?"+query.Encode(), nil, &page); err != nil {
			return fmt.Errorf("list incidents: %w", err)
		}
		for _, i := range page.GetIncidents() {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", i.GetName(), severityName(i.GetSeverity()), phaseName(i.GetPhase()), moment(i.GetOpenTime()), i.GetTitle())
		}
		if page.GetNextPageToken() == "" {
			return table.Flush()
		}
		query.Set("pageToken", page.GetNextPageToken())
	}
}

func severityName(r auditv1.Risk) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "RISK_"))
}

func phaseName(p auditv1.IncidentPhase) string {
	return strings.ToLower(strings.TrimPrefix(p.String(), "INCIDENT_PHASE_"))
}

// one is a command about one incident.
type one struct {
	kept
	Incident string `arg:"" help:"The incident, as incidents/{uuid}."`
}

// call sends a request about the incident and prints what it is then.
func (c *one) call(ctx context.Context, t *terminal, method, verb string, request func(name string) proto.Message) error {
	id, err := idOf("incidents", c.Incident)
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var body proto.Message
	if request != nil {
		body = request("incidents/" + id)
	}
	var i auditv1.Incident
	if err := client.Call(ctx, method, "/v1/incidents/"+id+verb, body, &i); err != nil {
		return err
	}
	return printIncident(t, &i)
}

// text reads what a person writes: from the input, since arguments stay in the shell's history.
func (t *terminal) text(what string) (string, error) {
	t.note("%s (end with Ctrl-D)", what)
	raw, err := io.ReadAll(t.in)
	if err != nil {
		return "", fmt.Errorf("read the input: %w", err)
	}
	text := strings.TrimSpace(string(raw))
	if text == "" {
		return "", errors.New("the input is empty: write " + what)
	}
	return text, nil
}

type showIncident struct{ one }

// Run prints the incident.
func (c *showIncident) Run(ctx context.Context, t *terminal) error {
	return c.call(ctx, t, http.MethodGet, "", nil)
}

func printIncident(t *terminal, i *auditv1.Incident) error {
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\t%s\n", i.GetName(), i.GetTitle())
	fmt.Fprintf(table, "severity\t%s\nphase\t%s\nopened\t%s\ntaken on\t%s\n", severityName(i.GetSeverity()), phaseName(i.GetPhase()),
		moment(i.GetOpenTime()), moment(i.GetAcknowledgeTime()))
	for _, clock := range i.GetClocks() {
		fmt.Fprintf(table, "%s\tdue %s, complete %s%s\n", phaseName(clock.GetPhase()), moment(clock.GetDueTime()), moment(clock.GetCompleteTime()),
			map[bool]string{true: ", LATE"}[clock.GetLate()])
	}
	for _, items := range []struct {
		kind string
		list []*auditv1.IncidentItem
	}{{"task", i.GetTasks()}, {"corrective action", i.GetCorrectiveActions()}} {
		for _, item := range items.list {
			fmt.Fprintf(table, "%s\t%s %s until %s, done %s: %s\n", items.kind, item.GetId(), item.GetOwner(), item.GetDueDate(), moment(item.GetCompleteTime()), item.GetText())
		}
	}
	for _, r := range i.GetEvidence() {
		fmt.Fprintf(table, "evidence\tentries %d to %d\n", r.GetFromSeq(), r.GetToSeq())
	}
	for _, s := range i.GetSteps() {
		by := s.GetUser()
		if by == "" {
			by = "carekeep"
		}
		fmt.Fprintf(table, "%s\t%s by %s: %s\n", moment(s.GetCreateTime()),
			strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(s.GetKind().String(), "KIND_"), "_", " ")), by, s.GetText())
	}
	for _, n := range i.GetNotices() {
		fmt.Fprintf(table, "%s\t%s %s %s\n", moment(n.GetCreateTime()), n.GetReason(), n.GetDetail(), n.GetRecipient())
	}
	return table.Flush()
}

type openIncident struct {
	kept
	Severity string `required:"" enum:"low,medium,high,critical" help:"How severe it looks: ${enum}."`
}

// Run opens the incident and prints it.
func (c *openIncident) Run(ctx context.Context, t *terminal) error {
	title, err := t.text("the title of the incident")
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var i auditv1.Incident
	request := &auditv1.OpenIncidentRequest{Title: title, Severity: severityOf(c.Severity)}
	if err := client.Call(ctx, http.MethodPost, "/v1/incidents", request, &i); err != nil {
		return fmt.Errorf("open an incident: %w", err)
	}
	return printIncident(t, &i)
}

func severityOf(text string) auditv1.Risk {
	return auditv1.Risk(auditv1.Risk_value["RISK_"+strings.ToUpper(text)])
}

type takeIncident struct{ one }

// Run takes the incident on.
func (c *takeIncident) Run(ctx context.Context, t *terminal) error {
	return c.call(ctx, t, http.MethodPost, ":acknowledge", func(name string) proto.Message {
		return &auditv1.AcknowledgeIncidentRequest{Name: name}
	})
}
