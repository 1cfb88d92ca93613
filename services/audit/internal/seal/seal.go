// Package seal keeps what people wrote in the registers of the audit service unreadable in its
// database. It seals small texts with a key that never leaves transit; what may be read by
// whom is decided elsewhere.
package seal

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/transit"
)

// Keys is the part of transit that seals; *transit.Client has it.
type Keys interface {
	CreateKey(ctx context.Context, name, kind string) error
	Encrypt(ctx context.Context, name string, plain [][]byte) ([]string, error)
	Decrypt(ctx context.Context, name string, sealed []string) ([][]byte, error)
}

// Sealer seals under one key, which it makes when it first needs it. Safe for concurrent use.
type Sealer struct {
	keys Keys
	name string
	made atomic.Bool
}

// New returns a sealer under the named key.
func New(keys Keys, name string) *Sealer { return &Sealer{keys: keys, name: name} }

// Value is something to seal. Its place says where it belongs, so that it does not open when
// it was copied to another row; all places of one key have the same length.
type Value struct {
	Place []byte
	Plain []byte
}

// ErrBroken says that a value was sealed for another place.
var ErrBroken = errs.New(errs.KindDataLoss, evidence.ReasonSealBroken, "a stored value does not belong where it was found")

// Seal seals values, in order, by one call of transit. An empty one stays empty.
func (s *Sealer) Seal(ctx context.Context, values []Value) ([]string, error) {
	out := make([]string, len(values))
	var plain [][]byte
	var at []int
	for i, v := range values {
		if len(v.Plain) > 0 {
			plain, at = append(plain, append(bytes.Clone(v.Place), v.Plain...)), append(at, i)
		}
	}
	if len(plain) == 0 {
		return out, nil
	}
	if !s.made.Load() {
		// A key that exists stays as it is.
		if err := s.keys.CreateKey(ctx, s.name, transit.AES256); err != nil {
			return nil, fmt.Errorf("make the key %s: %w", s.name, err)
		}
		s.made.Store(true)
	}
	sealed, err := s.keys.Encrypt(ctx, s.name, plain)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	for i, text := range sealed {
		out[at[i]] = text
	}
	return out, nil
}

// Sealed is a stored value and the place where it was found.
type Sealed struct {
	Place []byte
	Text  string
}

// Open opens what Seal sealed, in order, by one call of transit. It fails with SEAL_BROKEN where a value
// was sealed for another place.
func (s *Sealer) Open(ctx context.Context, values []Sealed) ([][]byte, error) {
	out := make([][]byte, len(values))
	var sealed []string
	var at []int
	for i, v := range values {
		if v.Text != "" {
			sealed, at = append(sealed, v.Text), append(at, i)
		}
	}
	if len(sealed) == 0 {
		return out, nil
	}
	opened, err := s.keys.Decrypt(ctx, s.name, sealed)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	for i, plain := range opened {
		text, ok := bytes.CutPrefix(plain, values[at[i]].Place)
		if !ok {
			return nil, ErrBroken
		}
		out[at[i]] = text
	}
	return out, nil
}
