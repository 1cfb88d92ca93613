package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type tailEntries struct {
	kept
	filters
	Last int  `default:"10" help:"How many entries to begin with."`
	Long bool `short:"l" help:"Number and full time in front of each line."`
}

// comeBack is how long a tail that ended waits before it goes on; no answer at all is tried as often.
const comeBack = 3 * time.Second

// Run prints entries, oldest first, until it is interrupted or the session ends. Where the
// server ends a tail, the next one goes on where it was.
func (c *tailEntries) Run(ctx context.Context, t *terminal) error {
	if c.Last < 0 || c.Last > largestPage {
		return errors.New("--last: use 0 to 500")
	}
	narrow, err := c.read()
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	next, err := c.begin(ctx, t, client, narrow)
	if err != nil {
		return ended(ctx, err)
	}
	client = client.Polling() // from now on nobody asks by hand
	for {
		err := rest.Events(ctx, client, tailPath(narrow, next), func(e rest.Event) error {
			if e.ID != "" {
				next = e.ID
			}
			return c.show(t, e)
		})
		if refusal := (*rest.Refusal)(nil); ctx.Err() != nil || errors.As(err, &refusal) && !passing(refusal) {
			return ended(ctx, err)
		}
		select {
		case <-ctx.Done():
			return nil // how it is meant to end
		case <-time.After(comeBack):
		}
	}
}

// ended is nil for an interruption, which is how a tail is meant to end.
func ended(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// passing tells a refusal that a later try may not meet.
func passing(r *rest.Refusal) bool {
	switch r.Reason {
	case "TAIL_TOO_SLOW", "TAILS_TOO_MANY", "DEPENDENCY_UNAVAILABLE", "AUDIT_STORE_UNAVAILABLE", "AUDIT_UNAVAILABLE":
		return true
	}
	return r.Status == http.StatusServiceUnavailable
}

// begin prints the last entries and returns where the tail goes on, "" for what comes from now on.
func (c *tailEntries) begin(ctx context.Context, t *terminal, client *rest.Client, n narrowed) (string, error) {
	if c.Last == 0 {
		return "", nil
	}
	request := n.request()
	request.PageSize = int32(c.Last)
	var page auditv1.ListEntriesResponse
	if err := client.Call(ctx, http.MethodPost, "/v1/audit/entries:list", request, &page); err != nil {
		return "", err
	}
	for _, e := range slices.Backward(page.GetEntries()) {
		printEntry(t, e, c.Long)
	}
	if len(page.GetEntries()) == 0 {
		return "", nil
	}
	return strconv.FormatInt(page.GetEntries()[0].GetSeq()+1, 10), nil
}

func (c *tailEntries) show(t *terminal, e rest.Event) error {
	switch {
	case e.Name == "end":
		return rest.RefusalOf(e.Data)
	case len(e.Data) == 0:
		return nil
	}
	var entry auditv1.Entry
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(e.Data, &entry); err != nil {
		return fmt.Errorf("the answer cannot be read; is this a carekeep gateway? (%w)", err)
	}
	printEntry(t, &entry, c.Long)
	return nil
}

func tailPath(n narrowed, next string) string {
	query := url.Values{}
	for name, value := range map[string]string{
		"fromSeq": next, "patientId": n.Patient, "userId": n.User, "sessionId": n.Session, "deviceId": n.Device,
		"network": n.Address, "method": n.Method,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, value := range map[string]interface {
		fmt.Stringer
		Number() protoreflect.EnumNumber
	}{"action": n.action, "outcome": n.outcome, "minRisk": n.risk, "service": n.service} {
		if value.Number() != 0 {
			query.Set(name, value.String())
		}
	}
	return "/v1/audit/entries:tail?" + query.Encode()
}
