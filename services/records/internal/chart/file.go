package chart

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// TypeFile are the documents that say what a file is, with the key that opens its pieces. As sealed
// documents they have versions, keys and rotation like all others. FHIR has no such type, so no FHIR
// request and no export of resources reaches one.
const TypeFile = "StoredFile"

// uploadTime is how long an upload may take before others take it for broken off.
const uploadTime = 24 * time.Hour

var errUpload = errs.New(errs.KindPrecondition, "UPLOAD_LOST", "The upload was taken for broken off: send the document again.")

// Upload is a file on its way in.
type Upload struct{ Practice, Patient, ID uuid.UUID }

// StartUpload begins a file of a patient whom the caller may see.
func (c *Chart) StartUpload(ctx context.Context, patient uuid.UUID) (Upload, error) {
	_, v, err := View(ctx)
	if err != nil {
		return Upload{}, err
	}
	if _, err := c.owner(ctx, v, patient); err != nil {
		return Upload{}, err
	}
	u := Upload{v.Practice, patient, uuid.Must(uuid.NewV7())}
	now := c.now()
	var done bool
	return u, c.keep(ctx, u, func(b *pgx.Batch) {
		store.StartUpload(b, u.Practice, u.Patient, u.ID, now, now.Add(-uploadTime), &done)
	}, &done)
}

// PutPiece stores the next piece.
func (c *Chart) PutPiece(ctx context.Context, u Upload, n int, sealed []byte) error {
	var done bool
	return c.keep(ctx, u, func(b *pgx.Batch) { store.PutPiece(b, u.Practice, u.Patient, u.ID, n, sealed, &done) }, &done)
}

// keep commits a step of an upload. What it stores shows nothing of a patient and is nobody's yet, so it leaves
// no event: that comes with the document.
func (c *Chart) keep(ctx context.Context, u Upload, queue func(*pgx.Batch), done *bool) error {
	return c.access.Do(ctx, pg.Unit{
		Practice: u.Practice, Alone: true, Queue: queue,
		Decide: func() ([]*auditv1.Event, error) {
			if done != nil && !*done {
				return nil, errUpload
			}
			return nil, nil
		},
	})
}

// abandonTime bounds the clearing away after a client that is gone.
const abandonTime = 10 * time.Second

// AbandonUpload removes what was stored of an upload. Where it fails a later upload does it.
func (c *Chart) AbandonUpload(ctx context.Context, u Upload) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTime)
	defer cancel()
	_ = c.keep(ctx, u, func(b *pgx.Batch) { store.DropUpload(b, u.Practice, u.ID) }, nil)
}

// FinishUpload makes the file, if all pieces are there. Document, event and the end of the upload commit together.
func (c *Chart) FinishUpload(ctx context.Context, u Upload, r Request, pieces int, file []byte) (Document, error) {
	who, v, err := View(ctx)
	if err != nil {
		return Document{}, err
	}
	owner, err := c.owner(ctx, v, u.Patient)
	if err != nil {
		return Document{}, err
	}
	practice, key, err := c.sealingKey(ctx, v, owner)
	if err != nil {
		return Document{}, err
	}
	defer key.Release()
	row, doc, err := c.seal(practice, key, store.Document{Type: TypeFile, ID: u.ID, Patient: u.Patient, Version: 1},
		func(uuid.UUID, time.Time) ([]byte, error) { return file, nil })
	if err != nil {
		return Document{}, err
	}
	request := stamp(practice, r)
	var done, complete, repeated bool
	var made store.Made
	err = c.access.Do(ctx, pg.Unit{
		Practice: u.Practice,
		Alone:    true,
		Queue: func(b *pgx.Batch) {
			store.CreateDocument(b, v, who.User, request, row, &done)
			store.FinishUpload(b, u.Practice, u.ID, pieces, &complete)
			store.ReadRequest(b, u.Practice, who.User, request.ID, &made, &repeated)
		},
		Decide: func() ([]*auditv1.Event, error) {
			switch {
			case done && complete:
				return []*auditv1.Event{created(evidence.From(ctx), row, ThroughGlass(owner.Glass))}, nil
			case done:
				return nil, errUpload
			case repeated && string(made.Digest) == string(request.Digest):
				return nil, errAgain
			case repeated:
				return nil, errReused
			}
			return nil, errBusy
		},
	})
	if errors.Is(err, errAgain) {
		c.AbandonUpload(ctx, u) // the file is there already
		return c.again(ctx, v, &made, u.Patient, nil)
	}
	return doc, err
}

// errAgain undoes what a repeated request would have made.
var errAgain = errors.New("the request was made before")

// Erased reports whether the patient is gone, as after an erasure that ran beside a read.
func Erased(ctx context.Context, a *pg.Access, practice, patient uuid.UUID) (bool, error) {
	var there bool
	err := a.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { store.PatientThere(b, practice, patient, &there) }})
	return !there, err
}

// BrokenFile is what to answer where a file does not open: DATA_LOSS with its alarm, or that there
// is no such document where the patient was erased while it was read.
func (c *Chart) BrokenFile(ctx context.Context, practice uuid.UUID, d Document, broken error) error {
	erased, err := Erased(ctx, c.access, practice, d.Patient)
	switch {
	case err != nil:
		return err
	case erased:
		return NotFound
	}
	return c.Alarm(ctx, d, broken)
}

// Pieces reads the pieces of a file of the practice, one at a time; none beyond the last. Whether somebody
// may have them was decided with the document that names the file.
func Pieces(ctx context.Context, a *pg.Access, practice uuid.UUID, at Place) func(n int) ([]byte, error) {
	return func(n int) (sealed []byte, err error) {
		var found bool
		err = a.Do(ctx, pg.Unit{Practice: practice, Alone: true, Queue: func(b *pgx.Batch) {
			store.ReadPiece(b, practice, at.Patient, at.ID, n, &sealed, &found)
		}})
		return sealed, err
	}
}

// Pieces reads the pieces of a file, as the function does.
func (c *Chart) Pieces(ctx context.Context, practice uuid.UUID, at Place) func(n int) ([]byte, error) {
	return Pieces(ctx, c.access, practice, at)
}
