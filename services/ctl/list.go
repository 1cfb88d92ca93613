package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// largestPage is what the API allows.
const largestPage = 500

type listEntries struct {
	kept
	filters
	From  string `placeholder:"TIME" help:"Only entries since then: a time, a date in UTC, or how long ago, as 36h."`
	To    string `placeholder:"TIME" help:"Only entries before then."`
	Limit int    `default:"100" help:"How many entries at most; 0 for all."`
	Long  bool   `short:"l" help:"Number and full time in front of each line."`
}

// Run prints page after page.
func (c *listEntries) Run(ctx context.Context, t *terminal) error {
	request, err := c.request(t.now())
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	for left := c.Limit; ; {
		request.PageSize = largestPage
		if c.Limit > 0 {
			request.PageSize = int32(min(left, largestPage))
		}
		var page auditv1.ListEntriesResponse
		if err := client.Call(ctx, http.MethodPost, "/v1/audit/entries:list", request, &page); err != nil {
			return err
		}
		for _, e := range page.GetEntries() {
			printEntry(t, e, c.Long)
		}
		left -= len(page.GetEntries())
		if page.GetNextPageToken() == "" {
			return nil
		}
		if c.Limit > 0 && left <= 0 {
			t.note("there are more; --limit 0 lists all")
			return nil
		}
		request.PageToken = page.GetNextPageToken()
	}
}

func printEntry(t *terminal, e *auditv1.Entry, long bool) {
	if long {
		fmt.Fprintf(t.out, "%d %s ", e.GetSeq(), e.GetEvent().GetEventTime().AsTime().Format("2006-01-02T15:04:05.000000Z"))
	}
	fmt.Fprintln(t.out, e.GetLine())
}

func (c *listEntries) request(now time.Time) (*auditv1.ListEntriesRequest, error) {
	if c.Limit < 0 {
		return nil, fmt.Errorf("--limit: %d is negative; 0 is for all", c.Limit)
	}
	f, err := c.read()
	if err != nil {
		return nil, err
	}
	r := f.request()
	for _, at := range []struct {
		flag, text string
		into       **timestamppb.Timestamp
	}{{"--from", c.From, &r.FromTime}, {"--to", c.To, &r.ToTime}} {
		if at.text == "" {
			continue
		}
		moment, err := momentOf(at.text, now)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at.flag, err)
		}
		*at.into = timestamppb.New(moment)
	}
	return r, nil
}
