package incident

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/register"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Options are what incidents work with. All are required.
type Options struct {
	Store *store.Store
	Seal  *seal.Sealer
	Sink  evidence.Sink
	// Path is whom a critical incident that nobody takes on goes to, in order.
	Path []Level
	// Leading reports whether this replica does the work that one of them does.
	Leading func() bool
	Log     *slog.Logger
	Now     func() time.Time
}

// Incidents is the register of incidents. Safe for concurrent use.
type Incidents struct {
	Options
	register *register.Register
}

// New returns the register; Run sweeps its clocks.
func New(o Options) *Incidents {
	return &Incidents{o, &register.Register{
		Store: o.Store, Table: store.Incidents, Seal: o.Seal, Sink: o.Sink, Collection: collection, Job: "jobs/SweepIncidents", Now: o.Now,
	}}
}

const collection = "incidents/"

var errNotFound = errs.New(errs.KindNotFound, "INCIDENT_NOT_FOUND", "no such incident")

// Name is the resource name of an incident.
func Name(id uuid.UUID) string { return collection + id.String() }

// subject is an incident with its rows.
type subject struct {
	id, practice uuid.UUID
	rows         []store.Step
	steps        []Step
	state        *Incident
}

func (x *Incidents) load(ctx context.Context, practice, id uuid.UUID) (*subject, error) {
	rows, err := x.register.Load(ctx, practice, id)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errNotFound
	}
	return take(rows)
}

// take folds the rows of one incident.
func take(rows []store.Step) (*subject, error) {
	s := &subject{id: rows[0].Subject, practice: rows[0].Practice, rows: rows}
	for _, row := range rows {
		facts, err := decode(row.Facts)
		if err != nil {
			return nil, err
		}
		s.steps = append(s.steps, Step{Kind: auditv1.IncidentStep_Kind(row.Kind), User: row.User, Time: row.Time, Facts: facts})
	}
	var err error
	if s.state, err = Fold(s.steps); err != nil {
		return nil, errs.Wrap(err, errs.KindDataLoss, "INCIDENT_ALTERED", "the steps of the incident contradict each other: somebody has changed its rows")
	}
	return s, nil
}

// Open begins an incident with its first steps, and returns its id.
func (x *Incidents) Open(ctx context.Context, practice uuid.UUID, steps ...Step) (uuid.UUID, error) {
	id := uuid.Must(uuid.NewV7())
	return id, x.add(ctx, &subject{id: id, practice: practice, state: &Incident{}}, steps)
}

// Change adds steps to an incident, all of them or none, if they may come now.
func (x *Incidents) Change(ctx context.Context, practice, id uuid.UUID, steps ...Step) error {
	for range register.Attempts {
		s, err := x.load(ctx, practice, id)
		if err != nil {
			return err
		}
		if err = x.add(ctx, s, steps); !errors.Is(err, store.ErrStepTaken) {
			return err
		}
	}
	return errs.New(errs.KindConflict, "INCIDENT_BUSY", "others are working on the incident; try again")
}

// add checks steps and stores them after those that are there.
func (x *Incidents) add(ctx context.Context, s *subject, steps []Step) error {
	rows := make([]register.Step, len(steps))
	for n, step := range steps {
		if err := s.state.Apply(step); err != nil {
			return err
		}
		rows[n] = register.Step{Kind: int16(step.Kind), User: step.User, Time: step.Time, Facts: step.Facts, Text: step.Text} //nolint:gosec // an enum of ours
	}
	return x.register.Add(ctx, s.practice, s.id, len(s.rows), rows, func(b *pgx.Batch) {
		for _, step := range steps {
			if step.Kind == auditv1.IncidentStep_KIND_EVIDENCE_ATTACHED {
				store.QueueEvidence(b, s.id, s.practice, store.Range{From: step.From, To: step.To})
			}
		}
	})
}

// Holds says whether entries can be evidence: they are in the log, not too many, and at least one of them is the practice's.
func (x *Incidents) Holds(ctx context.Context, practice uuid.UUID, r store.Range) error {
	field, flaw, err := x.Store.EvidenceFlaw(ctx, practice, r)
	if err == nil && flaw != "" {
		err = errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request is not valid").WithField(field, flaw)
	}
	return err
}
