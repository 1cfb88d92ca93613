package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type keyCommands struct {
	Status keyStatus  `cmd:"" help:"Show the versions and ages of the practice's keys, what is due and what runs."`
	Rotate rotateKeys `cmd:"" help:"Give the practice's key a new version, or a patient another data key."`
	Rewrap rewrapKeys `cmd:"" help:"Rewrap all keys under the newest version of the practice's key."`
	Trim   trimKeys   `cmd:"" help:"Destroy old versions of the practice's key; refused before their time."`
	Scrub  scrubStore `cmd:"" help:"Open everything that is stored, and report what was changed from outside."`
	Jobs   keyJobs    `cmd:"" help:"List jobs on keys and store, newest first."`

	ImportLegacy importLegacy `cmd:"" help:"Import what an older system encrypted with AES-CBC or AES-CTR, and have it sealed anew."`
}

type keyStatus struct{ kept }

// Run prints what the service tells.
func (c *keyStatus) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var s recordsv1.KeyStatus
	if err := client.Call(ctx, http.MethodGet, "/v1/keyStatus", nil, &s); err != nil {
		return fmt.Errorf("read the state of the keys: %w", err)
	}
	return printStatus(t, &s)
}

func printStatus(t *terminal, s *recordsv1.KeyStatus) error {
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VERSION\tMADE (UTC)\tKEYS UNDER IT\tREWRAPPED (UTC)")
	for _, v := range s.GetVersions() {
		fmt.Fprintf(table, "%d\t%s\t%d\t%s\n", v.GetVersion(), moment(v.GetCreateTime()), v.GetWrappedKeys(), moment(v.GetRewrapTime()))
	}
	fmt.Fprintf(table, "\nnext version due\t%s\n", moment(s.GetRotationDueTime()))
	fmt.Fprintf(table, "oldest version that opens\t%d\n", s.GetMinDecryptionVersion())
	fmt.Fprintf(table, "old versions may be destroyed\t%s\n", moment(s.GetTrimDueTime()))
	fmt.Fprintf(table, "data keys\t%d, the oldest from %s, at most %d seals\n", s.GetDataKeys(), moment(s.GetOldestDataKeyTime()), s.GetMostSeals())
	fmt.Fprintf(table, "data keys due\t%d\n", s.GetDataKeysDue())
	if err := table.Flush(); err != nil {
		return err
	}
	for _, j := range s.GetRunningJobs() {
		fmt.Fprintf(t.out, "%s %s\n", j.GetName(), describe(j))
	}
	return nil
}

func moment(at *timestamppb.Timestamp) string {
	if at == nil {
		return "-"
	}
	return at.AsTime().Format(time.DateTime)
}

// started is a command that starts a job, and waits for it.
type started struct {
	kept
	Detach bool `help:"Print the job's name at once; it goes on by itself either way."`
}

type rotateKeys struct {
	started
	Patient   string `placeholder:"ID" xor:"what" help:"Replace the data key of this patient instead."`
	Directory bool   `xor:"what" help:"Replace the data key of the practice's directory instead."`
}

// Run rotates, and waits until all that the old key held is under the new one.
func (c *rotateKeys) Run(ctx context.Context, t *terminal) error {
	if c.Patient == "" && !c.Directory {
		return c.run(ctx, t, "/v1/keys:rotate", &recordsv1.RotatePracticeKeyRequest{})
	}
	request := &recordsv1.RotateDataKeyRequest{}
	if c.Patient != "" {
		id, err := idOf("patients", c.Patient)
		if err != nil {
			return fmt.Errorf("--patient: %w", err)
		}
		request.Patient = "patients/" + id
	}
	return c.run(ctx, t, "/v1/keys:rotateDataKey", request)
}

type rewrapKeys struct{ started }

// Run rewraps, and waits for the end.
func (c *rewrapKeys) Run(ctx context.Context, t *terminal) error {
	return c.run(ctx, t, "/v1/keys:rewrap", &recordsv1.RewrapKeysRequest{})
}

type scrubStore struct{ started }

// Run scrubs; what is broken makes it fail.
func (c *scrubStore) Run(ctx context.Context, t *terminal) error {
	return c.run(ctx, t, "/v1/keys:scrub", &recordsv1.ScrubStoreRequest{})
}

type trimKeys struct{ kept }

// Run trims and shows what is left.
func (c *trimKeys) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var s recordsv1.KeyStatus
	if err := client.Call(ctx, http.MethodPost, "/v1/keys:trim", &recordsv1.TrimPracticeKeyRequest{}, &s); err != nil {
		return fmt.Errorf("destroy old versions: %w", err)
	}
	return printStatus(t, &s)
}

// pollEvery is how often a job is looked at.
const pollEvery = time.Second

func (c *started) run(ctx context.Context, t *terminal, path string, request proto.Message) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var j recordsv1.KeyJob
	if err := client.Call(ctx, http.MethodPost, path, request, &j); err != nil {
		return err
	}
	if c.Detach {
		fmt.Fprintln(t.out, j.GetName())
		return nil
	}
	return follow(ctx, t, client, &j)
}

// follow waits for a job's end. The job goes on when the command is interrupted.
func follow(ctx context.Context, t *terminal, client *rest.Client, j *recordsv1.KeyJob) error {
	m := t.meter()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for j.GetState() == recordsv1.KeyJob_STATE_RUNNING {
		m.show("%s", describe(j))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
		if err := client.Call(ctx, http.MethodGet, "/v1/"+j.GetName(), nil, j); err != nil {
			return fmt.Errorf("look at %s, which goes on: %w", j.GetName(), err)
		}
	}
	m.clear()
	fmt.Fprintf(t.out, "%s %s\n", j.GetName(), describe(j))
	if j.GetState() != recordsv1.KeyJob_STATE_DONE {
		return errors.New("something does not open, or is not what was stored: the audit log names it")
	}
	return nil
}

func describe(j *recordsv1.KeyJob) string {
	name := func(text, prefix string) string { return strings.ToLower(strings.TrimPrefix(text, prefix)) }
	return fmt.Sprintf("%s %s: %d of %d done, %d broken", name(j.GetKind().String(), "KIND_"), name(j.GetState().String(), "STATE_"),
		j.GetDone(), j.GetTotal(), j.GetBroken())
}

type keyJobs struct{ kept }

// Run prints all pages as one table.
func (c *keyJobs) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSTARTED (UTC)\tWHAT")
	for token := ""; ; {
		var page recordsv1.ListKeyJobsResponse
		if err := client.Call(ctx, http.MethodGet, "/v1/keyJobs?"+url.Values{"pageToken": {token}}.Encode(), nil, &page); err != nil {
			return fmt.Errorf("list jobs: %w", err)
		}
		for _, j := range page.GetJobs() {
			fmt.Fprintf(table, "%s\t%s\t%s\n", j.GetName(), moment(j.GetCreateTime()), describe(j))
		}
		if token = page.GetNextPageToken(); token == "" {
			return table.Flush()
		}
	}
}
