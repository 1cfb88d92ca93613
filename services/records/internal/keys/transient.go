package keys

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/envelope"
)

// Transient unwraps data keys for a job, past the cache: a walk through the whole
// store would otherwise push out the keys that care needs. The events are the same. The
// caller releases every key. One wrapped key that does not open fails all.
func (k *Keys) Transient(ctx context.Context, practice uuid.UUID, list ...Wrapped) ([]*envelope.Key, error) {
	blobs := make([]string, len(list))
	for i, w := range list {
		blobs[i] = w.Blob
	}
	raws, err := auditedVault{k}.Decrypt(withOwners(ctx, list...), envelope.KeyName(practice), blobs)
	if err != nil {
		return nil, err
	}
	out := make([]*envelope.Key, 0, len(list))
	for i, raw := range raws {
		key, newErr := envelope.NewKey(list[i].ID, raw) // wipes raw in any case
		if newErr != nil {
			err = fmt.Errorf("data key %s: %w", list[i].ID, newErr)
			continue
		}
		out = append(out, key)
	}
	if err != nil {
		for _, key := range out {
			key.Release()
		}
		return nil, err
	}
	return out, nil
}

// Forget takes a data key that is no more out of memory.
func (k *Keys) Forget(practice, key uuid.UUID) { k.ring.Drop(practice, key) }

// Renew lets the practice's keys be read again, once its directory has another one.
func (k *Keys) Renew(practice uuid.UUID) { k.practices.Invalidate(practice) }
