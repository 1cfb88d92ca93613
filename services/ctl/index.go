package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type indexCommands struct {
	Status  indexStatus  `cmd:"" help:"Show the generations of the practice's search index, and how far a build is."`
	Rebuild rebuildIndex `cmd:"" help:"Build the index anew, under another key; searches go on meanwhile."`
	Leakage leakage      `cmd:"" help:"Count what the index tells without a key; fails when it is beyond the budget."`
}

type indexStatus struct{ kept }

// Run prints what the service tells.
func (c *indexStatus) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	x, err := searchIndex(ctx, client)
	if err != nil {
		return err
	}
	return printIndex(t, x)
}

func searchIndex(ctx context.Context, client *rest.Client) (*recordsv1.SearchIndex, error) {
	var x recordsv1.SearchIndex
	if err := client.Call(ctx, http.MethodGet, "/v1/searchIndex", nil, &x); err != nil {
		return nil, fmt.Errorf("read the state of the index: %w", err)
	}
	return &x, nil
}

func printIndex(t *terminal, x *recordsv1.SearchIndex) error {
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "GENERATION\tSTATE\tREGION\tPHONETICS\tMADE (UTC)\tLIVE (UTC)\tREAD")
	for _, g := range x.GetGenerations() {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", g.GetNumber(), strings.ToLower(strings.TrimPrefix(g.GetState().String(), "STATE_")),
			g.GetRegion(), map[bool]string{true: "on", false: "off"}[g.GetPhonetics()], moment(g.GetCreateTime()), moment(g.GetLiveTime()), built(g))
	}
	return table.Flush()
}

func built(g *recordsv1.SearchIndex_Generation) string {
	return fmt.Sprintf("%d of %d, %d broken", g.GetDone(), g.GetTotal(), g.GetBroken())
}

type rebuildIndex struct {
	kept
	Phonetics string `enum:"keep,on,off" default:"keep" help:"Whether names are found by how they sound as well (${enum})."`
	Region    string `placeholder:"XX" help:"Where phone numbers without a country code are (ISO 3166-1); as before when left out."`
	Detach    bool   `help:"Return at once; the build goes on by itself either way."`
}

// Run starts the build and waits for its end. It goes on when the command is interrupted.
func (c *rebuildIndex) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	request := &recordsv1.RebuildSearchIndexRequest{Region: c.Region}
	if c.Phonetics != "keep" {
		request.Phonetics = proto.Bool(c.Phonetics == "on")
	}
	x := &recordsv1.SearchIndex{}
	if err := client.Call(ctx, http.MethodPost, "/v1/searchIndex:rebuild", request, x); err != nil {
		return fmt.Errorf("rebuild the index: %w", err)
	}
	m := t.meter()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for !c.Detach && len(x.GetGenerations()) > 1 {
		m.show("%s", built(x.GetGenerations()[len(x.GetGenerations())-1]))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
		if x, err = searchIndex(ctx, client); err != nil {
			return err
		}
	}
	m.clear()
	return printIndex(t, x)
}

type leakage struct{ kept }

// Run prints the report; an index beyond its budget makes it fail.
func (c *leakage) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var report recordsv1.LeakageReport
	if err := client.Call(ctx, http.MethodPost, "/v1/searchIndex:measureLeakage", &recordsv1.MeasureLeakageRequest{}, &report); err != nil {
		return fmt.Errorf("measure the index: %w", err)
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "INDEX\tENTRIES\tVALUES\tMOST FREQUENT\tALLOWED\tSHARE\tALLOWED FROM 1,000\tBUDGET")
	for _, x := range report.GetIndexes() {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%.4f\t%.4f\t%s\n", x.GetName(), x.GetEntries(), x.GetTokens(), x.GetMostFrequent(), x.GetAllowed(),
			float64(x.GetMostFrequent())/float64(x.GetEntries()), x.GetAllowedShare(), map[bool]string{true: "OVER", false: "within"}[x.GetOverBudget()])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if report.GetOverBudget() {
		return errors.New("a value is so frequent that it can be told by counting: correct what many charts share, such as the practice's own phone number")
	}
	return nil
}
