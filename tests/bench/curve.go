package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/carekeep/carekeep/deploy/local/generator"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// curve shows that a lookup costs the same however much is stored: it fills the
// store to each size and measures a read by id and a search by social security number.
func (b *bench) curve(ctx context.Context) error {
	if len(b.opts.Curve) == 0 {
		return nil
	}
	// A practice of its own, so that the first points are small.
	b.doctor = b.newDoctor()
	fmt.Fprintln(os.Stdout)
	fmt.Fprintln(os.Stdout, "| resources stored | import/s | read/s | p50 | p99 | search/s | p50 | p99 |")
	fmt.Fprintln(os.Stdout, "|---|---|---|---|---|---|---|---|")
	patients := 0
	for _, resources := range b.opts.Curve {
		wanted := max(1, resources/generator.PerPatient)
		begun := time.Now()
		stored, err := b.fill(ctx, patients, wanted-patients)
		if err != nil {
			return err
		}
		rate := float64(stored) / time.Since(begun).Seconds()
		patients = wanted
		if err := b.settle(ctx); err != nil {
			return err
		}
		got, err := contest(ctx, b.opts.Clients, b.opts.Length, 1, b.lookup(patients), b.search(patients))
		if err != nil {
			return fmt.Errorf("curve at %d: %w", resources, err)
		}
		fmt.Fprintf(os.Stdout, "| %d | %.0f | %.0f | %s | %s | %.0f | %s | %s |\n", patients*generator.PerPatient, rate,
			got[0].perSecond, got[0].p50.Round(10*time.Microsecond), got[0].p99.Round(10*time.Microsecond),
			got[1].perSecond, got[1].p50.Round(10*time.Microsecond), got[1].p99.Round(10*time.Microsecond))
	}
	return b.beside(ctx)
}

// fill imports patients first to first+count-1 of another population than the contests'.
func (b *bench) fill(ctx context.Context, first, count int) (int64, error) {
	reader, writer := io.Pipe()
	go func() {
		writer.CloseWithError(generator.Bundle(writer, generator.Options{Seed: population + 1, Patients: count, First: first}))
	}()
	stored, err := b.send(ctx, reader)
	_ = reader.Close() // ends the generator where the import ended early
	return stored, err
}

// settle waits until the audit trail of the import has arrived and the tables
// have their statistics: the curve is about stored data, not about work left over.
func (b *bench) settle(ctx context.Context) error {
	admin, err := b.stack.AdminDB(ctx, "records")
	if err != nil {
		return err
	}
	defer admin.Close(ctx) //nolint:errcheck // nothing is pending
	for {
		var waiting int
		if err := admin.QueryRow(ctx, `SELECT count(*) FROM outbox`).Scan(&waiting); err != nil {
			return fmt.Errorf("outbox: %w", err)
		}
		if waiting == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	if _, err := admin.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	return nil
}

// lookup reads patients all over the population by id.
func (b *bench) lookup(patients int) operation {
	callers := b.callers()
	return func(ctx context.Context, own, n int) error {
		ctx, err := callers[own].with(ctx)
		if err != nil {
			return err
		}
		facts := generator.Patient(population+1, spread(own, n, patients))
		_, err = b.records.GetResource(ctx, &recordsv1.GetResourceRequest{Type: "Patient", Id: facts.ID.String()})
		return err
	}
}

// search finds them by social security number.
func (b *bench) search(patients int) operation {
	callers := b.callers()
	return func(ctx context.Context, own, n int) error {
		ctx, err := callers[own].with(ctx)
		if err != nil {
			return err
		}
		facts := generator.Patient(population+1, spread(own, n, patients))
		answer, err := b.records.SearchPatients(ctx, &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Identifier{
			Identifier: &recordsv1.Identifier{System: "http://hl7.org/fhir/sid/us-ssn", Value: facts.SSN}}})
		if err != nil {
			return err
		}
		if len(answer.GetPatients()) != 1 {
			return fmt.Errorf("%d patients found for one number", len(answer.GetPatients()))
		}
		return nil
	}
}

// spread steps through the population so that no two requests in a row are neighbours.
func spread(client, n, size int) int { return (client*104_729 + n*7_919) % size }
