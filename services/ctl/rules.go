package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

type ruleCommands struct {
	List listRules `cmd:"" help:"List the rules that each entry of the log is held against."`
	Test testRules `cmd:"" help:"Say what rules would have found in your practice's history; nothing is stored."`
}

type detectionCommands struct {
	List listDetections `cmd:"" help:"List what rules found in your practice, newest first."`
}

type listRules struct {
	kept
	Long bool `short:"l" help:"Conditions, and what each rule can know and cannot."`
}

// Run prints one rule a line, or a paragraph each.
func (c *listRules) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var found auditv1.ListRulesResponse
	if err := client.Call(ctx, http.MethodGet, "/v1/audit/rules", nil, &found); err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	if found.GetProblem() != "" {
		t.note("the rules file is not in force:\n%s", found.GetProblem())
	}
	if c.Long {
		for _, r := range found.GetRules() {
			printRule(t, r)
		}
		return nil
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "RULE\tRISK\tONCE FOR\tWITHIN\tACTIONS\tTITLE")
	for _, r := range found.GetRules() {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.GetRuleId(), riskName(r.GetRisk()), once(r), quiet(r), dashed(strings.Join(r.GetActions(), ", ")), r.GetTitle())
	}
	return table.Flush()
}

func printRule(t *terminal, r *auditv1.DetectionRule) {
	fmt.Fprintf(t.out, "%s (%s): %s\n", r.GetRuleId(), riskName(r.GetRisk()), r.GetTitle())
	var on []string
	for _, a := range r.GetOn() {
		on = append(on, strings.TrimPrefix(a.String(), "ACTION_"))
	}
	if len(on) > 0 {
		fmt.Fprintf(t.out, "  on    %s\n", strings.Join(on, ", "))
	}
	fmt.Fprintf(t.out, "  when  %s\n", strings.Join(strings.Fields(r.GetWhen()), " "))
	fmt.Fprintf(t.out, "  once  for %s within %s\n", once(r), quiet(r))
	if len(r.GetActions()) > 0 {
		fmt.Fprintf(t.out, "  then  %s\n", strings.Join(r.GetActions(), ", "))
	}
	if r.GetAbout() != "" {
		fmt.Fprintf(t.out, "  %s\n", r.GetAbout())
	}
	fmt.Fprintln(t.out)
}

func once(r *auditv1.DetectionRule) string {
	if len(r.GetBy()) == 0 {
		return "everything"
	}
	return strings.Join(r.GetBy(), ", ")
}

func quiet(r *auditv1.DetectionRule) string {
	return (time.Duration(r.GetQuietSeconds()) * time.Second).String()
}

func riskName(r auditv1.Risk) string { return strings.TrimPrefix(r.String(), "RISK_") }

func dashed(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type testRules struct {
	kept
	File string `arg:"" optional:"" help:"A rules file, laid beside the embedded rules as the server would do it; without one the rules in force."`
	From string `placeholder:"TIME" help:"Since then: a time, a date in UTC, or how long ago, as 36h. 24 hours before --to by default, 31 days at most."`
	To   string `placeholder:"TIME" help:"Before then; now by default."`
}

// testTime is a little more than the server takes.
const testTime = 150 * time.Second

// Run prints what would have fired, and how often each rule.
func (c *testRules) Run(ctx context.Context, t *terminal) error {
	request, err := c.request(t.now())
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var found auditv1.TestRulesResponse
	if err := client.Within(testTime).Call(ctx, http.MethodPost, "/v1/audit/rules:test", request, &found); err != nil {
		return fmt.Errorf("test rules: %w", err)
	}
	for _, d := range found.GetDetections() {
		printDetection(t, d)
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nRULE\tRISK\tFIRED\tHELD")
	for _, total := range found.GetTotals() {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\n", total.GetRuleId(), riskName(total.GetRisk()), total.GetDetections(), total.GetHeld())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	t.note("%d entries were looked at", found.GetEntries())
	if !found.GetComplete() {
		return fmt.Errorf("the time ran out; nothing after %s was looked at: use --to, or a later --from", moment(found.GetStoppedTime()))
	}
	return nil
}

func (c *testRules) request(now time.Time) (*auditv1.TestRulesRequest, error) {
	r := &auditv1.TestRulesRequest{}
	if c.File != "" {
		text, err := os.ReadFile(c.File)
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			return nil, errors.New("the rules file is empty: write `version: 1` and your rules")
		}
		r.Rules = text
	}
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

func printDetection(t *terminal, d *auditv1.Detection) {
	subject := ""
	for _, about := range []struct{ name, id string }{{"user", d.GetUserId()}, {"patient", d.GetPatientId()}, {"address", d.GetAddress()}} {
		if about.id != "" {
			subject += " " + about.name + "/" + about.id
		}
	}
	fmt.Fprintf(t.out, "%s %s %s%s: %s (entries %d–%d, held %d×)\n", moment(d.GetCreateTime()), riskName(d.GetRisk()), d.GetRuleId(), subject,
		d.GetTitle(), d.GetFirstSeq(), d.GetSeq(), d.GetCount())
}

type listDetections struct {
	kept
	Rule  string `placeholder:"ID" help:"Only of this rule, as SNOOPING."`
	User  string `placeholder:"ID" help:"Only of this user."`
	Limit int    `default:"100" help:"How many at most; 0 for all."`
}

// Run prints page after page.
func (c *listDetections) Run(ctx context.Context, t *terminal) error {
	if c.Limit < 0 {
		return fmt.Errorf("--limit: %d is negative; 0 is for all", c.Limit)
	}
	query := url.Values{}
	if c.Rule != "" {
		query.Set("ruleId", c.Rule)
	}
	if c.User != "" {
		user, err := idOf("users", c.User)
		if err != nil {
			return fmt.Errorf("--user: %w", err)
		}
		query.Set("userId", user)
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	for left := c.Limit; ; {
		size := largestPage
		if c.Limit > 0 {
			size = min(left, largestPage)
		}
		query.Set("pageSize", fmt.Sprint(size))
		var page auditv1.ListDetectionsResponse
		if err := client.Call(ctx, http.MethodGet, "/v1/audit/detections?"+query.Encode(), nil, &page); err != nil {
			return fmt.Errorf("list detections: %w", err)
		}
		for _, d := range page.GetDetections() {
			printDetection(t, d)
		}
		left -= len(page.GetDetections())
		if page.GetNextPageToken() == "" {
			return nil
		}
		if c.Limit > 0 && left <= 0 {
			t.note("there are more; --limit 0 lists all")
			return nil
		}
		query.Set("pageToken", page.GetNextPageToken())
	}
}
