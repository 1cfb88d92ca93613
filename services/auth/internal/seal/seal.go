// Package seal encrypts the small secrets that auth stores (TOTP secrets, mail
// addresses, queued mail, its own keys) with transit's key auth-secrets. Each
// sealed value says what it is and whose, so that a value copied to another
// user's row or column does not open there. It is not for passwords, which are hashed.
package seal

import (
	"bytes"
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/transit"
)

// Kind says what a sealed value is. The bytes are stored: never renumber.
type Kind byte

const (
	Totp Kind = 1 + iota
	Email
	BillingEmail
	Mail
	Key
)

// Phone is the number that a user's own codes go to.
const Phone Kind = 20

// What text messages leave behind.
const (
	Text   Kind = 40 + iota // a queued message
	Number                  // a telephone number, of the consent or reply that owns it
	Reply                   // what somebody wrote back
)

// Transit is what it takes to seal; *transit.Client has it.
type Transit interface {
	Encrypt(ctx context.Context, name string, plain [][]byte) ([]string, error)
	Decrypt(ctx context.Context, name string, sealed []string) ([][]byte, error)
}

// Sealer seals and opens values.
type Sealer struct{ transit Transit }

// New makes a sealer. The key auth-secrets must exist.
func New(t Transit) *Sealer { return &Sealer{transit: t} }

const headerBytes = 1 + 16

// Seal encrypts a value that belongs to owner. The empty value stays empty.
func (s *Sealer) Seal(ctx context.Context, kind Kind, owner uuid.UUID, plain []byte) (string, error) {
	if len(plain) == 0 {
		return "", nil
	}
	sealed, err := s.transit.Encrypt(ctx, transit.AuthSecrets, [][]byte{append(header(kind, owner), plain...)})
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return sealed[0], nil
}

// Open decrypts what Seal made for the same kind and owner.
func (s *Sealer) Open(ctx context.Context, kind Kind, owner uuid.UUID, sealed string) ([]byte, error) {
	opened, err := s.OpenAll(ctx, []Item{{Kind: kind, Owner: owner, Sealed: sealed}})
	if err != nil {
		return nil, err
	}
	return opened[0], nil
}

// Item is one sealed value.
type Item struct {
	Kind   Kind
	Owner  uuid.UUID
	Sealed string
}

// OpenAll decrypts values in one call, in order.
func (s *Sealer) OpenAll(ctx context.Context, items []Item) ([][]byte, error) {
	var sealed []string
	for _, item := range items {
		if item.Sealed != "" {
			sealed = append(sealed, item.Sealed)
		}
	}
	out := make([][]byte, len(items))
	if len(sealed) == 0 {
		return out, nil
	}
	opened, err := s.transit.Decrypt(ctx, transit.AuthSecrets, sealed)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	for i, item := range items {
		if item.Sealed == "" {
			continue
		}
		plain := opened[0]
		opened = opened[1:]
		if !bytes.HasPrefix(plain, header(item.Kind, item.Owner)) {
			return nil, errBroken
		}
		out[i] = plain[headerBytes:]
	}
	return out, nil
}

var errBroken = errs.New(errs.KindDataLoss, evidence.ReasonSealBroken, "a stored value does not belong where it was found")

func header(kind Kind, owner uuid.UUID) []byte {
	return append([]byte{byte(kind)}, owner[:]...)
}
