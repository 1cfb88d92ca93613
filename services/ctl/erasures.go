package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type erasures struct {
	List    listErasures   `cmd:"" help:"List erasures and purges, newest first."`
	Show    showErasure    `cmd:"" help:"Show an erasure, and keep its certificate."`
	Request requestErasure `cmd:"" help:"Ask for the erasure of a patient."`
	Decide  decideErasure  `cmd:"" help:"Grant an erasure, which destroys the records at once, or refuse it; by another person than asked."`
	Reapply reapplyErasure `cmd:"" help:"Destroy a patient again whom an older backup brought back."`
}

type listErasures struct {
	kept
	form
}

// Run prints all pages as one table.
func (c *listErasures) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var list []*recordsv1.Erasure
	for token := ""; ; {
		query := url.Values{"pageSize": {strconv.Itoa(largestPage)}, "pageToken": {token}}
		var page recordsv1.ListErasuresResponse
		if err := client.Call(ctx, http.MethodGet, "/v1/erasures?"+query.Encode(), nil, &page); err != nil {
			return fmt.Errorf("list erasures: %w", err)
		}
		list = append(list, page.GetErasures()...)
		if token = page.GetNextPageToken(); token == "" {
			return printErasures(c.form, t, list...)
		}
	}
}

func printErasures(f form, t *terminal, list ...*recordsv1.Erasure) error {
	return display(f, t, list, func() error {
		table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tPATIENT\tSTATE\tLAW\tASKED (UTC)\tDECIDED (UTC)")
		for _, e := range list {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", e.GetName(), e.GetPatient(), word(e.GetState(), "ERASURE_STATE_"), e.GetCitation(),
				moment(e.GetRequestTime()), moment(e.GetDecideTime()))
		}
		return table.Flush()
	})
}

// certified is a command that may keep the certificate of what it did.
type certified struct {
	Certificate string `placeholder:"FILE" help:"File to write the signed certificate to; it must not exist yet."`
}

// keepErasure writes the certificate of an erasure that is done, and prints the erasure.
func (c certified) keepErasure(f form, t *terminal, e *recordsv1.Erasure) error {
	if c.Certificate != "" && e.GetCertificate() == "" {
		return errors.Join(printErasures(f, t, e), errors.New("there is no certificate: nothing is destroyed"))
	}
	return errors.Join(printErasures(f, t, e), keepText(c.Certificate, e.GetCertificate()))
}

// vacant says before anything is done that the certificate's file is in the way.
func (c certified) vacant() error {
	if c.Certificate == "" {
		return nil
	}
	if _, err := os.Lstat(c.Certificate); err == nil {
		return fmt.Errorf("%s exists: remove it or name another file", c.Certificate)
	}
	return nil
}

type showErasure struct {
	kept
	form
	certified
	Name string `arg:"" help:"The erasure, as erasures list shows it."`
}

// Run prints the erasure.
func (c *showErasure) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	e, err := erasureOf(ctx, client, c.Name)
	if err != nil {
		return err
	}
	return c.keepErasure(c.form, t, e)
}

func erasureOf(ctx context.Context, client *rest.Client, name string) (*recordsv1.Erasure, error) {
	id, err := idOf("erasures", name)
	if err != nil {
		return nil, err
	}
	var e recordsv1.Erasure
	if err := client.Call(ctx, http.MethodGet, "/v1/erasures/"+id, nil, &e); err != nil {
		return nil, fmt.Errorf("read the erasure: %w", err)
	}
	return &e, nil
}

type requestErasure struct {
	kept
	form
	Patient string `arg:"" help:"The patient."`
	Ground  string `required:"" placeholder:"NAME" enum:"no-longer-necessary,consent-withdrawn,objection,unlawful-processing,legal-obligation,child-service" help:"The ground of Article 17(1): ${enum}."`
}

// Run asks; nothing is destroyed before somebody else decides.
func (c *requestErasure) Run(ctx context.Context, t *terminal) error {
	id, err := idOf("patients", c.Patient)
	if err != nil {
		return err
	}
	ground, err := enumOf(recordsv1.ErasureGround_value, recordsv1.ErasureGround_name, "ERASURE_GROUND_", c.Ground)
	if err != nil {
		return fmt.Errorf("--ground: %w", err)
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	request := &recordsv1.RequestErasureRequest{Patient: "patients/" + id, Ground: recordsv1.ErasureGround(ground)}
	var e recordsv1.Erasure
	if err := client.Call(ctx, http.MethodPost, "/v1/erasures", request, &e); err != nil {
		return fmt.Errorf("ask for the erasure: %w", err)
	}
	return printErasures(c.form, t, &e)
}

type decideErasure struct {
	kept
	form
	sure
	certified
	Name   string `arg:"" help:"The erasure, as erasures list shows it."`
	Grant  bool   `xor:"decision" required:"" help:"Destroy the patient's records now."`
	Refuse string `xor:"decision" required:"" placeholder:"NAME" help:"Refuse under an exemption of Article 17(3): free-expression, legal-obligation, public-health, research or legal-claims."`
}

// Run decides. Before records are destroyed it asks for the patient's id.
func (c *decideErasure) Run(ctx context.Context, t *terminal) error {
	exemption, err := enumOf(recordsv1.ErasureExemption_value, recordsv1.ErasureExemption_name, "ERASURE_EXEMPTION_", c.Refuse)
	if err != nil {
		return fmt.Errorf("--refuse: %w", err)
	}
	if err := c.vacant(); err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	e, err := erasureOf(ctx, client, c.Name)
	if err != nil {
		return err
	}
	request := &recordsv1.DecideErasureRequest{Decision: &recordsv1.DecideErasureRequest_Exemption{Exemption: recordsv1.ErasureExemption(exemption)}}
	if c.Grant {
		if err := c.confirm(ctx, t, "This destroys all records of "+e.GetPatient(), e.GetPatient()); err != nil {
			return err
		}
		request.Decision = &recordsv1.DecideErasureRequest_Grant{Grant: true}
	}
	return c.call(ctx, t, client, "/v1/"+e.GetName()+":decide", request, c.form, c.certified)
}

// eraseTime is a little more than the server takes at most.
const eraseTime = 90 * time.Second

// call decides or repeats an erasure.
func (k kept) call(ctx context.Context, t *terminal, client *rest.Client, path string, request proto.Message, f form, c certified) error {
	var e recordsv1.Erasure
	if err := client.Within(eraseTime).Call(ctx, http.MethodPost, path, request, &e); err != nil {
		return fmt.Errorf("erasure: %w", err)
	}
	return c.keepErasure(f, t, &e)
}

type reapplyErasure struct {
	kept
	form
	sure
	certified
	File string `arg:"" type:"existingfile" placeholder:"FILE" help:"The certificate of the erasure, which stands for the decision made then."`
}

// Run verifies the certificate against the gateway's keys, as records does again, and destroys.
func (c *reapplyErasure) Run(ctx context.Context, t *terminal) error {
	if err := c.vacant(); err != nil {
		return err
	}
	signed, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	old, err := opened(ctx, client, "", string(signed))
	if err != nil {
		return err
	}
	if old.Kind != certificate.Erasure {
		return fmt.Errorf("%s is a certificate of %s, and not of an erasure", c.File, old.Kind)
	}
	patient := "patients/" + old.Patient.String()
	if err := c.confirm(ctx, t, "This destroys all records of "+patient+" again", patient); err != nil {
		return err
	}
	return c.call(ctx, t, client, "/v1/erasures:reapply", &recordsv1.ReapplyErasureRequest{Certificate: string(signed)}, c.form, c.certified)
}
