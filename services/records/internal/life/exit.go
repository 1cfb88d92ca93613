package life

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Vault is what a practice's exit needs of the key service.
type Vault interface {
	Key(ctx context.Context, name string) (transit.Key, error)
	RotateKey(ctx context.Context, name string) error
	TrimKey(ctx context.Context, name string, oldest int) error
}

// States of an exit.
const (
	exitRequested  = int16(recordsv1.PracticeExitState_PRACTICE_EXIT_STATE_REQUESTED)
	exitApproved   = int16(recordsv1.PracticeExitState_PRACTICE_EXIT_STATE_APPROVED)
	exitExported   = int16(recordsv1.PracticeExitState_PRACTICE_EXIT_STATE_EXPORTED)
	exitDestroying = int16(recordsv1.PracticeExitState_PRACTICE_EXIT_STATE_DESTROYING)
	exitDestroyed  = int16(recordsv1.PracticeExitState_PRACTICE_EXIT_STATE_DESTROYED)
	exitCancelled  = int16(recordsv1.PracticeExitState_PRACTICE_EXIT_STATE_CANCELLED)
)

var errState = errs.New(errs.KindPrecondition, "EXIT_STATE", "The practice's exit is not in the state for this: get it, and go on from there.")

// RequestExit begins the practice's exit.
func (l *Life) RequestExit(ctx context.Context) (store.Exit, error) {
	user, v, err := view(ctx)
	if err != nil {
		return store.Exit{}, err
	}
	e := store.Exit{ID: uuid.Must(uuid.NewV7()), State: exitRequested, RequestedBy: user, Requested: l.now()}
	var stored bool
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.RequestExit(b, v.Practice, e, &stored) },
		Decide: func() ([]*auditv1.Event, error) {
			if !stored {
				return nil, errState
			}
			return []*auditv1.Event{evidence.From(ctx).Event(aboutExit(e))}, nil
		},
	})
	return e, err
}

func aboutExit(e store.Exit) func(*auditv1.Event) {
	return evidence.Resource("practiceExits/"+e.ID.String(), 0)
}

// Exit returns how far the exit is.
func (l *Life) Exit(ctx context.Context) (store.Exit, error) {
	_, v, err := view(ctx)
	if err != nil {
		return store.Exit{}, err
	}
	return l.exit(ctx, v.Practice, true)
}

func (l *Life) exit(ctx context.Context, practice uuid.UUID, event bool) (store.Exit, error) {
	var e store.Exit
	var found bool
	err := l.access.Do(ctx, pg.Unit{
		Practice: practice, Ended: true,
		Queue: func(b *pgx.Batch) { store.LockExit(b, practice, &e, &found) },
		Decide: func() ([]*auditv1.Event, error) {
			if !found {
				return nil, errNotFound
			}
			if !event {
				return nil, nil
			}
			return []*auditv1.Event{evidence.From(ctx).Event(aboutExit(e))}, nil
		},
	})
	return e, err
}

// CancelExit withdraws an exit before the destruction has begun.
func (l *Life) CancelExit(ctx context.Context) (store.Exit, error) {
	_, v, err := view(ctx)
	if err != nil {
		return store.Exit{}, err
	}
	e, err := l.exit(ctx, v.Practice, false)
	if err != nil {
		return e, err
	}
	if e.State == exitDestroying || e.State == exitDestroyed || e.State == exitCancelled {
		return e, errState
	}
	return l.moved(ctx, v.Practice, e, exitCancelled)
}

// ApproveExit approves it, by another person than asked for it.
func (l *Life) ApproveExit(ctx context.Context) (store.Exit, error) {
	user, v, err := view(ctx)
	if err != nil {
		return store.Exit{}, err
	}
	e, err := l.exit(ctx, v.Practice, false)
	switch {
	case err != nil:
		return e, err
	case e.State != exitRequested:
		return e, errState
	case e.RequestedBy == user:
		return e, errSame
	}
	e.ApprovedBy, e.Approved = user, l.now()
	return l.moved(ctx, v.Practice, e, exitApproved)
}

