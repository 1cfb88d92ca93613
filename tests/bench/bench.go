package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/tests/internal/mesh"
	"github.com/carekeep/carekeep/tests/internal/people"
)

const population = 20261121

// bench is a running stack with a baseline beside it.
type bench struct {
	opts   options
	stack  *stack.Stack
	people *people.People
	signer *caller.Signer
	doctor caller.Caller

	conn    *grpc.ClientConn
	records recordsv1.RecordsServiceClient

	child    *exec.Cmd
	baseConn *grpc.ClientConn
	plain    recordsv1.RecordsServiceClient
}

func prepare(ctx context.Context, opts options) (*bench, error) {
	limits := stack.Settings{
		"auth": {"limits.requests_per_minute": 100_000_000},
	}
	started, err := stack.Start(ctx, stack.Options{Durable: true, Settings: limits, Binaries: opts.Programs, Stdout: os.Stderr})
	if err != nil {
		return nil, err
	}
	b := &bench{opts: opts, stack: started}
	if err := b.connect(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) connect(ctx context.Context) error {
	var err error
	if b.signer, err = mesh.Signer(b.stack.Place); err != nil {
		return err
	}
	if b.people, err = people.Seed(ctx, b.stack.Place); err != nil {
		return err
	}
	// The same doctor over gRPC and REST, so that both read the same charts.
	if b.doctor, err = b.seeded(); err != nil {
		return err
	}
	if b.conn, err = mesh.Dial(b.stack.Place, "gateway", accessv1.Service_SERVICE_RECORDS); err != nil {
		return err
	}
	b.records = recordsv1.NewRecordsServiceClient(b.conn)
	return b.startBaseline(ctx)
}

func (b *bench) seeded() (caller.Caller, error) {
	user, err := uuid.Parse(strings.TrimPrefix(b.people.Person(seed.Smith).User, "users/"))
	if err != nil {
		return caller.Caller{}, fmt.Errorf("seeded doctor: %w", err)
	}
	practice, err := uuid.Parse(strings.TrimPrefix(b.people.Practices[seed.Riverside], "practices/"))
	if err != nil {
		return caller.Caller{}, fmt.Errorf("seeded practice: %w", err)
	}
	doctor := b.newDoctor()
	doctor.User, doctor.Practice = user, practice
	return doctor, nil
}

// newDoctor is a doctor of a practice that nobody has used, who sees patients by
// being on their care team and not by a wider scope.
func (b *bench) newDoctor() caller.Caller {
	doctor := mesh.Doctor(uuid.Must(uuid.NewV7()), accessv1.Service_SERVICE_RECORDS)
	doctor.Permissions.Remove(accessv1.Permission_PERMISSION_PATIENTS_SCOPE_PRACTICE)
	return doctor
}

// baselineConfig gives the baseline the identity, the pool and the role of records.
func (b *bench) baselineConfig() baselineConfig {
	files, key := b.stack.CA().Authority(), b.stack.Dir+"/ca/records"
	return baselineConfig{
		Files: mtls.Files{Certificate: key + ".crt", Key: key + ".key", Authorities: files}, Trust: stack.TrustDomain,
		Database: pg.Config{Host: "127.0.0.1", Port: uint16(b.stack.Ports.Postgres), Database: "records", User: "records_app"},
	}
}

// startBaseline makes the plain table and the process that serves it.
func (b *bench) startBaseline(ctx context.Context) error {
	admin, err := b.stack.AdminDB(ctx, "records")
	if err != nil {
		return err
	}
	defer admin.Close(ctx) //nolint:errcheck // nothing is pending
	_, err = admin.Exec(ctx, `
		CREATE SCHEMA bench;
		CREATE TABLE bench.plain (id uuid PRIMARY KEY, version bigint NOT NULL DEFAULT 1, document bytea NOT NULL);
		CREATE TABLE bench.chart (patient uuid NOT NULL, document bytea NOT NULL);
		CREATE INDEX ON bench.chart (patient);
		GRANT USAGE ON SCHEMA bench TO records_app;
		GRANT SELECT, INSERT, UPDATE ON bench.plain, bench.chart TO records_app`)
	if err != nil {
		return fmt.Errorf("baseline table: %w", err)
	}
	source, err := b.stack.Source("gateway")
	if err != nil {
		return err
	}
	config, err := json.Marshal(b.baselineConfig())
	if err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	b.child = exec.CommandContext(ctx, self, "baseline")
	b.child.Stdin, b.child.Stderr = bytes.NewReader(config), os.Stderr
	out, err := b.child.StdoutPipe()
	if err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	if err := b.child.Start(); err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("baseline did not start: %w", err)
	}
	if b.baseConn, err = source.Dial(strings.TrimSpace(address), accessv1.Service_SERVICE_RECORDS); err != nil {
		return err
	}
	b.plain = recordsv1.NewRecordsServiceClient(b.baseConn)
	return nil
}

func (b *bench) close() {
	for _, conn := range []*grpc.ClientConn{b.conn, b.baseConn} {
		if conn != nil {
			_ = conn.Close()
		}
	}
	if b.child != nil && b.child.Process != nil {
		_ = b.child.Process.Signal(os.Interrupt)
		_ = b.child.Wait() // it was told to go
	}
	b.stack.Close()
}

// as returns a context that carries the doctor's caller token. A token lasts 60
// seconds, so each run takes a new one, as the gateway does for each request.
func (b *bench) as(ctx context.Context) (context.Context, error) {
	return mesh.With(ctx, b.signer, b.doctor)
}

// patient is the n-th patient of the population, spread so that neighbours in
// time are not neighbours in the table.
func (b *bench) patient(n int) generator.Facts {
	return generator.Patient(population, n*7919%b.opts.Patients)
}

// ids of all patients, computed before the clock runs.
func (b *bench) ids() []string {
	ids := make([]string, b.opts.Patients)
	for n := range ids {
		ids[n] = b.patient(n).ID.String()
	}
	return ids
}

// tokens keeps a valid caller token ready while a run is longer than one lasts.
type tokens struct {
	b     *bench
	token string
	made  time.Time
}

func (t *tokens) with(ctx context.Context) (context.Context, error) {
	if time.Since(t.made) > 30*time.Second {
		token, err := t.b.signer.Sign(t.b.doctor, time.Now())
		if err != nil {
			return nil, err
		}
		t.token, t.made = token, time.Now()
	}
	return caller.Attach(ctx, t.token), nil
}
