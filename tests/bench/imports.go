package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/deploy/local/generator"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

const chunkBytes = 256 << 10

// imports is figure (c): a bundle of every patient, against COPY of the same resources in clear.
func (b *bench) imports(ctx context.Context) error {
	var bundle bytes.Buffer
	if err := generator.Bundle(&bundle, generator.Options{Seed: population, Patients: b.opts.Patients}); err != nil {
		return err
	}
	size := bundle.Len()
	begun := time.Now()
	stored, err := b.send(ctx, &bundle)
	if err != nil {
		return err
	}
	ours := float64(stored) / time.Since(begun).Seconds()

	rows := b.rows()
	begun = time.Now()
	if err := b.copyPlain(ctx, rows); err != nil {
		return err
	}
	plain := float64(len(rows)) / time.Since(begun).Seconds()
	row{"(c) import of a FHIR bundle", "resources/s", "COPY of the same bytes", ours, plain, 0,
		fmt.Sprintf("%d resources, %.0f MB, one stream; each parsed, sealed, indexed, audited", stored, float64(size)/1e6)}.write(os.Stdout)
	return nil
}

// send streams a bundle into records and returns how many resources were stored.
func (b *bench) send(ctx context.Context, bundle io.Reader) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx, err := b.as(ctx)
	if err != nil {
		return 0, err
	}
	stream, err := b.records.ImportBundle(ctx)
	if err != nil {
		return 0, fmt.Errorf("import: %w", err)
	}
	first := &recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Options{
		Options: &recordsv1.ImportOptions{Doctor: "users/" + b.doctor.User.String()}}}
	if err := stream.Send(first); err != nil {
		return 0, fmt.Errorf("import: %w", err)
	}
	go func() {
		for {
			buffer := make([]byte, chunkBytes) // gRPC may still hold the last one
			n, err := io.ReadFull(bundle, buffer)
			if n > 0 && stream.Send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Chunk{Chunk: buffer[:n]}}) != nil {
				return // Recv tells why
			}
			if err != nil {
				_ = stream.CloseSend()
				return
			}
		}
	}()
	var result *recordsv1.ImportProgress
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("import: %w", err)
		}
		if problem := answer.GetProblem(); problem != nil {
			return 0, fmt.Errorf("import: entry %d refused: %s", problem.GetIndex(), problem.GetReason())
		}
		result = answer.GetResult()
	}
	return result.GetCreated(), nil
}

// rows are the resources of the population as the baseline stores them.
func (b *bench) rows() [][]any {
	rows := make([][]any, 0, b.opts.Patients*generator.PerPatient)
	for i := range b.opts.Patients {
		for _, r := range generator.Resources(generator.Patient(population, i)) {
			rows = append(rows, []any{[16]byte(r.ID), r.JSON})
		}
	}
	return rows
}

func (b *bench) copyPlain(ctx context.Context, rows [][]any) error {
	admin, err := b.stack.AdminDB(ctx, "records")
	if err != nil {
		return err
	}
	defer admin.Close(ctx) //nolint:errcheck // the copy has committed
	if _, err := admin.CopyFrom(ctx, pgx.Identifier{"bench", "plain"}, []string{"id", "document"}, pgx.CopyFromRows(rows)); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}