// moved stores an exit in its next state with an event.
func (l *Life) moved(ctx context.Context, practice uuid.UUID, e store.Exit, next int16) (store.Exit, error) {
	from := e.State
	e.State = next
	var done bool
	err := l.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue:    func(b *pgx.Batch) { store.MoveExit(b, practice, e, from, &done) },
		Decide: func() ([]*auditv1.Event, error) {
			if !done {
				return nil, errState
			}
			return []*auditv1.Event{evidence.From(ctx).Event(aboutExit(e))}, nil
		},
	})
	return e, err
}

// DestroyExit destroys a practice that has taken its records along: first its key in
// Vault, then its rows. Killed in between it is called again and goes on.
func (l *Life) DestroyExit(ctx context.Context, manifest string) (store.Exit, error) {
	user, v, err := view(ctx)
	if err != nil {
		return store.Exit{}, err
	}
	e, err := l.begin(ctx, user, v.Practice, manifest)
	if err != nil || e.State == exitDestroyed {
		return e, err
	}
	l.closed.add(v.Practice)
	version, err := l.destroyKey(ctx, v.Practice)
	if err != nil {
		return e, err
	}
	l.keys.DropAll(v.Practice)
	for try := 1; ; try++ {
		done, err := l.finish(ctx, user, v.Practice, version, e)
		if errs.KindOf(err) == errs.KindConflict && try < attempts {
			continue
		}
		return done, err
	}
}

// begin moves the exit to the state from which there is no way back, or finds it there.
func (l *Life) begin(ctx context.Context, user, practice uuid.UUID, manifest string) (store.Exit, error) {
	var e store.Exit
	var found, held, stale, done bool
	now, err := l.exit(ctx, practice, false)
	if err != nil {
		return now, err
	}
	next := now
	next.State = exitDestroying
	err = l.access.Do(ctx, pg.Unit{
		Practice: practice, Alone: true, Ended: true,
		Queue: func(b *pgx.Batch) {
			store.LockPractice(b, practice)
			store.LockExit(b, practice, &e, &found)
			store.Unready(b, practice, now.Exported, now.Versions, &held, &stale)
			store.MoveExit(b, practice, next, exitExported, &done)
		},
		Decide: func() ([]*auditv1.Event, error) {
			event := []*auditv1.Event{evidence.From(ctx).Event(aboutExit(e))}
			switch {
			case !found:
				return nil, errNotFound
			case e.State == exitDestroying || e.State == exitDestroyed:
				return event, nil
			case !done || e.State != exitExported:
				return nil, errState
			case e.RequestedBy == user:
				return nil, errSame
			case e.ManifestDigest != manifest:
				return nil, errs.New(errs.KindPrecondition, "MANIFEST_DIFFERS", "This is not the digest of the manifest of the newest export.").
					WithField("manifest_digest", "must be SHA-256 of the signed manifest that ended the export")
			case held:
				return nil, errHeld
			case stale:
				return nil, errs.New(errs.KindPrecondition, "EXPORT_STALE", "Records were stored since the export began: export the practice again.")
			}
			e.State = exitDestroying
			return event, nil
		},
	})
	return e, err
}

// destroyKey rotates the practice's key and trims every version before: nothing that was
// ever wrapped for the practice opens again, wherever a copy of it lies. The version that is
// left wrapped nothing. (Vault's policy lets nobody delete a key, which would be no more.)
func (l *Life) destroyKey(ctx context.Context, practice uuid.UUID) (int, error) {
	name := envelope.KeyName(practice)
	if err := l.vault.RotateKey(ctx, name); err != nil {
		return 0, err
	}
	key, err := l.vault.Key(ctx, name)
	if err != nil {
		return 0, err
	}
	if err := l.vault.TrimKey(ctx, name, key.Latest); err != nil {
		return 0, err
	}
	if key, err = l.vault.Key(ctx, name); err != nil {
		return 0, err
	}
	if key.MinAvailable < 2 {
		return 0, fmt.Errorf("the versions of the practice's key were trimmed and are there")
	}
	return key.MinAvailable - 1, nil
}

