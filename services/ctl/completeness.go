package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
)

type completenessReport struct {
	kept
	From string `required:"" placeholder:"TIME" help:"From this minute: 2026-11-21T13:00:00Z, 2026-11-21 (UTC) or 36h (ago)."`
	To   string `required:"" placeholder:"TIME" help:"Up to, not including, this minute, which is 2 minutes past."`
}

// errIncomplete makes the command end with 1.
var errIncomplete = errors.New("what was served and what is in the log differ")

// Run prints served and stored calls by service and method; days are asked for one by one.
func (c *completenessReport) Run(ctx context.Context, t *terminal) error {
	now := time.Now()
	from, err := momentOf(c.From, now)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	to, err := momentOf(c.To, now)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	differs := false
	for first := true; first || from.Before(to); first = false {
		end := to
		if day := from.Add(24 * time.Hour); day.Before(to) {
			end = day
		}
		query := url.Values{"fromTime": {from.UTC().Format(time.RFC3339)}, "toTime": {end.UTC().Format(time.RFC3339)}}
		var report auditv1.Completeness
		if err := client.Call(ctx, http.MethodGet, "/v1/audit/completeness?"+query.Encode(), nil, &report); err != nil {
			return fmt.Errorf("completeness: %w", err)
		}
		differs = compared(t, &report) || differs
		from = end
	}
	if differs {
		return errIncomplete
	}
	return nil
}

// compared prints a report and says whether anything in it differs.
func compared(t *terminal, report *auditv1.Completeness) (differs bool) {
	fmt.Fprintf(t.out, "%s to %s\n", report.GetFromTime().AsTime().Format(time.RFC3339), report.GetToTime().AsTime().Format(time.RFC3339))
	var served, stored int64
	for _, m := range report.GetMethods() {
		served, stored = served+m.GetServed(), stored+m.GetStored()
		note := ""
		switch missing := m.GetServed() - m.GetStored(); {
		case missing > 0:
			note = fmt.Sprintf("  %d not in the log: still running, refused because they could not be recorded, or lost", missing)
		case missing < 0:
			note = fmt.Sprintf("  %d that nobody counted: a process ended without goodbye, or could not tell for 15 minutes", -missing)
		}
		differs = differs || note != ""
		method := strings.TrimPrefix(m.GetMethod(), "/")
		if method == "" {
			method = "(no such method)"
		}
		fmt.Fprintf(t.out, "%-8s %-64s served %8d  stored %8d%s\n", access.ServiceName(m.GetService()), method, m.GetServed(), m.GetStored(), note)
	}
	fmt.Fprintf(t.out, "%-73s served %8d  stored %8d\nruns of jobs, which nobody called: %d\n", "all", served, stored, report.GetJobRuns())
	return differs
}
