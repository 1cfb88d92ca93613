package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

type holds struct {
	List    listHolds   `cmd:"" help:"List legal holds, newest first."`
	Place   placeHold   `cmd:"" help:"Keep a patient's records, or the whole practice's, from being destroyed."`
	Release releaseHold `cmd:"" help:"Release a legal hold; whoever placed it cannot."`
}

type listHolds struct {
	kept
	form
	Released bool `help:"Released ones too."`
}

// Run prints all pages as one table.
func (c *listHolds) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var list []*recordsv1.LegalHold
	for token := ""; ; {
		query := url.Values{"pageSize": {strconv.Itoa(largestPage)}, "pageToken": {token}, "showReleased": {strconv.FormatBool(c.Released)}}
		var page recordsv1.ListLegalHoldsResponse
		if err := client.Call(ctx, http.MethodGet, "/v1/legalHolds?"+query.Encode(), nil, &page); err != nil {
			return fmt.Errorf("list holds: %w", err)
		}
		list = append(list, page.GetLegalHolds()...)
		if token = page.GetNextPageToken(); token == "" {
			return c.print(t, list)
		}
	}
}

// print shows holds.
func (f form) print(t *terminal, list []*recordsv1.LegalHold) error {
	return display(f, t, list, func() error {
		table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tCOVERS\tREASON\tPLACED (UTC)\tRELEASED (UTC)\tMATTER")
		for _, h := range list {
			covers := h.GetPatient()
			if covers == "" {
				covers = "the practice"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", h.GetName(), covers, word(h.GetReason(), "LEGAL_HOLD_REASON_"),
				moment(h.GetPlaceTime()), moment(h.GetReleaseTime()), h.GetMatter())
		}
		return table.Flush()
	})
}

type placeHold struct {
	kept
	form
	Patient  string `placeholder:"ID" xor:"what" required:"" help:"The patient whose records are kept."`
	Practice bool   `xor:"what" required:"" help:"Keep the whole practice's."`
	Reason   string `required:"" enum:"litigation,investigation,regulator,other" placeholder:"NAME" help:"Why: ${enum}."`
}

// Help says where the matter comes from.
func (placeHold) Help() string {
	return "What it is about, such as a docket's number, is asked for at the terminal, or is the first line of standard input: " +
		"it can say something of a patient, and other users of the machine can read arguments."
}

// Run places a hold.
func (c *placeHold) Run(ctx context.Context, t *terminal) error {
	request := &recordsv1.PlaceLegalHoldRequest{}
	if c.Patient != "" {
		id, err := idOf("patients", c.Patient)
		if err != nil {
			return fmt.Errorf("--patient: %w", err)
		}
		request.Patient = "patients/" + id
	}
	reason, err := enumOf(recordsv1.LegalHoldReason_value, recordsv1.LegalHoldReason_name, "LEGAL_HOLD_REASON_", c.Reason)
	if err != nil {
		return fmt.Errorf("--reason: %w", err)
	}
	request.Reason = recordsv1.LegalHoldReason(reason)
	client, err := c.client(t)
	if err != nil {
		return err
	}
	if request.Matter, err = t.ask(ctx, "Matter: "); err != nil {
		return err
	}
	if request.Matter == "" {
		return errors.New("no matter given: type what the hold is about, or send it as the first line of standard input")
	}
	var hold recordsv1.LegalHold
	if err := client.Call(ctx, http.MethodPost, "/v1/legalHolds", request, &hold); err != nil {
		return fmt.Errorf("place a hold: %w", err)
	}
	return c.print(t, []*recordsv1.LegalHold{&hold})
}

type releaseHold struct {
	kept
	form
	Name string `arg:"" help:"The hold, as holds list shows it."`
}

// Run releases a hold.
func (c *releaseHold) Run(ctx context.Context, t *terminal) error {
	var hold recordsv1.LegalHold
	if err := c.act(ctx, t, "release the hold", "legalHolds", c.Name, "release", &recordsv1.ReleaseLegalHoldRequest{}, &hold); err != nil {
		return err
	}
	return c.print(t, []*recordsv1.LegalHold{&hold})
}
