package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

type retention struct {
	Show  showRetention `cmd:"" help:"Show how long records are kept after the last contact."`
	Set   setRetention  `cmd:"" help:"Change it."`
	Purge purgePatients `cmd:"" help:"Destroy the records of patients whose retention has ended."`
}

type showRetention struct {
	kept
	form
}

// Run prints the years.
func (c *showRetention) Run(ctx context.Context, t *terminal) error {
	return c.retention(ctx, t, c.form, nil)
}

type setRetention struct {
	kept
	form
	Years          *int32 `placeholder:"N" help:"Calendar years after the last contact, 7 to 100."`
	AutomaticPurge *bool  `negatable:"" help:"Destroy daily the records of patients whose retention has ended; else they are only counted."`
}

// Run changes what is named, and leaves the rest as it is.
func (c *setRetention) Run(ctx context.Context, t *terminal) error {
	if c.Years == nil && c.AutomaticPurge == nil {
		return errors.New("name what to change: --years, --automatic-purge or --no-automatic-purge")
	}
	return c.retention(ctx, t, c.form, func(r *recordsv1.Retention) *recordsv1.UpdateRetentionRequest {
		change := &recordsv1.UpdateRetentionRequest{Years: r.GetYears(), AutomaticPurge: r.GetAutomaticPurge()}
		if c.Years != nil {
			change.Years = *c.Years
		}
		if c.AutomaticPurge != nil {
			change.AutomaticPurge = *c.AutomaticPurge
		}
		return change
	})
}

// retention reads what holds, changes it where there is a change, and shows it.
func (k kept) retention(ctx context.Context, t *terminal, f form, change func(*recordsv1.Retention) *recordsv1.UpdateRetentionRequest) error {
	client, err := k.client(t)
	if err != nil {
		return err
	}
	var r recordsv1.Retention
	err = client.Call(ctx, http.MethodGet, "/v1/retention", nil, &r)
	if err == nil && change != nil {
		err = client.Call(ctx, http.MethodPatch, "/v1/retention", change(&r), &r)
	}
	if err != nil {
		return fmt.Errorf("retention: %w", err)
	}
	return display(f, t, []*recordsv1.Retention{&r}, func() error {
		ended := "patients whose time has ended are counted daily, and purged by command"
		if r.GetAutomaticPurge() {
			ended = "patients whose time has ended are purged daily"
		}
		_, err := fmt.Fprintf(t.out, "%d calendar years after the last contact; %s\n", r.GetYears(), ended)
		return err
	})
}

// purgeTime is a little more than the server takes at most.
const purgeTime = 6 * time.Minute

type purgePatients struct {
	kept
	form
	sure
	DryRun bool  `help:"Name who would go, and destroy nothing."`
	Limit  int32 `default:"100" help:"How many patients at most, up to 500."`
}

// Run prints who is gone, who is due and who is held.
func (c *purgePatients) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	did := "due"
	if !c.DryRun {
		did = "purged"
		if err := c.confirmPractice(ctx, t, client, "This destroys the records of all patients whose retention has ended"); err != nil {
			return err
		}
	}
	var report recordsv1.PurgePatientsResponse
	request := &recordsv1.PurgePatientsRequest{DryRun: c.DryRun, Limit: c.Limit}
	if err := client.Within(purgeTime).Call(ctx, http.MethodPost, "/v1/patients:purge", request, &report); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if report.GetSkipped() > 0 {
		t.note("%d changed meanwhile and were left", report.GetSkipped())
	}
	if report.GetMore() {
		t.note("more are due than the limit")
	}
	return display(c.form, t, []*recordsv1.PurgePatientsResponse{&report}, func() error {
		for _, name := range report.GetPatients() {
			fmt.Fprintf(t.out, "%s %s\n", did, name)
		}
		for _, name := range report.GetHeld() {
			fmt.Fprintf(t.out, "held %s\n", name)
		}
		return nil
	})
}
