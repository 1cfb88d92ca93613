package breach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/radius"
	"github.com/carekeep/carekeep/services/audit/internal/register"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Options are what breaches work with. All are required.
type Options struct {
	Store *store.Store
	Seal  *seal.Sealer
	Sink  evidence.Sink
	// Leading reports whether this replica does the work that one of them does.
	Leading func() bool
	Log     *slog.Logger
	Now     func() time.Time
}

// Breaches is the register of breaches. Safe for concurrent use.
type Breaches struct {
	Options
	register *register.Register
}

const collection = "breaches/"

// New returns the register; Run sweeps its deadlines.
func New(o Options) *Breaches {
	return &Breaches{o, &register.Register{
		Store: o.Store, Table: store.Breaches, Seal: o.Seal, Sink: o.Sink, Collection: collection, Job: "jobs/SweepBreaches", Now: o.Now,
	}}
}

// Name is the resource name of a breach.
func Name(id uuid.UUID) string { return collection + id.String() }

var errNotFound = errs.New(errs.KindNotFound, "BREACH_NOT_FOUND", "no such breach")

// subject is a breach with its rows and its letters.
type subject struct {
	id, practice uuid.UUID
	rows         []store.Step
	steps        []Step
	state        *Breach
	reach        store.Reach
}

func (x *Breaches) load(ctx context.Context, practice, id uuid.UUID) (*subject, error) {
	rows, err := x.register.Load(ctx, practice, id)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errNotFound
	}
	return x.take(ctx, rows)
}

// take folds the rows of one breach and counts its letters.
func (x *Breaches) take(ctx context.Context, rows []store.Step) (*subject, error) {
	s := &subject{id: rows[0].Subject, practice: rows[0].Practice, rows: rows}
	for _, row := range rows {
		step := Step{Kind: auditv1.BreachStep_Kind(row.Kind), User: row.User, Time: row.Time}
		if err := json.Unmarshal(row.Facts, &step.Facts); err != nil {
			return nil, fmt.Errorf("facts of a step: %w", err)
		}
		s.steps = append(s.steps, step)
	}
	var err error
	if s.state, err = Fold(s.steps); err != nil {
		return nil, errs.Wrap(err, errs.KindDataLoss, "BREACH_ALTERED", "the steps of the breach contradict each other: somebody has changed its rows")
	}
	s.reach, err = x.Store.ReachOf(ctx, s.practice, s.id)
	return s, err
}

// Open begins a breach of an incident of the practice.
func (x *Breaches) Open(ctx context.Context, practice uuid.UUID, step Step) (uuid.UUID, error) {
	found, err := x.Store.Steps(ctx, store.Incidents, practice, step.Incident)
	if err != nil {
		return uuid.Nil, err
	}
	if len(found) == 0 {
		return uuid.Nil, errs.New(errs.KindNotFound, "INCIDENT_NOT_FOUND", "no such incident")
	}
	id := uuid.Must(uuid.NewV7())
	state, _ := Fold(nil)
	return id, x.add(ctx, &subject{id: id, practice: practice, state: state}, step, nil)
}

// Change adds a step to a breach, if it may come now.
func (x *Breaches) Change(ctx context.Context, practice, id uuid.UUID, step Step) error {
	return x.change(ctx, practice, id, func(*subject) (Step, func(*pgx.Batch), error) { return step, nil, nil })
}

// change adds the step that decide makes of what the breach is now, with what belongs to it.
func (x *Breaches) change(ctx context.Context, practice, id uuid.UUID, decide func(*subject) (Step, func(*pgx.Batch), error)) error {
	for range register.Attempts {
		s, err := x.load(ctx, practice, id)
		if err != nil {
			return err
		}
		step, with, err := decide(s)
		if err != nil {
			return err
		}
		if err = x.add(ctx, s, step, with); !errors.Is(err, store.ErrStepTaken) {
			return err
		}
	}
	return errs.New(errs.KindConflict, "BREACH_BUSY", "others are working on the breach; try again")
}

