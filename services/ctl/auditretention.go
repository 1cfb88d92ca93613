package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"text/tabwriter"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

type logRetention struct {
	kept
	form
	DryRun bool `help:"Tell what is due, and delete nothing."`
	Yes    bool `help:"Do not ask that the number of entries is typed again."`
}

// Help says what it takes.
func (logRetention) Help() string {
	return "Only a superadmin can, within five minutes after a proof by two factors. The database decides what is due; legal holds, holds on the log and " +
		"evidence of incidents stay."
}

// Run shows the plan, and unless that is all that was asked for deletes until nothing is due.
func (c *logRetention) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	client = client.Within(purgeTime)
	var plan auditv1.PlanRetentionResponse
	if err := client.Call(ctx, http.MethodGet, "/v1/audit/retention", nil, &plan); err != nil {
		return fmt.Errorf("plan retention: %w", err)
	}
	if c.DryRun {
		return display(c.form, t, []*auditv1.PlanRetentionResponse{&plan}, func() error { return printPlan(t, &plan) })
	}
	due := int64(0)
	for _, class := range plan.GetClasses() {
		due += class.GetDue()
	}
	if due > 0 && !c.Yes {
		if err := (sure{}).confirm(ctx, t, fmt.Sprintf("This deletes %d entries of the log", due), strconv.FormatInt(due, 10)); err != nil {
			return err
		}
	}
	var all auditv1.RunRetentionResponse
	for more := true; more; {
		var done auditv1.RunRetentionResponse
		if err := client.Call(ctx, http.MethodPost, "/v1/audit/retention:run", &auditv1.RunRetentionRequest{}, &done); err != nil {
			return fmt.Errorf("after %d entries: %w", all.GetDeleted(), err)
		}
		all.Deleted += done.GetDeleted()
		all.Months = append(all.Months, done.GetMonths()...)
		more = done.GetMore()
	}
	return display(c.form, t, []*auditv1.RunRetentionResponse{&all}, func() error {
		fmt.Fprintf(t.out, "%d entries deleted\n", all.GetDeleted())
		for _, month := range all.GetMonths() {
			fmt.Fprintf(t.out, "nothing is left of %s\n", month)
		}
		return nil
	})
}

func printPlan(t *terminal, plan *auditv1.PlanRetentionResponse) error {
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CLASS\tAPPENDED BEFORE (UTC)\tDUE\tSPARED")
	for _, class := range plan.GetClasses() {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\n", class.GetName(), moment(class.GetCutoffTime()), class.GetDue(), class.GetSpared())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	does := "only reports: retention.mode is report"
	if plan.GetPurges() {
		does = "deletes: retention.mode is purge"
	}
	_, err := fmt.Fprintf(t.out, "the daily job %s\n", does)
	return err
}

type logHolds struct {
	List    listLogHolds   `cmd:"" help:"List holds on the log, newest first."`
	Place   placeLogHold   `cmd:"" help:"Keep a practice's entries, or the whole log, from being deleted."`
	Release releaseLogHold `cmd:"" help:"Release a hold on the log; whoever placed it cannot."`
}

type listLogHolds struct {
	kept
	form
}

// Run prints the holds.
func (c *listLogHolds) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var list auditv1.ListLogHoldsResponse
	if err := client.Call(ctx, http.MethodGet, "/v1/logHolds", nil, &list); err != nil {
		return fmt.Errorf("list holds on the log: %w", err)
	}
	return c.printLogHolds(t, list.GetLogHolds())
}

func (f form) printLogHolds(t *terminal, list []*auditv1.LogHold) error {
	return display(f, t, list, func() error {
		table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tCOVERS\tREFERENCE\tPLACED (UTC)\tRELEASED (UTC)")
		for _, h := range list {
			covers := h.GetPractice()
			if covers == "" {
				covers = "the whole log"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", h.GetName(), covers, h.GetReference(), moment(h.GetPlaceTime()), moment(h.GetReleaseTime()))
		}
		return table.Flush()
	})
}

type placeLogHold struct {
	kept
	form
	Practice  string `placeholder:"ID" xor:"what" required:"" help:"The practice whose entries are kept."`
	All       bool   `xor:"what" required:"" help:"Keep the whole log."`
	Reference string `required:"" placeholder:"TEXT" help:"A case number or the like, without anything of a patient: up to 64 letters, digits, spaces and -._/."`
}

// Run places a hold.
func (c *placeLogHold) Run(ctx context.Context, t *terminal) error {
	request := &auditv1.PlaceLogHoldRequest{Reference: c.Reference}
	if c.Practice != "" {
		id, err := idOf("practices", c.Practice)
		if err != nil {
			return fmt.Errorf("--practice: %w", err)
		}
		request.Practice = "practices/" + id
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var hold auditv1.LogHold
	if err := client.Call(ctx, http.MethodPost, "/v1/logHolds", request, &hold); err != nil {
		return fmt.Errorf("place a hold on the log: %w", err)
	}
	return c.printLogHolds(t, []*auditv1.LogHold{&hold})
}

type releaseLogHold struct {
	kept
	form
	Name string `arg:"" help:"The hold, as audit holds list shows it."`
}

// Run releases a hold.
func (c *releaseLogHold) Run(ctx context.Context, t *terminal) error {
	var hold auditv1.LogHold
	if err := c.act(ctx, t, "release the hold on the log", "logHolds", c.Name, "release", &auditv1.ReleaseLogHoldRequest{}, &hold); err != nil {
		return err
	}
	return c.printLogHolds(t, []*auditv1.LogHold{&hold})
}
