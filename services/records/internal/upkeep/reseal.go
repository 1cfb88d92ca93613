package upkeep

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// resealBatch is how many documents one transaction puts under another key. While it
	// runs it holds the row of the key, for which writers of the same patient wait.
	resealBatch = 32
	// resealTurn bounds how many batches a job takes before other jobs have their turn.
	resealTurn = 50
	// maxBroken ends a job that meets more broken documents than it keeps apart.
	maxBroken = 1000
)

var errNoPatient = errs.New(errs.KindNotFound, "NOT_FOUND", "There is no such patient.")

// RotateDataKey gives a patient, or with the nil one the directory, another data key, and
// starts to put what is sealed under it.
func (u *Upkeep) RotateDataKey(ctx context.Context, practice, patient uuid.UUID) (store.Job, error) {
	if _, err := u.keys.Practice(ctx, practice); err != nil {
		return store.Job{}, err
	}
	var current store.DataKey
	var found bool
	err := u.access.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { store.ReadCurrentKey(b, practice, patient, &current, &found) }})
	if err != nil {
		return store.Job{}, err
	}
	if !found {
		return store.Job{}, errNoPatient
	}
	return u.replace(ctx, practice, current)
}

// replace makes a new key in place of the one for new documents.
func (u *Upkeep) replace(ctx context.Context, practice uuid.UUID, old store.DataKey) (store.Job, error) {
	key, fresh, err := u.keys.Fresh(ctx, practice, old.Patient)
	if err != nil {
		return store.Job{}, err
	}
	key.Release()
	j := store.Job{Practice: practice, ID: uuid.Must(uuid.NewV7()), Kind: store.JobReseal, Key: old.ID, Created: u.now()}
	var replaced bool
	var out store.Job
	err = u.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue: func(b *pgx.Batch) {
			store.ReplaceDataKey(b, practice, old.Patient, old.ID, store.NewKey{ID: fresh.ID, Wrapped: fresh.Blob}, u.now(), &replaced)
			store.StartJob(b, j, &out)
		},
		Decide: func() ([]*auditv1.Event, error) {
			if !replaced {
				return nil, errReplaced
			}
			rec := evidence.From(ctx)
			return []*auditv1.Event{keys.Created(rec, fresh), rec.Event(evidence.Action(accessv1.Action_ACTION_KEY_ROTATE),
				evidence.Practice(practice), aboutKey(old.ID, old.Patient))}, nil
		},
	})
	if err != nil {
		return store.Job{}, err
	}
	if old.Patient == uuid.Nil {
		u.keys.Renew(practice)
	}
	u.poke()
	return out, nil
}

// startReseal starts the re-encryption of what is sealed under a key that was replaced.
func (u *Upkeep) startReseal(ctx context.Context, practice, key uuid.UUID) (store.Job, error) {
	return u.start(ctx, store.Job{Practice: practice, Kind: store.JobReseal, Key: key}, nil, func(rec *evidence.Recorder) []*auditv1.Event {
		return []*auditv1.Event{rec.Event(evidence.Action(accessv1.Action_ACTION_KEY_RESEAL), evidence.Practice(practice), evidence.Resource("keys/"+key.String(), 0))}
	})
}

var errReplaced = errs.New(errs.KindConflict, "CHANGED_MEANWHILE", "The key was replaced at the same time: look at the running jobs.")

func aboutKey(key, patient uuid.UUID) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		evidence.Resource("keys/"+key.String(), 0)(e)
		if patient != uuid.Nil {
			evidence.Patient(patient)(e)
		}
	}
}

// resealing is one turn of a re-encryption.
type resealing struct {
	*Upkeep
	job        *store.Job
	patient    uuid.UUID
	index      *envelope.Index
	old, fresh *envelope.Key
	broken     []store.Document
}

// reseal puts a patient's documents under the key for new ones, and deletes the key that they
// had. What is done no longer has the old key, so after a kill it goes on with the rest.
func (u *Upkeep) reseal(ctx context.Context, j store.Job) error {
	ctx = jobContext(ctx, j.Practice, "ResealDocuments", accessv1.Action_ACTION_KEY_RESEAL)
	var old, current store.DataKey
	var found bool
	err := u.access.Do(ctx, pg.Unit{Practice: j.Practice, Queue: func(b *pgx.Batch) {
		store.ReadDataKey(b, j.Practice, j.Key, &old, &current, &found)
	}})
	if err != nil {
		return err
	}
	if !found { // the patient was erased, and the key with the patient
		return u.finish(ctx, j, store.JobDone)
	}
	if j.Total == 0 {
		var others int64
		err := u.access.Do(ctx, pg.Unit{Practice: j.Practice, Alone: true, Queue: func(b *pgx.Batch) {
			store.CountSealedUnder(b, j.Practice, old.Patient, old.ID, &j.Total)
			store.CountRestUnder(b, j.Practice, old.Patient, old.ID, &others)
		}})
		if err != nil {
			return err
		}
		j.Total += others
	}
	practice, err := u.keys.Practice(ctx, j.Practice)
	if err != nil {
		return err
	}
	both, err := u.keys.Transient(ctx, j.Practice, wrapped(old), wrapped(current))
	if err != nil {
		return err
	}
	defer both[0].Release()
	defer both[1].Release()
	r := resealing{Upkeep: u, job: &j, patient: old.Patient, index: practice.Index, old: both[0], fresh: both[1]}
	return r.turn(ctx)
}

