package interact

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// ErrExists says that what a create has to go without was made meanwhile: look for it again.
var ErrExists = errs.New(errs.KindConflict, "CHANGED_MEANWHILE", "What If-None-Exist looks for was created at the same time: try again.")

// conditions are what the creates of a set have to go without.
type conditions struct {
	searches []store.Search
	// locks are one for each search, in order: who creates under the same condition waits for the others, and
	// sees then what they made. They are of keyed digests, so they tell nothing of what is looked for.
	locks []int64
	found []bool
}

func (w *set) conditions(generations []index.Generation) (*conditions, error) {
	c := &conditions{}
	for i, change := range w.changes {
		if change.Unless == nil {
			continue
		}
		live, err := index.Live(generations)
		if err != nil {
			return nil, err
		}
		q, err := change.Unless(w.practice, live)
		if err != nil {
			return nil, &EntryError{i, err}
		}
		q.Limit = 1
		c.searches = append(c.searches, q)
		what := fmt.Sprintf("condition %s %s %v %v %v %x", w.viewer.Practice, q.Type, q.Patients, q.IDs, q.Updated, q.Tokens)
		c.locks = append(c.locks, int64(binary.BigEndian.Uint64(w.practice.Index.Digest([]byte(what))))) //nolint:gosec // any 64 bits do
	}
	slices.Sort(c.locks)
	c.found = make([]bool, len(c.searches))
	return c, nil
}

// queue waits for the locks and looks, each with a statement of its own: the look sees what was
// committed before the lock came.
func (c *conditions) queue(b *pgx.Batch, v store.Viewer) {
	for _, key := range c.locks {
		store.LockCondition(b, key)
	}
	for i, q := range c.searches {
		store.Exists(b, v, q, &c.found[i])
	}
}

func (c *conditions) met() bool { return !slices.Contains(c.found, true) }