func (l *Life) finish(ctx context.Context, user, practice uuid.UUID, version int, e store.Exit) (store.Exit, error) {
	var plan, gone map[string]int64
	var done bool
	err := l.access.Do(ctx, pg.Unit{
		Practice: practice, Alone: true, Ended: true,
		Queue: func(b *pgx.Batch) { store.CountPractice(b, practice, &plan) },
	})
	if err != nil {
		return e, err
	}
	e.State = exitDestroyed
	e.Certificate, err = l.sign(ctx, certificate.Certificate{
		Kind: certificate.PracticeExit, ID: e.ID, Practice: practice, Citation: "exit of the practice",
		RequestedBy: e.RequestedBy, RequestTime: e.Requested.UTC(), DecidedBy: user, Time: l.now(),
		VaultKey: envelope.KeyName(practice), VaultVersion: version, Rows: plan, Digest: e.ManifestDigest,
	})
	if err != nil {
		return e, err
	}
	err = l.access.Do(ctx, pg.Unit{
		Practice: practice, Alone: true, Ended: true,
		Queue: func(b *pgx.Batch) {
			store.DestroyPractice(b, practice, &gone)
			store.MoveExit(b, practice, e, exitDestroying, &done)
		},
		Decide: func() ([]*auditv1.Event, error) {
			if !done || !maps.Equal(plan, gone) {
				return nil, errChanged
			}
			return []*auditv1.Event{evidence.From(ctx).Event(aboutExit(e), evidence.Certificate(e.Certificate))}, nil
		},
	})
	return e, err
}

// Export writes every version of every resource, request, disclosure and consent, the legal holds, the reasons of
// openings and referrals, and the care teams as NDJSON, and
// returns the signed manifest. The event commits before the first line leaves.
func (l *Life) Export(ctx context.Context, write func([]byte) error) (string, error) {
	user, v, err := view(ctx)
	if err != nil {
		return "", err
	}
	e, err := l.exit(ctx, v.Practice, true)
	if err != nil {
		return "", err
	}
	if e.State != exitApproved && e.State != exitExported {
		return "", errState
	}
	began := l.now()
	x := exporter{Life: l, practice: v.Practice, write: write, digest: sha256.New(), rows: map[string]int64{}}
	if err := x.run(ctx); err != nil {
		return "", err
	}
	manifest, err := l.sign(ctx, certificate.Certificate{
		Kind: certificate.PracticeExport, ID: e.ID, Practice: v.Practice, Citation: "exit of the practice",
		RequestedBy: e.RequestedBy, RequestTime: e.Requested.UTC(), DecidedBy: user, Time: began,
		Rows: x.rows, Digest: hex.EncodeToString(x.digest.Sum(nil)),
	})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(manifest))
	e.Exported, e.ManifestDigest = began, hex.EncodeToString(sum[:])
	e.Versions = x.rows["versions"] + x.rows["rights"]
	_, err = l.moved(ctx, v.Practice, e, exitExported)
	return manifest, err
}

// WatchClosed learns which practices have left, on whatever replica, until ctx ends. It fails
// open: of a practice whose key is gone nothing can be read, the refusal only says so.
func (l *Life) WatchClosed(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		var list []uuid.UUID
		if err := l.access.Do(ctx, pg.Unit{Queue: func(b *pgx.Batch) { store.ListClosed(b, &list) }}); err == nil {
			for _, practice := range list {
				if l.closed.add(practice) {
					l.keys.DropAll(practice)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// watchEvery is how long another replica may take to learn that a practice has left.
const watchEvery = 5 * time.Second