func wrapped(k store.DataKey) keys.Wrapped {
	return keys.Wrapped{ID: k.ID, Patient: k.Patient, Blob: k.Wrapped}
}

func (r *resealing) turn(ctx context.Context) error {
	r.job.Broken = 0 // each turn meets the broken ones again
	for range resealTurn {
		var rows []store.Document
		err := r.access.Do(ctx, pg.Unit{Practice: r.job.Practice, Alone: true, Queue: func(b *pgx.Batch) {
			store.SealedUnder(b, r.job.Practice, r.patient, r.old.ID(), r.broken, resealBatch, &rows)
		}})
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return r.end(ctx)
		}
		if err := r.batch(ctx, rows[:min(len(rows), resealBatch)]); err != nil {
			return err
		}
		if len(r.broken) > maxBroken {
			return r.finish(ctx, *r.job, store.JobBroken)
		}
	}
	return nil
}

// batch puts some documents under the new key.
func (r *resealing) batch(ctx context.Context, rows []store.Document) error {
	if err := r.reseals.WaitN(ctx, len(rows)); err != nil {
		return err
	}
	good := rows[:0:0]
	for _, row := range rows {
		sealed, err := r.turnOver(row)
		if err != nil {
			r.broken = append(r.broken, row)
			r.job.Broken++
			if err := r.alarm(ctx, err, aboutDocument(row)); err != nil {
				return err
			}
			continue
		}
		row.Sealed = sealed
		good = append(good, row)
	}
	if len(good) == 0 {
		return nil
	}
	return r.keep(ctx, len(good), func(b *pgx.Batch, stored *int64) {
		store.Reseal(b, r.job.Practice, r.old.ID(), r.fresh.ID(), good, stored)
	})
}

// keep stores rows that were sealed anew, with the progress of the job and an event.
func (r *resealing) keep(ctx context.Context, rows int, queue func(b *pgx.Batch, stored *int64)) error {
	next := *r.job
	var stored int64
	return r.access.Do(ctx, pg.Unit{
		Practice: r.job.Practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			queue(b, &stored)
			next.Done = r.job.Done + int64(rows)
			next.Total = max(r.job.Total, next.Done)
			store.SaveJob(b, next, r.now())
		},
		Decide: func() ([]*auditv1.Event, error) {
			*r.job = next
			return []*auditv1.Event{evidence.From(ctx).Event(aboutKey(r.fresh.ID(), r.patient), evidence.Count(int(stored)))}, nil
		},
	})
}

// turnOver opens a document under the old key and seals it under the new one. The digest is compared
// before, and after with what the new seal holds: nothing else is ever stored.
func (r *resealing) turnOver(row store.Document) ([]byte, error) {
	if row.Deleted && len(row.Sealed) == 0 {
		return nil, nil
	}
	binding := bindingOf(r.job.Practice, row)
	plain, err := openWhole(r.old, r.index, binding, row)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	binding.KeyID = r.fresh.ID()
	sealed, err := r.fresh.Seal(binding, plain)
	if err != nil {
		return nil, err
	}
	row.Sealed = sealed
	again, err := openWhole(r.fresh, r.index, binding, row)
	clear(again)
	return sealed, err
}

// openWhole opens a document and compares it with its digest.
func openWhole(key *envelope.Key, index *envelope.Index, binding envelope.Binding, row store.Document) ([]byte, error) {
	plain, err := key.Open(binding, row.Sealed)
	if err != nil {
		return nil, err
	}
	if string(index.Digest(plain)) != string(row.Digest) {
		return nil, envelope.ErrBroken
	}
	return plain, nil
}

func bindingOf(practice uuid.UUID, row store.Document) envelope.Binding {
	return envelope.Binding{Practice: practice, Patient: row.Patient, Type: row.Type, ID: row.ID, Version: row.Version, KeyID: row.KeyID}
}

func aboutDocument(row store.Document) func(*auditv1.Event) {
	return chart.About(chart.Place{Type: row.Type, Patient: row.Patient, ID: row.ID}, row.Version)
}

// end deletes the old key once nothing is sealed with it. Where something is, of a kind that this job does
// not know or that came meanwhile, the key stays and the job goes on with the next turn.
func (r *resealing) end(ctx context.Context) error {
	if err := r.others(ctx); err != nil {
		return err
	}
	if r.job.Broken > 0 {
		return r.finish(ctx, *r.job, store.JobBroken)
	}
	var dropped bool
	j := *r.job
	err := r.access.Do(ctx, pg.Unit{
		Practice: j.Practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			j.State = store.JobDone
			store.DropDataKey(b, j.Practice, r.old.ID(), &dropped)
			store.SaveJob(b, j, r.now())
		},
		Decide: func() ([]*auditv1.Event, error) {
			if !dropped {
				return nil, errInUse
			}
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Action(accessv1.Action_ACTION_KEY_DESTROY), aboutKey(r.old.ID(), r.patient))}, nil
		},
	})
	if err != nil {
		return err
	}
	r.keys.Forget(j.Practice, r.old.ID())
	return nil
}

var errInUse = errs.New(errs.KindPrecondition, "KEY_IN_USE", "something is still sealed with the old data key")

// finish ends a job.
func (u *Upkeep) finish(ctx context.Context, j store.Job, state string) error {
	j.State = state
	return u.access.Do(ctx, pg.Unit{
		Practice: j.Practice,
		Queue:    func(b *pgx.Batch) { store.SaveJob(b, j, u.now()) },
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(about(j), evidence.Count(int(j.Done)), evidence.Reason("FINISHED"))}, nil
		},
	})
}
