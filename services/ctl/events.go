package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

// eventFormats are the forms that a SIEM takes, by the name of the flag.
var eventFormats = map[string]auditv1.EventFormat{
	"cef": auditv1.EventFormat_EVENT_FORMAT_CEF, "ocsf": auditv1.EventFormat_EVENT_FORMAT_OCSF,
	"json": auditv1.EventFormat_EVENT_FORMAT_JSON, "line": auditv1.EventFormat_EVENT_FORMAT_LINE,
}

// events writes entries as lines, and tells where the next export goes on.
func (c *exportLog) events(ctx context.Context, t *terminal, client *rest.Client, to io.Writer) error {
	n, err := c.read()
	if err != nil {
		return err
	}
	request := &auditv1.ExportEventsRequest{
		Format: eventFormats[c.Format], FromSeq: c.FromSeq, PatientId: n.Patient, UserId: n.User, SessionId: n.Session, DeviceId: n.Device,
		Network: n.Address, Action: n.action, Outcome: n.outcome, MinRisk: n.risk, Service: n.service, Method: n.Method,
	}
	next, lines, done := c.FromSeq, 0, false
	meter := t.meter()
	err = rest.Stream(ctx, client, "/v1/audit/events:export", request, func(m *auditv1.ExportEventsResponse) error {
		for _, line := range m.GetLines() {
			if _, err := fmt.Fprintln(to, line); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		next, done, lines = m.GetNextSeq(), m.GetDone(), lines+len(m.GetLines())
		meter.show("%d entries", lines)
		return nil
	})
	meter.clear()
	if err == nil && !done {
		err = errors.New("the answer ended early")
	}
	if err != nil {
		// What was written is right, and where it ends is known.
		return fmt.Errorf("export: %w; %d entries were written, --from-seq %d goes on", err, lines, next)
	}
	t.note("%d entries; --from-seq %d goes on", lines, next)
	return nil
}
