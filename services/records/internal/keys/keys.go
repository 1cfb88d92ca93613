// Package keys is the one way to the keys of a practice: its index key, its
// directory's data key and its patients' data keys. Vault makes and unwraps them; this package
// keeps them for minutes, and sees to it that no unwrap goes without an audit event.
package keys

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Vault is what this package needs of the key service.
type Vault interface {
	CreateKey(ctx context.Context, name, kind string) error
	DataKey(ctx context.Context, key string) (plain []byte, wrapped string, err error)
	Decrypt(ctx context.Context, key string, wrapped []string) ([][]byte, error)
}

// Options bound how long unwrapped keys stay in memory, and how many.
type Options struct {
	TTL time.Duration // default 5 minutes
	Max int           // default 10,000 data keys
	Now func() time.Time
}

// Keys hands out keys. Safe for concurrent use.
type Keys struct {
	vault     Vault
	access    *pg.Access
	ring      *envelope.Keyring
	practices *otter.Cache[uuid.UUID, *Practice]
	loads     singleflight.Group
	now       func() time.Time
}

// Practice is what a practice has once.
type Practice struct {
	ID uuid.UUID
	// Index makes digests, and the tokens of the first generation of the blind index.
	Index     *envelope.Index
	Directory Wrapped

	mu      sync.Mutex
	indexes map[uuid.UUID]*envelope.Index // of later generations, by key
}

// Wrapped is a stored data key and whose it is; the nil patient is the directory.
type Wrapped struct {
	ID, Patient uuid.UUID
	Blob        string
}

const maxPractices = 1000

// New makes an empty Keys.
func New(vault Vault, access *pg.Access, o Options) *Keys {
	if o.TTL <= 0 {
		o.TTL = 5 * time.Minute
	}
	k := &Keys{vault: vault, access: access, now: o.Now}
	k.ring = envelope.NewKeyring(auditedVault{k}, envelope.Options{TTL: o.TTL, Max: o.Max})
	k.practices = otter.Must(&otter.Options[uuid.UUID, *Practice]{
		MaximumSize: maxPractices, ExpiryCalculator: otter.ExpiryWriting[uuid.UUID, *Practice](o.TTL),
	})
	return k
}

// Close overwrites the keys in memory.
func (k *Keys) Close() {
	k.ring.Close()
	k.practices.InvalidateAll()
	k.practices.StopAllGoroutines()
}

// Practice returns the keys of a practice, which its first use creates.
func (k *Keys) Practice(ctx context.Context, practice uuid.UUID) (*Practice, error) {
	if practice == uuid.Nil {
		return nil, errs.New(errs.KindPrecondition, "NO_PRACTICE", "This needs a user who belongs to a practice.")
	}
	if p, ok := k.practices.GetIfPresent(practice); ok {
		return p, nil
	}
	loaded := k.loads.DoChan(practice.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTime)
		defer cancel()
		return k.load(ctx, practice)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case done := <-loaded:
		if done.Err != nil {
			return nil, done.Err
		}
		return done.Val.(*Practice), nil
	}
}

// loadTime bounds a load that several callers wait for.
const loadTime = 15 * time.Second

func (k *Keys) load(ctx context.Context, practice uuid.UUID) (*Practice, error) {
	stored, err := k.stored(ctx, practice)
	if err != nil {
		return nil, err
	}
	x, err := k.openIndex(ctx, practice, stored.Index)
	if err != nil {
		return nil, err
	}
	p := &Practice{
		ID: practice, Index: x, Directory: Wrapped{ID: stored.Directory.ID, Blob: stored.Directory.Wrapped},
		indexes: map[uuid.UUID]*envelope.Index{},
	}
	k.practices.Set(practice, p)
	return p, nil
}

// stored reads the practice's wrapped keys, and makes them where there are none.
func (k *Keys) stored(ctx context.Context, practice uuid.UUID) (store.PracticeKeys, error) {
	var keys store.PracticeKeys
	var found bool
	read := pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { store.ReadPracticeKeys(b, practice, &keys, &found) }}
	if err := k.access.Do(ctx, read); err != nil || found {
		return keys, err
	}
	if err := k.create(ctx, practice); err != nil {
		return keys, err
	}
	// Another replica may have been quicker: what is stored counts.
	err := k.access.Do(ctx, read)
	if err == nil && !found {
		err = fmt.Errorf("the keys of the practice were stored and are not there")
	}
	return keys, err
}

