// Package register keeps steps of a subject: it seals what people wrote, stores the rows, and has their event in
// the log before they commit. What steps there are and in which order they may come is its users' business.
package register

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Attempts is how often a change looks again when somebody else was faster.
const Attempts = 5

// Register is one register. Safe for concurrent use.
type Register struct {
	Store *store.Store
	Table store.Register
	Seal  *seal.Sealer
	Sink  evidence.Sink
	// Collection begins the names of its subjects, as "incidents/".
	Collection string
	// Job is the method of what the service does by itself, as "jobs/SweepIncidents".
	Job string
	Now func() time.Time
}

// Step is a step to be added.
type Step struct {
	Kind  int16
	User  uuid.UUID // nil for the service itself
	Time  time.Time
	Facts any    // becomes JSON; nothing that a person wrote
	Text  string // what a person wrote
}

// Name is the resource name of a subject.
func (r *Register) Name(id uuid.UUID) string { return r.Collection + id.String() }

// Load returns the rows of a subject in order; none where the practice has no such subject.
func (r *Register) Load(ctx context.Context, practice, id uuid.UUID) ([]store.Step, error) {
	return r.Store.Steps(ctx, r.Table, practice, id)
}

// Add stores steps after the ones that are there, and with adds what belongs to them in the same
// transaction. It fails with store.ErrStepTaken where somebody was faster.
func (r *Register) Add(ctx context.Context, practice, id uuid.UUID, have int, steps []Step, with func(*pgx.Batch)) error {
	rows := make([]store.Step, len(steps))
	texts := make([]seal.Value, len(steps))
	for n, step := range steps {
		facts, err := json.Marshal(step.Facts)
		if err != nil {
			return fmt.Errorf("encode step: %w", err)
		}
		rows[n] = store.Step{
			Subject: id, Version: int32(have + n + 1), ID: uuid.Must(uuid.NewV7()), Practice: practice, //nolint:gosec // the table takes 10,000
			Kind: step.Kind, User: step.User, Time: step.Time, Facts: facts,
		}
		texts[n] = seal.Value{Place: place(rows[n]), Plain: []byte(step.Text)}
	}
	sealed, err := r.Seal.Seal(ctx, texts)
	if err != nil {
		return err
	}
	for n := range rows {
		rows[n].Sealed = sealed[n]
	}
	return r.Store.AddSteps(ctx, r.Table, rows, with, func(ctx context.Context) error {
		recorder := evidence.From(ctx)
		if steps[0].User == uuid.Nil {
			recorder = evidence.New(accessv1.Service_SERVICE_AUDIT, r.Job, accessv1.Action_ACTION_INCIDENT_CHANGE, r.Now).For(practice)
		}
		event := recorder.Event(evidence.Resource(r.Name(id), int64(have+len(steps))))
		if err := r.Sink.Record(ctx, event); err != nil {
			return err
		}
		recorder.Committed([]*auditv1.Event{event})
		return nil
	})
}

// place binds a sealed text to its subject and step.
func place(row store.Step) []byte { return append(row.Subject[:], row.ID[:]...) }

// Texts opens what people wrote in steps, of whatever subjects, by one call of transit.
func (r *Register) Texts(ctx context.Context, rows []store.Step) ([]string, error) {
	sealed := make([]seal.Sealed, len(rows))
	for n, row := range rows {
		sealed[n] = seal.Sealed{Place: place(row), Text: row.Sealed}
	}
	plain, err := r.Seal.Open(ctx, sealed)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(plain))
	for n := range plain {
		out[n] = string(plain[n])
	}
	return out, nil
}

// Log records notices that the log does not hold yet, of this register and others. The entry has the notice's
// id, which the log takes once.
func (r *Register) Log(ctx context.Context, since time.Time) error {
	missing, err := r.Store.Unlogged(ctx, since)
	if err != nil || len(missing) == 0 {
		return err
	}
	events := make([]*auditv1.Event, len(missing))
	for n, notice := range missing {
		recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, r.Job, accessv1.Action_ACTION_INCIDENT_CHANGE, r.Now).For(notice.Practice)
		events[n] = recorder.Event(evidence.Resource(notice.Subject, 0), evidence.Reason(notice.Reason), evidence.Risk(auditv1.Risk(notice.Risk)))
		events[n].EventId = notice.ID.String()
	}
	return r.Sink.Record(ctx, events...)
}
