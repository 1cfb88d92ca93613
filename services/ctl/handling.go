package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

type completePhase struct {
	one
	Phase    string `arg:"" enum:"detect,classify,contain,investigate,recover" help:"The phase: ${enum}."`
	Severity string `enum:",low,medium,high,critical" default:"" help:"How severe it is, for classify."`
}

// Run completes the phase.
func (c *completePhase) Run(ctx context.Context, t *terminal) error {
	text, err := t.text("what was found or done")
	if err != nil {
		return err
	}
	phase := auditv1.IncidentPhase(auditv1.IncidentPhase_value["INCIDENT_PHASE_"+strings.ToUpper(c.Phase)])
	return c.call(ctx, t, http.MethodPost, ":completePhase", func(name string) proto.Message {
		return &auditv1.CompletePhaseRequest{Name: name, Phase: phase, Severity: severityOf(c.Severity), Text: text}
	})
}

type gradeIncident struct {
	one
	Severity string `required:"" enum:"low,medium,high,critical" help:"How severe it is: ${enum}."`
}

// Run reclassifies the incident.
func (c *gradeIncident) Run(ctx context.Context, t *terminal) error {
	text, err := t.text("why")
	if err != nil {
		return err
	}
	return c.call(ctx, t, http.MethodPost, ":reclassify", func(name string) proto.Message {
		return &auditv1.ReclassifyIncidentRequest{Name: name, Severity: severityOf(c.Severity), Text: text}
	})
}

type noteIncident struct{ one }

// Run adds the note.
func (c *noteIncident) Run(ctx context.Context, t *terminal) error {
	text, err := t.text("the note")
	if err != nil {
		return err
	}
	return c.call(ctx, t, http.MethodPost, ":addNote", func(name string) proto.Message {
		return &auditv1.AddIncidentNoteRequest{Name: name, Text: text}
	})
}

// promised is a task or corrective action: a new one has an owner and a day, one that is done an id.
type promised struct {
	one
	Owner string `placeholder:"ID" help:"Who answers for it, as users/{uuid}."`
	Due   string `placeholder:"DAY" help:"The last day, as 2027-01-31."`
	Done  string `placeholder:"ID" help:"The id of the one that is done."`
}

func (c *promised) run(ctx context.Context, t *terminal, add, done string, added func(name, owner, text string) proto.Message, completed func(name string) proto.Message) error {
	if c.Done != "" {
		return c.call(ctx, t, http.MethodPost, done, completed)
	}
	owner, err := idOf("users", c.Owner)
	if err != nil {
		return fmt.Errorf("--owner: %w", err)
	}
	text, err := t.text("what is to be done")
	if err != nil {
		return err
	}
	return c.call(ctx, t, http.MethodPost, add, func(name string) proto.Message { return added(name, "users/"+owner, text) })
}

type taskIncident struct{ promised }

// Run adds or completes a task.
func (c *taskIncident) Run(ctx context.Context, t *terminal) error {
	return c.run(ctx, t, ":addTask", ":completeTask", func(name, owner, text string) proto.Message {
		return &auditv1.AddIncidentTaskRequest{Name: name, Text: text, Owner: owner, DueDate: c.Due}
	}, func(name string) proto.Message {
		return &auditv1.CompleteIncidentTaskRequest{Name: name, TaskId: c.Done}
	})
}

type actionIncident struct{ promised }

// Run adds or completes a corrective action.
func (c *actionIncident) Run(ctx context.Context, t *terminal) error {
	return c.run(ctx, t, ":addCorrectiveAction", ":completeCorrectiveAction", func(name, owner, text string) proto.Message {
		return &auditv1.AddCorrectiveActionRequest{Name: name, Text: text, Owner: owner, DueDate: c.Due}
	}, func(name string) proto.Message {
		return &auditv1.CompleteCorrectiveActionRequest{Name: name, ActionId: c.Done}
	})
}

type attachEvidence struct {
	one
	From int64 `required:"" placeholder:"NUMBER" help:"The first entry."`
	To   int64 `required:"" placeholder:"NUMBER" help:"The last entry."`
}

// Run attaches the entries.
func (c *attachEvidence) Run(ctx context.Context, t *terminal) error {
	text, err := t.text("what the entries show")
	if err != nil {
		return err
	}
	return c.call(ctx, t, http.MethodPost, ":attachEvidence", func(name string) proto.Message {
		return &auditv1.AttachIncidentEvidenceRequest{Name: name, FromSeq: c.From, ToSeq: c.To, Text: text}
	})
}

type reviewIncident struct{ one }

// Run records the review.
func (c *reviewIncident) Run(ctx context.Context, t *terminal) error {
	text, err := t.text("the review")
	if err != nil {
		return err
	}
	return c.call(ctx, t, http.MethodPost, ":review", func(name string) proto.Message {
		return &auditv1.RecordIncidentReviewRequest{Name: name, Text: text}
	})
}

type closeIncident struct{ one }

// Run closes the incident.
func (c *closeIncident) Run(ctx context.Context, t *terminal) error {
	return c.call(ctx, t, http.MethodPost, ":close", func(name string) proto.Message {
		return &auditv1.CloseIncidentRequest{Name: name}
	})
}