func (k *Keys) create(ctx context.Context, practice uuid.UUID) error {
	name := envelope.KeyName(practice)
	if err := k.vault.CreateKey(ctx, name, transit.AES256); err != nil {
		return refused(err)
	}
	var fresh store.PracticeKeys
	for _, key := range []*store.NewKey{&fresh.Index, &fresh.Directory} {
		plain, wrapped, err := k.vault.DataKey(ctx, name)
		if err != nil {
			return refused(err)
		}
		clear(plain)
		*key = store.NewKey{ID: uuid.Must(uuid.NewV7()), Wrapped: wrapped}
	}
	var done bool
	return k.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue:    func(b *pgx.Batch) { store.CreatePracticeKeys(b, practice, fresh, k.now(), &done) },
		Decide: func() ([]*auditv1.Event, error) {
			if !done {
				return nil, nil
			}
			rec := evidence.From(ctx)
			return []*auditv1.Event{
				Created(rec, Wrapped{ID: fresh.Index.ID}), Created(rec, Wrapped{ID: fresh.Directory.ID}),
			}, nil
		},
	})
}

// Created is the event of a new data key, to be committed with what uses it first.
func Created(rec *evidence.Recorder, key Wrapped) *auditv1.Event {
	return rec.Event(evidence.Action(accessv1.Action_ACTION_KEY_CREATE), about(key))
}

// about names a key, and the patient whose key it is.
func about(key Wrapped) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		evidence.Resource("keys/"+key.ID.String(), 0)(e)
		if key.Patient != uuid.Nil {
			evidence.Patient(key.Patient)(e)
		}
	}
}

// Fresh makes a data key for a new patient. The caller commits Created with the
// patient, then calls Keep, and releases the key in any case.
func (k *Keys) Fresh(ctx context.Context, practice, patient uuid.UUID) (*envelope.Key, Wrapped, error) {
	plain, blob, err := k.vault.DataKey(ctx, envelope.KeyName(practice))
	if err != nil {
		return nil, Wrapped{}, refused(err)
	}
	w := Wrapped{ID: uuid.Must(uuid.NewV7()), Patient: patient, Blob: blob}
	key, err := envelope.NewKey(w.ID, plain)
	if err != nil {
		return nil, Wrapped{}, fmt.Errorf("new data key: %w", err)
	}
	return key, w, nil
}

// Keep caches a key that was just made.
func (k *Keys) Keep(practice uuid.UUID, key *envelope.Key) { k.ring.Put(practice, key) }

// Drop overwrites a data key in memory that was destroyed. Other replicas forget it
// when its time in their caches ends (Options.TTL).
func (k *Keys) Drop(practice, id uuid.UUID) { k.ring.Drop(practice, id) }

// DropAll overwrites the keys of a practice in memory that were destroyed.
func (k *Keys) DropAll(practice uuid.UUID) {
	k.practices.Invalidate(practice)
	k.ring.DropAll(practice)
}

// Get returns a data key; the caller releases it.
func (k *Keys) Get(ctx context.Context, practice uuid.UUID, w Wrapped) (*envelope.Key, error) {
	key, _, err := k.ring.Get(withOwners(ctx, w), practice, w.ID, w.Blob)
	return key, err
}

// GetAll returns data keys by id; the caller releases every one.
func (k *Keys) GetAll(ctx context.Context, practice uuid.UUID, list []Wrapped) (map[uuid.UUID]*envelope.Key, error) {
	blobs := make([]envelope.Wrapped, len(list))
	for i, w := range list {
		blobs[i] = envelope.Wrapped{ID: w.ID, Blob: w.Blob}
	}
	keys, _, err := k.ring.GetAll(withOwners(ctx, list...), practice, blobs)
	return keys, err
}
