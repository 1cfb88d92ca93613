package envelope

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// Unwrapper turns wrapped data keys into data keys, in the order given. It is
// the key service (libs/transit).
type Unwrapper interface {
	Decrypt(ctx context.Context, key string, wrapped []string) ([][]byte, error)
}

// Options bound how many unwrapped keys stay in memory, and for how long.
type Options struct {
	TTL   time.Duration // since the key was unwrapped; default 5 minutes
	Max   int           // keys; default 10,000
	Clock otter.Clock   // default: the system's
}

// Keyring keeps unwrapped data keys in memory, bounded in number and time. A key
// that leaves is overwritten as soon as nobody uses it any more.
type Keyring struct {
	unwrapper Unwrapper
	cache     *otter.Cache[ref, *Key]
	flights   singleflight.Group
}

// ref names a cached key. The practice is part of it, so that a key id alone
// never fetches another practice's key.
type ref struct{ practice, key uuid.UUID }

// Wrapped is a data key as it is stored.
type Wrapped struct {
	ID   uuid.UUID
	Blob string
}

// unwrapTime bounds an unwrap that several callers wait for: it must not end with the
// first caller's context, and must not run for ever either.
const unwrapTime = 10 * time.Second

// KeyName is the name in the key service of a practice's key-encryption key.
func KeyName(practice uuid.UUID) string { return "practice-" + practice.String() }

// NewKeyring makes an empty keyring.
func NewKeyring(u Unwrapper, o Options) *Keyring {
	if o.TTL <= 0 {
		o.TTL = 5 * time.Minute
	}
	if o.Max <= 0 {
		o.Max = 10_000
	}
	return &Keyring{unwrapper: u, cache: otter.Must(&otter.Options[ref, *Key]{
		MaximumSize: o.Max,
		// Time counts from the unwrap, not from the last use: a busy key must
		// also be asked for again, or a right that was withdrawn never ends.
		ExpiryCalculator: otter.ExpiryWriting[ref, *Key](o.TTL),
		OnAtomicDeletion: func(e otter.DeletionEvent[ref, *Key]) { e.Value.Release() },
		Clock:            o.Clock,
	})}
}

// Get returns the key, unwrapping it where it is not in memory; the caller
// releases it after use. Callers who ask for the same key at once share one unwrap, and
// fetched is true for the one that caused it.
func (r *Keyring) Get(ctx context.Context, practice, id uuid.UUID, wrapped string) (key *Key, fetched bool, err error) {
	at := ref{practice, id}
	led := false // written by the unwrap that this call started, read only after it ended
	for {
		if k, ok := r.cache.GetIfPresent(at); ok && k.hold() {
			return k, led, nil
		}
		result := r.flights.DoChan(practice.String()+id.String()+wrapped, func() (any, error) {
			led = true
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unwrapTime)
			defer cancel()
			keys, err := r.unwrap(ctx, practice, []Wrapped{{ID: id, Blob: wrapped}})
			if err != nil {
				return nil, err
			}
			return keys[0], nil
		})
		select {
		case <-ctx.Done():
			go func() { // the unwrap goes on for the others; what it held for us is given back
				if done := <-result; led && done.Err == nil {
					done.Val.(*Key).Release()
				}
			}()
			return nil, false, ctx.Err()
		case done := <-result:
			if done.Err != nil {
				return nil, false, done.Err
			}
			// The one that unwrapped is a holder already, the others become one;
			// if the key has left the cache in between, they ask again.
			if k := done.Val.(*Key); led || k.hold() {
				return k, led, nil
			}
		}
	}
}

// GetAll returns the keys of a list by their ids, with one call of the key
// service for all that are not in memory; fetched names those. The caller
// releases every key. On error it holds none.
func (r *Keyring) GetAll(ctx context.Context, practice uuid.UUID, list []Wrapped) (keys map[uuid.UUID]*Key, fetched []uuid.UUID, err error) {
	keys = make(map[uuid.UUID]*Key, len(list))
	var missing []Wrapped
	for _, w := range list {
		if _, twice := keys[w.ID]; twice {
			continue
		}
		k, ok := r.cache.GetIfPresent(ref{practice, w.ID})
		if !ok || !k.hold() {
			missing = append(missing, w)
			k = nil
		}
		keys[w.ID] = k
	}
	if len(missing) == 0 {
		return keys, nil, nil
	}
	unwrapped, err := r.unwrap(ctx, practice, missing)
	if err != nil {
		for _, k := range keys {
			if k != nil {
				k.Release()
			}
		}
		return nil, nil, err
	}
	for _, k := range unwrapped {
		keys[k.id] = k
		fetched = append(fetched, k.id)
	}
	return keys, fetched, nil
}

// Put adds a key that was just made, so that it need not be unwrapped. The
// keyring becomes one more holder.
func (r *Keyring) Put(practice uuid.UUID, key *Key) {
	if key.hold() {
		r.cache.Set(ref{practice, key.id}, key)
	}
}

// Drop removes a key, as when a patient is erased.
func (r *Keyring) Drop(practice, id uuid.UUID) { r.cache.Invalidate(ref{practice, id}) }

// DropAll removes all keys of a practice, as when it leaves.
func (r *Keyring) DropAll(practice uuid.UUID) {
	for at := range r.cache.Keys() {
		if at.practice == practice {
			r.cache.Invalidate(at)
		}
	}
}

// Close overwrites all keys that nobody uses and stops the expiry.
func (r *Keyring) Close() {
	r.cache.InvalidateAll()
	r.cache.StopAllGoroutines()
}

// unwrap asks the key service and caches what it answers. The caller is a holder
// of each key beside the cache.
func (r *Keyring) unwrap(ctx context.Context, practice uuid.UUID, list []Wrapped) ([]*Key, error) {
	blobs := make([]string, len(list))
	for i, w := range list {
		blobs[i] = w.Blob
	}
	raws, err := r.unwrapper.Decrypt(ctx, KeyName(practice), blobs)
	if err != nil {
		return nil, fmt.Errorf("unwrap %d data keys: %w", len(list), err)
	}
	if len(raws) != len(list) {
		return nil, errors.New("envelope: the key service answered with another number of keys")
	}
	keys := make([]*Key, len(list))
	for i, raw := range raws {
		k, newErr := NewKey(list[i].ID, raw)
		if newErr != nil {
			err = errors.Join(err, newErr)
			continue
		}
		keys[i] = k
	}
	for _, k := range keys {
		switch {
		case k == nil:
		case err != nil:
			k.Release()
		default:
			r.Put(practice, k)
		}
	}
	return keys, err
}
