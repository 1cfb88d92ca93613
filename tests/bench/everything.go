package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

const (
	chartResources = 500
	// everythingTarget is how long half of the requests for such a chart may take (issue 4).
	everythingTarget = 60 * time.Millisecond
)

// everything times FHIR's $everything of one large chart by one client, through the gateway, beside
// a plaintext server that reads the same documents by their patient and writes the same form of bundle.
func (b *bench) everything(ctx context.Context) error {
	patient, documents := largeChart()
	bundle := append([]byte(`{"resourceType":"Bundle","type":"collection","entry":[{"resource":`), bytes.Join(documents, []byte(`},{"resource":`))...)
	if _, err := b.send(ctx, bytes.NewReader(append(bundle, "}]}"...))); err != nil {
		return err
	}
	if err := b.copyChart(ctx, patient, documents); err != nil {
		return err
	}
	client, err := b.people.As(ctx, seed.Smith)
	if err != nil {
		return err
	}
	path := "/Patient/" + patient.String() + "/$everything"
	ours := func(ctx context.Context, _, _ int) error {
		answer, err := client.FHIR(ctx, http.MethodGet, path, nil, "")
		if err != nil {
			return err
		}
		return wholeChart(answer.Status, answer.Body)
	}
	fhir := recordsv1.NewFhirServiceClient(b.baseConn)
	plain := func(ctx context.Context, _, _ int) error {
		answer, err := fhir.Everything(ctx, &recordsv1.FhirServiceEverythingRequest{Id: patient.String()})
		if err != nil {
			return err
		}
		return wholeChart(http.StatusOK, answer.GetContent())
	}
	got, err := contest(ctx, 1, b.opts.Length, b.opts.Rounds, ours, plain)
	if err != nil {
		return fmt.Errorf("everything: %w", err)
	}
	name := fmt.Sprintf("$everything of %d resources, one client, by its p50", chartResources)
	row{name, "/s", everythingTarget.String(), 1 / got[0].p50.Seconds(), 1 / everythingTarget.Seconds(), 1,
		"through the gateway; " + latency(got[0])}.write(os.Stdout)
	row{name, "/s", "plaintext, gRPC without a gateway", 1 / got[0].p50.Seconds(), 1 / got[1].p50.Seconds(), 0,
		latency(got[0]) + " against " + latency(got[1])}.write(os.Stdout)
	return nil
}

// wholeChart checks that an answer is one page with all of the chart.
func wholeChart(status int, bundle []byte) error {
	if status != http.StatusOK {
		return fmt.Errorf("$everything answered %d: %s", status, bundle)
	}
	if n := gjson.GetBytes(bundle, "entry.#").Int(); n != chartResources {
		return fmt.Errorf("%d resources of a chart of %d", n, chartResources)
	}
	return nil
}

// largeChart is a patient of a population of its own, whose clinical resources are there again
// and again under other ids.
func largeChart() (uuid.UUID, [][]byte) {
	one := generator.Resources(generator.Patient(population+2, 0))
	out := make([][]byte, 0, chartResources)
	for _, r := range one {
		out = append(out, r.JSON)
	}
	for n := 1; len(out) < chartResources; n++ {
		r := one[n%len(one)]
		if r.Type == "Patient" || r.Type == "Appointment" {
			continue
		}
		out = append(out, bytes.Replace(r.JSON, []byte(r.ID.String()), []byte(uuid.NewSHA1(r.ID, []byte{byte(n), byte(n >> 8)}).String()), 1))
	}
	return one[0].ID, out
}

// copyChart gives the documents to the baseline.
func (b *bench) copyChart(ctx context.Context, patient uuid.UUID, documents [][]byte) error {
	admin, err := b.stack.AdminDB(ctx, "records")
	if err != nil {
		return err
	}
	defer admin.Close(ctx) //nolint:errcheck // the copy has committed
	rows := make([][]any, len(documents))
	for i, d := range documents {
		rows[i] = []any{[16]byte(patient), d}
	}
	if _, err := admin.CopyFrom(ctx, pgx.Identifier{"bench", "chart"}, []string{"patient", "document"}, pgx.CopyFromRows(rows)); err != nil {
		return fmt.Errorf("copy the chart: %w", err)
	}
	return nil
}

// Everything reads the rows of one patient.
func (b *baseline) Everything(ctx context.Context, request *recordsv1.FhirServiceEverythingRequest) (*recordsv1.FhirAnswer, error) {
	rows, err := b.pool.Query(ctx, `SELECT document FROM bench.chart WHERE patient = $1`, request.GetId())
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	documents, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	content := append([]byte(`{"resourceType":"Bundle","type":"searchset","entry":[{"resource":`), bytes.Join(documents, []byte(`},{"resource":`))...)
	return &recordsv1.FhirAnswer{Content: append(content, "}]}"...)}, nil
}
