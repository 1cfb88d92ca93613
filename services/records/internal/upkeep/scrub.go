package upkeep

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/attach"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	scrubBatch = 100
	// scrubTurn bounds how many batches a scrub takes before other jobs have their turn.
	scrubTurn = 50
)

// The parts of a scrub, in order.
const (
	phaseKeys = iota
	phaseCurrent
	phaseDeleted
	phaseFormer
	phaseRest
	phaseAstray
	phaseEnd
)

var parts = map[int]store.Part{phaseCurrent: store.PartCurrent, phaseDeleted: store.PartDeleted, phaseFormer: store.PartFormer}

// errIndex says that a document's index entries are not those of the stored document.
var errIndex = errs.New(errs.KindDataLoss, "INDEX_BROKEN", "the index entries of a document are not those of what is stored")

// errOrphan says that what a document or a patient needs to be read is not there.
var errOrphan = errs.New(errs.KindDataLoss, "KEY_MISSING", "a data key that something needs is not there")

// StartScrub starts the walk through the practice's store.
func (u *Upkeep) StartScrub(ctx context.Context, practice uuid.UUID) (store.Job, error) {
	return u.start(ctx, store.Job{Practice: practice, Kind: store.JobScrub}, nil, func(rec *evidence.Recorder) []*auditv1.Event {
		return []*auditv1.Event{rec.Event(evidence.Action(accessv1.Action_ACTION_VERIFY), evidence.Practice(practice), evidence.Resource("store", 0))}
	})
}

// scrubbing is one turn of a scrub.
type scrubbing struct {
	*Upkeep
	job      *store.Job
	practice *keys.Practice
	opened   map[uuid.UUID]*envelope.Key // those of the last batch
}