func (x *Breaches) add(ctx context.Context, s *subject, step Step, with func(*pgx.Batch)) error {
	if err := s.state.Apply(step); err != nil {
		return err
	}
	return x.register.Add(ctx, s.practice, s.id, len(s.rows), []register.Step{{
		Kind: int16(step.Kind), User: step.User, Time: step.Time, Facts: step.Facts, Text: step.Text, //nolint:gosec // an enum of ours
	}}, with)
}

// Assess records an assessment; the evidence of the encryption exception becomes the incident's, so that retention spares it.
func (x *Breaches) Assess(ctx context.Context, practice, id uuid.UUID, step Step) error {
	if step.Encrypted != nil {
		field, flaw, err := x.Store.EvidenceFlaw(ctx, practice, *step.Encrypted)
		if err != nil {
			return err
		}
		if flaw != "" {
			return invalid("assessment.encryption_evidence."+field, flaw)
		}
	}
	return x.change(ctx, practice, id, func(s *subject) (Step, func(*pgx.Batch), error) {
		return step, func(b *pgx.Batch) {
			if step.Encrypted != nil {
				store.QueueEvidence(b, s.state.Incident, practice, *step.Encrypted)
			}
		}, nil
	})
}

// recipientBatch is how many patients one statement adds.
const recipientBatch = 10_000

// Collect adds the patients of a blast radius to the recipients. It keeps their ids in memory
// meanwhile, 16 bytes each, and attaches the entries to the incident.
func (x *Breaches) Collect(ctx context.Context, practice, id uuid.UUID, q radius.Query, step Step) error {
	var patients []uuid.UUID
	sum, err := radius.Compute(ctx, x.Store, practice, q, func(p radius.Patient) error {
		if n := len(patients); n == 0 || patients[n-1] != p.ID {
			patients = append(patients, p.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(patients) == 0 {
		return refuse("RADIUS_EMPTY", "nothing of any patient was opened there")
	}
	step.Added = sum.Patients
	return x.change(ctx, practice, id, func(s *subject) (Step, func(*pgx.Batch), error) {
		return step, func(b *pgx.Batch) {
			for from := 0; from < len(patients); from += recipientBatch {
				store.QueueRecipients(b, id, practice, patients[from:min(from+recipientBatch, len(patients))], step.Time)
			}
			store.QueueEvidence(b, s.state.Incident, practice, store.Range{From: sum.FromSeq, To: sum.LastSeq})
		}, nil
	})
}

// WriteLetter keeps what the letters say, or refuses them with LETTER_INCOMPLETE.
func (x *Breaches) WriteLetter(ctx context.Context, practice, id uuid.UUID, e *auditv1.LetterElements, step Step) error {
	if err := complete(e); err != nil {
		return err
	}
	var err error
	if step.Text, err = written(e); err != nil {
		return fmt.Errorf("encode letter: %w", err)
	}
	return x.Change(ctx, practice, id, step)
}

// Notify records that an authority or the media were told. After the deadline it takes reasons.
func (x *Breaches) Notify(ctx context.Context, practice, id uuid.UUID, reasons string, step Step) error {
	return x.change(ctx, practice, id, func(s *subject) (Step, func(*pgx.Batch), error) {
		for _, d := range s.state.Deadlines(s.reach) {
			if d.Kind != step.Facts.Kind || d.State != step.State {
				continue
			}
			if d.Done.IsZero() && d.Late(step.Time) && reasons == "" {
				return step, nil, refuse("BREACH_REASONS_REQUIRED", "the deadline was %s: say why it comes late", d.Day)
			}
			out := step
			if reasons != "" {
				out.Text += "\nReasons: " + reasons
			}
			return out, nil, nil
		}
		return step, nil, refuse("BREACH_NOT_DUE", "the breach does not have to be told there")
	})
}

// Close ends a breach of which everybody was told, or that was found to be none.
func (x *Breaches) Close(ctx context.Context, practice, id uuid.UUID, step Step) error {
	return x.change(ctx, practice, id, func(s *subject) (Step, func(*pgx.Batch), error) {
		for _, d := range s.state.Deadlines(s.reach) {
			if d.Done.IsZero() {
				return step, nil, refuse("BREACH_NOT_TOLD", "%s: not done yet", deadlineName(d))
			}
		}
		return step, nil, nil
	})
}
