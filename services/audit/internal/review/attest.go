package review

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Attestation is what a reviewer says.
type Attestation struct {
	Practice, Reviewer uuid.UUID
	From, To           int64
	Root               []byte
	Findings           string
}

// Review is a stored review with its findings opened.
type Review struct {
	store.Review
	Text string
}

// Name is the resource name of a review.
func Name(id uuid.UUID) string { return "logReviews/" + id.String() }

// Attest checks, signs, records and stores a review.
func (r *Reviews) Attest(ctx context.Context, a Attestation) (Review, error) {
	if err := r.check(ctx, a); err != nil {
		return Review{}, err
	}
	v := store.Review{
		ID: uuid.Must(uuid.NewV7()), Practice: a.Practice, Reviewer: a.Reviewer, From: a.From, To: a.To,
		Root: [32]byte(a.Root), Time: r.Now().UTC().Truncate(time.Microsecond),
	}
	sealed, err := r.Seal.Seal(ctx, []seal.Value{{Place: place(v), Plain: []byte(a.Findings)}})
	if err != nil {
		return Review{}, err
	}
	v.Findings = sealed[0]
	signer, err := r.Keys.Signer(ctx)
	if err != nil {
		return Review{}, fmt.Errorf("sign a review: %w", err)
	}
	signed, err := note.Sign(&note.Note{Text: r.text(v, a.Findings)}, signer)
	if err != nil {
		return Review{}, fmt.Errorf("sign a review: %w", err)
	}
	v.Note = string(signed)
	recorder := evidence.From(ctx)
	event := recorder.Event(evidence.Resource(Name(v.ID), 1))
	if err := r.Sink.Record(ctx, event); err != nil {
		return Review{}, err
	}
	if err := r.Store.AddReview(ctx, v); err != nil {
		return Review{}, err // which is an event too
	}
	recorder.Committed([]*auditv1.Event{event})
	return Review{v, a.Findings}, nil
}

// check refuses what would attest nothing.
func (r *Reviews) check(ctx context.Context, a Attestation) error {
	reviewed, err := r.Store.Reviewed(ctx, a.Practice)
	if err != nil {
		return err
	}
	switch {
	case a.From >= a.To:
		return errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request is not valid").WithField("to_seq", "must be after from_seq")
	case a.From > reviewed:
		return errs.New(errs.KindPrecondition, "REVIEW_LEAVES_GAP",
			fmt.Sprintf("the entries from %d on were not reviewed yet: begin there", reviewed))
	}
	root, err := r.root(ctx, a.To)
	if err != nil {
		return err
	}
	if string(root[:]) != string(a.Root) {
		return errs.New(errs.KindPrecondition, "REVIEW_ROOT_DIFFERS", "the root hash is not that of the log of this size: prepare the review again")
	}
	others, err := r.Store.OthersActed(ctx, a.Practice, a.Reviewer, a.From, a.To)
	if err == nil && !others {
		err = errs.New(errs.KindDenied, "REVIEW_OF_OWN_ACTS", "all entries of this range are your own: somebody else has to review them")
	}
	return err
}

// List returns at most limit reviews of a practice, newest first, before the given one.
func (r *Reviews) List(ctx context.Context, practice, before uuid.UUID, limit int) ([]Review, error) {
	rows, err := r.Store.Reviews(ctx, practice, before, limit)
	if err != nil {
		return nil, err
	}
	sealed := make([]seal.Sealed, len(rows))
	for i, row := range rows {
		sealed[i] = seal.Sealed{Place: place(row), Text: row.Findings}
	}
	plain, err := r.Seal.Open(ctx, sealed)
	if err != nil {
		return nil, err
	}
	out := make([]Review, len(rows))
	for i, row := range rows {
		out[i] = Review{row, string(plain[i])}
	}
	return out, nil
}