// scrub opens everything that the practice has stored, a turn at a time, from where the last one ended.
func (u *Upkeep) scrub(ctx context.Context, j store.Job) error {
	ctx = jobContext(ctx, j.Practice, "ScrubStore", accessv1.Action_ACTION_VERIFY)
	if j.Total == 0 {
		err := u.access.Do(ctx, pg.Unit{Practice: j.Practice, Alone: true, Queue: func(b *pgx.Batch) { store.CountStored(b, j.Practice, &j.Total) }})
		if err != nil {
			return err
		}
	}
	practice, err := u.keys.Practice(ctx, j.Practice)
	if errs.KindOf(err) == errs.KindDataLoss { // the index key; without it nothing can be compared
		j.Broken++
		if err := u.alarm(ctx, err, evidence.Resource("practiceKey", 0)); err != nil {
			return err
		}
		return u.finish(ctx, j, store.JobBroken)
	}
	if err != nil {
		return err
	}
	s := scrubbing{Upkeep: u, job: &j, practice: practice}
	defer func() { release(s.opened) }()
	for range scrubTurn {
		if s.job.Place.Phase == phaseEnd {
			state := store.JobDone
			if j.Broken > 0 {
				state = store.JobBroken
			}
			return u.finish(ctx, j, state)
		}
		if err := s.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step looks at one batch and stores how far the scrub is, together with nothing else: what is broken
// has been recorded by then, and at worst is recorded twice.
func (s *scrubbing) step(ctx context.Context) error {
	next := *s.job
	var n, broken int
	var err error
	switch s.job.Place.Phase {
	case phaseKeys:
		n, broken, err = s.keysStep(ctx, &next.Place)
	case phaseCurrent, phaseDeleted, phaseFormer:
		n, broken, err = s.documentsStep(ctx, &next.Place)
	case phaseRest:
		n, broken, err = s.restStep(ctx, &next.Place)
	default:
		broken, err = s.astray(ctx)
		next.Place = store.Place{Phase: phaseEnd}
	}
	if err != nil {
		return err
	}
	next.Done += int64(n)
	next.Broken += int64(broken)
	next.Total = max(next.Total, next.Done)
	err = s.access.Do(ctx, pg.Unit{Practice: next.Practice, Queue: func(b *pgx.Batch) { store.SaveJob(b, next, s.now()) }})
	if err == nil {
		*s.job = next
	}
	return err
}

func (s *scrubbing) keysStep(ctx context.Context, at *store.Place) (n, broken int, err error) {
	var list []store.DataKey
	err = s.access.Do(ctx, pg.Unit{Practice: s.job.Practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.WalkKeys(b, s.job.Practice, at.ID, scrubBatch, &list)
	}})
	if err != nil {
		return 0, 0, err
	}
	if len(list) == 0 {
		*at = store.Place{Phase: phaseCurrent}
		return 0, 0, nil
	}
	if err := s.scrubs.WaitN(ctx, len(list)); err != nil {
		return 0, 0, err
	}
	wraps := make([]keys.Wrapped, len(list))
	for i, k := range list {
		wraps[i] = wrapped(k)
	}
	opened, bad, err := s.open(ctx, wraps)
	release(opened)
	at.ID = list[len(list)-1].ID
	return len(list), bad, err
}

// open unwraps keys; where one of many does not open, each alone. Those that do not open are
// left out, with the critical event of internal/keys.
func (s *scrubbing) open(ctx context.Context, list []keys.Wrapped) (map[uuid.UUID]*envelope.Key, int, error) {
	opened := map[uuid.UUID]*envelope.Key{}
	if len(list) == 0 {
		return opened, 0, nil
	}
	all, err := s.keys.Transient(ctx, s.job.Practice, list...)
	for _, k := range all {
		opened[k.ID()] = k
	}
	switch {
	case err == nil:
		return opened, 0, nil
	case errs.KindOf(err) != errs.KindDataLoss:
		return nil, 0, err
	case len(list) == 1:
		return opened, 1, nil
	}
	broken := 0
	for _, w := range list {
		one, bad, err := s.open(ctx, []keys.Wrapped{w})
		if err != nil {
			release(opened)
			return nil, 0, err
		}
		broken += bad
		maps.Copy(opened, one)
	}
	return opened, broken, nil
}

func release(list map[uuid.UUID]*envelope.Key) {
	for _, k := range list {
		k.Release()
	}
}

func (s *scrubbing) documentsStep(ctx context.Context, at *store.Place) (n, broken int, err error) {
	var rows []store.Stored
	var live index.Generation
	err = s.index.Use(ctx, s.job.Practice, func(generations []index.Generation) error {
		live, _ = index.Live(generations) // none before the first build has ended
		var seen []store.Generation
		return s.access.Do(ctx, pg.Unit{
			Practice: s.job.Practice, Alone: true,
			Queue: func(b *pgx.Batch) {
				store.Walk(b, s.job.Practice, parts[at.Phase], *at, scrubBatch, &rows)
				store.ReadGenerations(b, s.job.Practice, &seen)
			},
			Decide: func() ([]*auditv1.Event, error) { return nil, index.Check(generations, seen) },
		})
	})
	if err != nil {
		return 0, 0, err
	}
	if len(rows) == 0 {
		*at = store.Place{Phase: at.Phase + 1}
		return 0, 0, nil
	}
	if err := s.scrubs.WaitN(ctx, len(rows)); err != nil {
		return 0, 0, err
	}
	if err := s.need(ctx, rows); err != nil {
		return 0, 0, err
	}
	for _, row := range rows {
		failure, err := s.judge(ctx, row, live, s.opened[row.KeyID])
		if err != nil {
			return 0, 0, err
		}
		if failure != nil {
			broken++
			if err := s.alarm(ctx, failure, aboutDocument(row.Document)); err != nil {
				return 0, 0, err
			}
		}
	}
	last := rows[len(rows)-1]
	at.Patient, at.Type, at.ID, at.Version = last.Patient, last.Type, last.ID, last.Version
	return len(rows), broken, nil
}

// need unwraps the keys of a batch that the batch before had not, and releases the others.
func (s *scrubbing) need(ctx context.Context, rows []store.Stored) error {
	have, missing := map[uuid.UUID]*envelope.Key{}, map[uuid.UUID]keys.Wrapped{}
	for _, row := range rows {
		if key := s.opened[row.KeyID]; key != nil {
			have[row.KeyID] = key
		} else if row.Owned && !row.Deleted {
			missing[row.KeyID] = keys.Wrapped{ID: row.KeyID, Patient: row.Patient, Blob: row.Wrapped}
		}
	}
	for id := range have {
		delete(s.opened, id)
	}
	release(s.opened)
	s.opened = have
	fresh, _, err := s.open(ctx, slices.Collect(maps.Values(missing)))
	maps.Copy(s.opened, fresh)
	return err
}

// judge says what is wrong with a stored version, nil where nothing is; err is why it cannot say.
func (s *scrubbing) judge(ctx context.Context, row store.Stored, live index.Generation, key *envelope.Key) (failure, err error) {
	switch {
	case !row.Owned:
		return errOrphan, nil
	case row.Deleted && len(row.Sealed)+len(row.Digest)+len(row.Index) > 0:
		return envelope.ErrBroken, nil
	case row.Deleted:
		return nil, nil
	case key == nil:
		return errOrphan, nil
	}
	plain, failure := openWhole(key, s.practice.Index, bindingOf(s.job.Practice, row.Document), row.Document)
	if failure != nil {
		return failure, nil
	}
	defer clear(plain)
	if live.Live && live.Differs(row, plain) {
		return errIndex, nil
	}
	if row.Type != chart.TypeFile {
		return nil, nil
	}
	err = s.file(ctx, row.Document, plain)
	if errs.KindOf(err) != errs.KindDataLoss {
		return nil, err
	}
	if erased, unknown := chart.Erased(ctx, s.access, s.job.Practice, row.Patient); erased || unknown != nil {
		return nil, unknown // its pieces went while they were read
	}
	return err, nil
}

// file reads a file to its end. Each of its pieces counts as a document against the limit of speed.
func (s *scrubbing) file(ctx context.Context, row store.Document, plain []byte) error {
	doc := chart.Bare(row)
	doc.JSON = plain
	next := chart.Pieces(ctx, s.access, s.job.Practice, doc.Place)
	return attach.Open(s.job.Practice, doc, func(n int) ([]byte, error) {
		if err := s.scrubs.Wait(ctx); err != nil {
			return nil, err
		}
		return next(n)
	}, io.Discard)
}

// astray finds what belongs to nothing, which no walk over documents meets.
func (s *scrubbing) astray(ctx context.Context) (int, error) {
	var patients []uuid.UUID
	err := s.access.Do(ctx, pg.Unit{Practice: s.job.Practice, Alone: true, Queue: func(b *pgx.Batch) {
		store.Astray(b, s.job.Practice, maxBroken, &patients)
	}})
	if err != nil {
		return 0, err
	}
	for _, patient := range patients {
		if err := s.alarm(ctx, errIndex, evidence.Patient(patient)); err != nil {
			return 0, err
		}
	}
	return len(patients), nil
}
