// Package review is the regular review of the log (45 CFR 164.308(a)(1)(ii)(D), claim
// DTD-10): what a reviewer has to look at, what is attested and signed, and the alert when
// nobody reviews. It reads the log and changes nothing in it.
package review

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// Sampled is how many entries a reviewer looks at besides the emergency openings.
	Sampled = 25
	// mostOpenings bounds one review: with more, it ends after that many.
	mostOpenings = 200
)

// Keys signs reviews and tells the checkpoint that a root is taken from.
type Keys interface {
	Signer(ctx context.Context) (note.Signer, error)
	KeyOf(ctx context.Context, signed string) (string, ledger.Checkpoint, error)
}

// Options are what reviews work with. All are required.
type Options struct {
	Store *store.Store
	Seal  *seal.Sealer
	Keys  Keys
	Sink  evidence.Sink
	Name  string // of the log
	// Leading reports whether this replica does the work that one of them does.
	Leading func() bool
	Log     *slog.Logger
	Now     func() time.Time
}

// Reviews are the reviews of all practices. Safe for concurrent use.
type Reviews struct{ Options }

// New returns the reviews; Run watches that there are any.
func New(o Options) *Reviews { return &Reviews{o} }

// Task is what the next review has to look at.
type Task struct {
	From, To         int64
	Root             tlog.Hash
	Openings, Sample []ledger.Entry
}

// Prepare returns the task of a practice: what the log holds since its last review.
func (r *Reviews) Prepare(ctx context.Context, practice uuid.UUID) (Task, error) {
	var t Task
	var err error
	if t.From, err = r.Store.Reviewed(ctx, practice); err != nil {
		return t, err
	}
	if t.To, err = r.Store.End(ctx); err != nil {
		return t, err
	}
	if t.From >= t.To {
		return t, errs.New(errs.KindPrecondition, "NOTHING_TO_REVIEW", "the log was reviewed up to its end")
	}
	if err := r.openings(ctx, practice, &t); err != nil {
		return t, err
	}
	if t.Root, err = r.root(ctx, t.To); err != nil {
		return t, err
	}
	return t, r.sample(ctx, practice, &t)
}

// openings lists the emergency openings, and shortens the task where there are too many.
func (r *Reviews) openings(ctx context.Context, practice uuid.UUID, t *Task) error {
	glass := store.Filter{Action: int16(accessv1.Action_ACTION_BREAK_GLASS)}
	for next := t.From; next < t.To; {
		found, after, err := r.Store.From(ctx, practice, glass, next, t.To, mostOpenings-len(t.Openings))
		if err != nil {
			return err
		}
		t.Openings, next = append(t.Openings, found...), after
		if len(t.Openings) == mostOpenings {
			t.To = t.Openings[mostOpenings-1].Seq + 1
		}
	}
	return nil
}

// sample draws entries by the log's own root, which nobody chooses: the practice's first entry
// from each place drawn, so that one after a stretch of other practices' is likelier.
func (r *Reviews) sample(ctx context.Context, practice uuid.UUID, t *Task) error {
	seed := sha256.Sum256(append(t.Root[:], practice[:]...))
	draw := rand.New(rand.NewChaCha8(seed)) //nolint:gosec // reproducible on purpose
	seen := map[int64]bool{}
	for _, e := range t.Openings {
		seen[e.Seq] = true
	}
	for range Sampled {
		found, err := r.Store.EntryFrom(ctx, practice, t.From+draw.Int64N(t.To-t.From), t.To)
		if err != nil {
			return err
		}
		for _, e := range found {
			if !seen[e.Seq] {
				seen[e.Seq] = true
				t.Sample = append(t.Sample, e)
			}
		}
	}
	slices.SortFunc(t.Sample, func(a, b ledger.Entry) int { return int(a.Seq - b.Seq) })
	return nil
}

// root is that of the tree of a size, computed from the tiles and held against a signed checkpoint.
func (r *Reviews) root(ctx context.Context, size int64) (tlog.Hash, error) {
	signed, err := r.Store.Checkpoint(ctx, size)
	if err != nil {
		return tlog.Hash{}, err
	}
	if signed == "" {
		return tlog.Hash{}, errs.New(errs.KindPrecondition, "LOG_TOO_SMALL", "the log has not grown to that size yet")
	}
	_, c, err := r.Keys.KeyOf(ctx, signed)
	if err != nil {
		return tlog.Hash{}, err
	}
	root, err := tlog.TreeHash(size, tlog.TileHashReader(c.Tree(), r.Store.Tiles(ctx)))
	if err != nil && errs.KindOf(err) != errs.KindUnavailable {
		err = errs.Wrap(err, errs.KindDataLoss, "LOG_INCONSISTENT", "the log does not agree with its signed checkpoint")
	}
	return root, err
}

// text is what is signed. It cannot be taken for a checkpoint, whose first line is the log's name alone.
func (r *Reviews) text(v store.Review, findings string) string {
	hash := sha256.Sum256([]byte(findings))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s review\nid %s\npractice %s\nreviewer %s\nentries %d to %d\nroot %s\nfindings sha256 %s\ntime %s\n",
		r.Name, v.ID, v.Practice, v.Reviewer, v.From, v.To, b64(v.Root[:]), b64(hash[:]), v.Time.Format(time.RFC3339Nano))
}

// place is where findings belong; it is as long as those of the register that shares the key.
func place(v store.Review) []byte { return slices.Concat(v.Practice[:], v.ID[:]) }
