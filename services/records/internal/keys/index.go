package keys

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// ErrNoIndexKey says that no generation of the index has the key any more.
var ErrNoIndexKey = errors.New("no generation of the index has this key")

// FreshIndex makes a key for a new generation of the blind index. The caller commits Created with the generation.
func (k *Keys) FreshIndex(ctx context.Context, practice uuid.UUID) (Wrapped, error) {
	plain, blob, err := k.vault.DataKey(ctx, envelope.KeyName(practice))
	if err != nil {
		return Wrapped{}, refused(err)
	}
	clear(plain)
	return Wrapped{ID: uuid.Must(uuid.NewV7()), Blob: blob}, nil
}

// GenerationIndex returns what makes the tokens of a generation that has a key of its
// own. It stays in memory as long as the practice's keys do.
func (k *Keys) GenerationIndex(ctx context.Context, p *Practice, key uuid.UUID) (*envelope.Index, error) {
	p.mu.Lock()
	x := p.indexes[key]
	p.mu.Unlock()
	if x != nil {
		return x, nil
	}
	// Read anew: what the caller knows of the generation may be from before a rewrap.
	stored, found := store.NewKey{ID: key}, false
	err := k.access.Do(ctx, pg.Unit{Practice: p.ID, Queue: func(b *pgx.Batch) {
		store.ReadIndexKey(b, p.ID, key, &stored.Wrapped, &found)
	}})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNoIndexKey
	}
	if x, err = k.openIndex(ctx, p.ID, stored); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.indexes[key] = x
	return x, nil
}

func (k *Keys) openIndex(ctx context.Context, practice uuid.UUID, key store.NewKey) (*envelope.Index, error) {
	w := Wrapped{ID: key.ID, Blob: key.Wrapped}
	raw, err := auditedVault{k}.Decrypt(withOwners(ctx, w), envelope.KeyName(practice), []string{w.Blob})
	if err != nil {
		return nil, err
	}
	defer clear(raw[0])
	x, err := envelope.NewIndex(raw[0])
	if err != nil {
		return nil, fmt.Errorf("index key of the practice: %w", err)
	}
	return x, nil
}
