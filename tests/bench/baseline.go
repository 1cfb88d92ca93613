package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/tidwall/sjson"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/pg"
)

// baselineConfig is what the baseline process reads from its standard input.
type baselineConfig struct {
	Files    mtls.Files
	Trust    string
	Database pg.Config
}

// baseline is the server that carekeep is measured against: the same gRPC, TLS,
// driver, pool size and row bytes, but documents in clear, no caller, no rule,
// no audit. It runs as a process of its own, as records does.
type baseline struct {
	recordsv1.UnimplementedRecordsServiceServer
	recordsv1.UnimplementedFhirServiceServer
	pool *pgxpool.Pool
}

// serveBaseline is the child process. It prints its address and serves until it is told to stop.
func serveBaseline() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var cfg baselineConfig
	if err := json.NewDecoder(os.Stdin).Decode(&cfg); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	cfg.Files.TrustDomain = cfg.Trust
	source, err := mtls.Load(cfg.Files, slog.Default())
	if err != nil {
		return err
	}
	pool, err := pg.Open(ctx, cfg.Database, source)
	if err != nil {
		return err
	}
	defer pool.Close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(source.ServerTLS())))
	b := &baseline{pool: pool}
	recordsv1.RegisterRecordsServiceServer(server, b)
	recordsv1.RegisterFhirServiceServer(server, b)
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	if _, err := fmt.Fprintln(os.Stdout, listener.Addr()); err != nil {
		return fmt.Errorf("print the address: %w", err)
	}
	return server.Serve(listener)
}

// GetResource reads one row.
func (b *baseline) GetResource(ctx context.Context, request *recordsv1.GetResourceRequest) (*httpbody.HttpBody, error) {
	var document []byte
	err := b.pool.QueryRow(ctx, `SELECT document FROM bench.plain WHERE id = $1`, request.GetId()).Scan(&document)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return &httpbody.HttpBody{ContentType: "application/fhir+json", Data: document}, nil
}

// GetPatient tells the version of one row, which a writer needs once.
func (b *baseline) GetPatient(ctx context.Context, request *recordsv1.GetPatientRequest) (*recordsv1.Patient, error) {
	var version int64
	err := b.pool.QueryRow(ctx, `SELECT version FROM bench.plain WHERE id = $1`, request.GetName()[len("patients/"):]).Scan(&version)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return &recordsv1.Patient{Name: request.GetName(), Etag: strconv.FormatInt(version, 10)}, nil
}

// UpdatePatient changes the birth date in one row, if nobody else changed the row
// since it was read: two round trips and one commit, the least that takes.
func (b *baseline) UpdatePatient(ctx context.Context, request *recordsv1.UpdatePatientRequest) (*recordsv1.Patient, error) {
	patient := request.GetPatient()
	id := patient.GetName()[len("patients/"):]
	var document []byte
	var version int64
	if err := b.pool.QueryRow(ctx, `SELECT document, version FROM bench.plain WHERE id = $1`, id).Scan(&document, &version); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	changed, err := sjson.SetBytes(document, "birthDate", patient.GetBirthDate())
	if err != nil {
		return nil, fmt.Errorf("change: %w", err)
	}
	tag, err := b.pool.Exec(ctx, `UPDATE bench.plain SET document = $2, version = version + 1 WHERE id = $1 AND version = $3`, id, changed, version)
	if err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	if tag.RowsAffected() != 1 {
		return nil, errors.New("changed by another")
	}
	return patient, nil
}
