package watch

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// freshFor is how long a replica goes by a list before it looks whether another one changed it.
	freshFor = 5 * time.Second
	// refusedFor is how long this replica itself refuses a user who touched a decoy: as long as a
	// caller token that auth gave before can live.
	refusedFor = 2 * time.Minute

	maxPractices = 1000
	maxRefused   = 10_000
)

// errSession is what a session answers that is over, so that the refusal says nothing else.
var errSession = errs.New(errs.KindUnauthenticated, "SESSION_INVALID", "the session is unknown or over; sign in")

// Freezer freezes a user's account; auth does. Reports that were carried out before freeze nobody again.
type Freezer interface {
	Freeze(ctx context.Context, practice, user uuid.UUID, reports []uuid.UUID) error
}

// Watch holds accesses against the lists of practices. Safe for concurrent use.
type Watch struct {
	access  *pg.Access
	keys    *keys.Keys
	freezer Freezer
	now     func() time.Time
	log     *slog.Logger

	lists   *otter.Cache[uuid.UUID, known]
	loads   singleflight.Group
	refused *otter.Cache[store.Freeze, struct{}]
	poke    chan struct{}
}

// known is a list and when it was last compared with the stored one.
type known struct {
	*list
	at time.Time
}

// New makes a Watch; now is the server's clock. Connect comes before the first access.
func New(freezer Freezer, now func() time.Time, log *slog.Logger) *Watch {
	if log == nil {
		log = slog.Default()
	}
	return &Watch{
		freezer: freezer, now: now, log: log, poke: make(chan struct{}, 1),
		lists: otter.Must(&otter.Options[uuid.UUID, known]{MaximumSize: maxPractices}),
		refused: otter.Must(&otter.Options[store.Freeze, struct{}]{
			MaximumSize: maxRefused, ExpiryCalculator: otter.ExpiryWriting[store.Freeze, struct{}](refusedFor),
		}),
	}
}

// Connect gives the Watch the database, whose units it inspects itself.
func (w *Watch) Connect(access *pg.Access, k *keys.Keys) { w.access, w.keys = access, k }

// Close lets go of what is in memory.
func (w *Watch) Close() {
	w.lists.StopAllGoroutines()
	w.refused.StopAllGoroutines()
}

// Enter begins the visit of a caller: its units are held against the practice's list as it is now.
func (w *Watch) Enter(ctx context.Context, c *caller.Caller) (context.Context, error) {
	if c.Practice == uuid.Nil {
		return ctx, nil
	}
	who := store.Freeze{Practice: c.Practice, User: c.User}
	if _, ok := w.refused.GetIfPresent(who); ok {
		return nil, errSession
	}
	l, err := w.listOf(ctx, c.Practice)
	if err != nil {
		return nil, err
	}
	return context.WithValue(ctx, visitKey{}, &visit{list: l, who: who}), nil
}

// Attend begins the visit of somebody without an account, say the holder of a patient's token: there is nobody to freeze.
func (w *Watch) Attend(ctx context.Context, practice uuid.UUID) (context.Context, error) {
	l, err := w.listOf(ctx, practice)
	if err != nil {
		return nil, err
	}
	return context.WithValue(ctx, visitKey{}, &visit{list: l, who: store.Freeze{Practice: practice}}), nil
}

// listOf is a practice's list, at most freshFor old.
func (w *Watch) listOf(ctx context.Context, practice uuid.UUID) (*list, error) {
	have, ok := w.lists.GetIfPresent(practice)
	if ok && w.now().Sub(have.at) < freshFor {
		return have.list, nil
	}
	loaded, err, _ := w.loads.Do(practice.String(), func() (any, error) {
		// It serves all who wait, not only whose context it began with.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTime)
		defer cancel()
		return w.load(ctx, practice, have.list)
	})
	if err != nil {
		return nil, err
	}
	return loaded.(*list), nil
}

// loadTime bounds a load that several callers wait for.
const loadTime = 10 * time.Second

func (w *Watch) load(ctx context.Context, practice uuid.UUID, have *list) (*list, error) {
	now := w.now()
	var row store.WatchList
	var found bool
	err := w.access.Do(ctx, pg.Unit{
		Practice: practice, Ended: true, // one that left has no list, and may ask for its certificate
		Queue: func(b *pgx.Batch) { store.ReadWatchList(b, practice, &row, &found) },
	})
	if err != nil {
		return nil, err
	}
	if have == nil || have.row != digest(row) || have.broken && now.Sub(have.tried) >= againAfter {
		fresh, err := w.open(ctx, practice, row)
		if errs.KindOf(err) == errs.KindDataLoss {
			fresh, err = w.broken(ctx, practice, row, have)
		}
		if err != nil {
			return nil, err
		}
		have = fresh
	}
	w.lists.Set(practice, known{have, now})
	return have, nil
}

// open unseals a list.
func (w *Watch) open(ctx context.Context, practice uuid.UUID, row store.WatchList) (*list, error) {
	if row.Generation == 0 {
		return newList(row, nil), nil
	}
	if row.Wrapped == "" {
		return nil, envelope.ErrBroken
	}
	key, err := w.keys.Get(ctx, practice, keys.Wrapped{ID: row.KeyID, Blob: row.Wrapped})
	if err != nil {
		return nil, err
	}
	defer key.Release()
	plain, err := key.Open(binding(practice, row.Generation, row.KeyID), row.Sealed)
	if err != nil {
		return nil, err
	}
	return decode(row, plain)
}
