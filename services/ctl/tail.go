package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type tailEntries struct {
	kept
	Last  int           `default:"10" help:"How many entries to begin with."`
	Every time.Duration `default:"3s" help:"How often to look."`
	Long  bool          `short:"l" help:"Number and full time in front of each line."`
}

// Run prints entries, oldest first, until it is interrupted. Each look at the log is
// itself an entry in it; those are left out, or the log would never be quiet.
func (c *tailEntries) Run(ctx context.Context, t *terminal) error {
	switch {
	case c.Every < time.Second:
		return errors.New("--every: use 1s or more")
	case c.Last < 0 || c.Last > largestPage:
		return errors.New("--last: use 0 to 500")
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	seen := int64(-1)
	for first := true; ; first = false {
		entries, err := since(ctx, client, seen, first)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			seen = entries[0].GetSeq()
		}
		entries = slices.DeleteFunc(entries, func(e *auditv1.Entry) bool {
			return e.GetEvent().GetMethod() == auditv1.AuditService_ListEntries_FullMethodName
		})
		if first {
			entries = entries[:min(c.Last, len(entries))]
			client = client.Polling() // from now on nobody asks by hand
		}
		for _, e := range slices.Backward(entries) {
			printEntry(t, e, c.Long)
		}
		select {
		case <-ctx.Done():
			return nil // how it is meant to end
		case <-time.After(c.Every):
		}
	}
}

// since returns the entries after number seen, newest first; the newest page where that is the first look.
func since(ctx context.Context, client *rest.Client, seen int64, first bool) ([]*auditv1.Entry, error) {
	var entries []*auditv1.Entry
	request := &auditv1.ListEntriesRequest{PageSize: largestPage}
	for {
		var page auditv1.ListEntriesResponse
		if err := client.Call(ctx, http.MethodPost, "/v1/audit/entries:list", request, &page); err != nil {
			if ctx.Err() != nil {
				return nil, nil //nolint:nilerr // interrupted, which is how tail is meant to end
			}
			return nil, err
		}
		for _, e := range page.GetEntries() {
			if e.GetSeq() <= seen {
				return entries, nil
			}
			entries = append(entries, e)
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" || first {
			return entries, nil
		}
	}
}
