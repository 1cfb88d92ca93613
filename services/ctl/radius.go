package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type computeRadius struct {
	kept
	User    string `placeholder:"ID" help:"What this user opened."`
	Device  string `placeholder:"ID" help:"What was opened on this device."`
	Address string `placeholder:"NET" help:"What was opened from this address or network."`
	Key     string `placeholder:"ID" help:"Whose data key this is, and when it was unwrapped."`
	From    string `placeholder:"TIME" help:"Only since then: a time, a date in UTC, or how long ago, as 36h."`
	To      string `placeholder:"TIME" help:"Only before then."`

	// --session is where the command's own session is.
	OfSession string `placeholder:"ID" help:"What was opened in this session."`
}

func (c *computeRadius) query(t *terminal) (*auditv1.RadiusQuery, error) {
	q := &auditv1.RadiusQuery{Address: c.Address}
	for _, id := range []struct {
		flag, collection, text string
		into                   *string
	}{
		{"--user", "users", c.User, &q.UserId}, {"--of-session", "sessions", c.OfSession, &q.SessionId},
		{"--device", "devices", c.Device, &q.DeviceId}, {"--key", "keys", c.Key, &q.KeyId},
	} {
		if id.text == "" {
			continue
		}
		var err error
		if *id.into, err = idOf(id.collection, id.text); err != nil {
			return nil, fmt.Errorf("%s: %w", id.flag, err)
		}
	}
	for _, at := range []struct {
		flag, text string
		into       **timestamppb.Timestamp
	}{{"--from", c.From, &q.FromTime}, {"--to", c.To, &q.ToTime}} {
		if at.text == "" {
			continue
		}
		moment, err := momentOf(at.text, t.now())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at.flag, err)
		}
		*at.into = timestamppb.New(moment)
	}
	return q, nil
}

// Run prints a line for each resource, and the sum.
func (c *computeRadius) Run(ctx context.Context, t *terminal) error {
	query, err := c.query(t)
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PATIENT\tRESOURCE\tTIMES\tFIRST (UTC)\tLAST (UTC)\tENTRIES\tOPENED")
	var sum *auditv1.RadiusSummary
	err = rest.Stream(ctx, client, "/v1/incidents:computeRadius", &auditv1.ComputeRadiusRequest{Query: query}, func(m *auditv1.ComputeRadiusResponse) error {
		if m.GetSummary() != nil {
			sum = m.GetSummary()
		}
		for _, r := range m.GetPatient().GetResources() {
			what := strings.Join(r.GetFields(), " ")
			if r.GetWhole() {
				what = "all of it"
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%d-%d\t%s\n", m.GetPatient().GetPatient(), r.GetName(), r.GetAccesses(), moment(r.GetFirstTime()),
				moment(r.GetLastTime()), r.GetEntries().GetFromSeq(), r.GetEntries().GetToSeq(), what)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("compute the blast radius: %w", err)
	}
	if sum == nil {
		return errors.New("the answer ended early: compute it again")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	t.note("%d patients in %d accesses, in a log of %d entries", sum.GetPatients(), sum.GetAccesses(), sum.GetLogSize())
	if r := sum.GetEntries(); r != nil {
		t.note("the entries lie between %d and %d: carekeep incidents evidence attaches them", r.GetFromSeq(), r.GetToSeq())
	}
	for _, u := range sum.GetUnknown() {
		t.note("what the log cannot tell: %s", u)
	}
	return nil
}
