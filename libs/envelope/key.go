package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"reflect"
	"runtime"
	"sync/atomic"

	"github.com/google/uuid"
)

// Key is one data key, ready to use. It counts its holders: the memory is
// overwritten when the last one releases it, and never while a document is
// being sealed or opened. Safe for concurrent use.
type Key struct {
	id       uuid.UUID
	material *material
	holders  atomic.Int64
}

// material is apart from Key so that a cleanup can reach it once a Key that
// somebody forgot to release is collected.
type material struct {
	aead cipher.AEAD
}

// NewKey takes a data key of 32 bytes. It owns raw from here on and overwrites
// it, also when it returns an error. The caller is the key's first holder.
func NewKey(id uuid.UUID, raw []byte) (*Key, error) {
	defer clear(raw)
	if len(raw) != KeySize {
		return nil, fmt.Errorf("envelope: a data key has %d bytes, not %d", KeySize, len(raw))
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	// NewGCMWithRandomNonce draws the nonce itself (SP 800-38D 8.2.2), so no caller
	// can repeat one. It copies the key schedule; ours is overwritten.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	overwrite(reflect.ValueOf(block))
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	k := &Key{id: id, material: &material{aead: aead}}
	k.holders.Store(1)
	runtime.AddCleanup(k, (*material).wipe, k.material)
	return k, nil
}

// ID is the key's id, which a Binding must name.
func (k *Key) ID() uuid.UUID { return k.id }

// Seal encrypts and authenticates plain together with the binding.
func (k *Key) Seal(b Binding, plain []byte) ([]byte, error) {
	if b.KeyID != k.id {
		return nil, fmt.Errorf("envelope: the binding names key %s, this is key %s", b.KeyID, k.id)
	}
	if !k.hold() {
		return nil, ErrWiped
	}
	defer k.Release()
	out := make([]byte, 1, 1+len(plain)+k.material.aead.Overhead())
	out[0] = version
	return k.material.aead.Seal(out, nil, plain, b.encode()), nil
}

// Open returns what was sealed. It fails with ErrBroken if any byte of the
// document or any field of the binding differs from when it was sealed.
func (k *Key) Open(b Binding, sealed []byte) ([]byte, error) {
	if !k.hold() {
		return nil, ErrWiped
	}
	defer k.Release()
	if b.KeyID != k.id || len(sealed) < 1+k.material.aead.Overhead() || sealed[0] != version {
		return nil, ErrBroken
	}
	plain, err := k.material.aead.Open(nil, nil, sealed[1:], b.encode())
	if err != nil {
		return nil, ErrBroken
	}
	return plain, nil
}

// Release gives the key back. The last release overwrites it. A holder that
// forgets is covered by the garbage collector, which overwrites the key later.
func (k *Key) Release() {
	switch left := k.holders.Add(-1); {
	case left == 0:
		k.material.wipe()
	case left < 0:
		k.holders.Store(0) // released once too often: the key is gone already
	}
}

// hold makes the caller one more holder, unless the key is wiped already.
func (k *Key) hold() bool {
	for {
		n := k.holders.Load()
		if n <= 0 {
			return false
		}
		if k.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (m *material) wipe() {
	overwrite(reflect.ValueOf(m.aead))
	m.aead = nil
}

// overwrite zeroes the structs behind a cipher. The standard library has no call
// for it, yet a key schedule gives the key away as well as the key does.
func overwrite(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && v.Elem().CanSet() {
			v.Elem().SetZero()
		}
	case reflect.Struct: // the random-nonce wrapper: a struct around the pointer
		for i := range v.NumField() {
			overwrite(v.Field(i))
		}
	}
}
