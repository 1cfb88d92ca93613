// Package notary signs notes with a key that stays in transit, and knows its public
// halves. It holds no private key and never could. What is signed is its callers' matter.
package notary

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/transit"
)

// Transit is the key service as far as it signs.
type Transit interface {
	CreateKey(ctx context.Context, name, kind string) error
	PublicKeys(ctx context.Context, name string) (map[int]ed25519.PublicKey, error)
	Sign(ctx context.Context, name string, message []byte) ([]byte, error)
}

// Notary signs as one name with one key of transit. Safe for concurrent use.
type Notary struct {
	transit   Transit
	key, name string

	mu     sync.Mutex
	newest ed25519.PublicKey
	text   string // the key file: all versions, newest last
}

// New returns the notary whose notes bear a name and are signed by a key of transit.
// Nothing is asked of transit yet.
func New(t Transit, key, name string) *Notary { return &Notary{transit: t, key: key, name: name} }

// Load makes the key where it does not exist, and reads its public halves.
func (n *Notary) Load(ctx context.Context) error {
	public, err := n.transit.PublicKeys(ctx, n.key)
	if errs.KindOf(err) == errs.KindNotFound {
		if err := n.transit.CreateKey(ctx, n.key, transit.Ed25519); err != nil {
			return fmt.Errorf("make the key %s: %w", n.key, err)
		}
		public, err = n.transit.PublicKeys(ctx, n.key)
	}
	if err != nil {
		return fmt.Errorf("read the key %s: %w", n.key, err)
	}
	if len(public) == 0 {
		return fmt.Errorf("the key %s has no version", n.key)
	}
	var lines strings.Builder
	var newest ed25519.PublicKey
	for _, version := range slices.Sorted(maps.Keys(public)) {
		newest = public[version]
		line, err := ledger.VerifierKey(n.name, newest)
		if err != nil {
			return err
		}
		lines.WriteString(line + "\n")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.newest, n.text = newest, lines.String()
	return nil
}

// File returns the key file, for whoever verifies: a line for each version.
func (n *Notary) File(ctx context.Context) (string, error) {
	n.mu.Lock()
	text := n.text
	n.mu.Unlock()
	if text != "" {
		return text, nil
	}
	if err := n.Load(ctx); err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text, nil
}

// Verifiers reads the public halves anew, so that a rotated key is known.
func (n *Notary) Verifiers(ctx context.Context) (note.Verifiers, error) {
	if err := n.Load(ctx); err != nil {
		return nil, err
	}
	text, err := n.File(ctx)
	if err != nil {
		return nil, err
	}
	_, known, err := ledger.ParseKeys(text)
	return known, err
}

// Signer signs with the newest version. After a rotation that we have not seen its
// signature does not fit, and Verifiers has to be called.
func (n *Notary) Signer(ctx context.Context) (note.Signer, error) {
	if _, err := n.File(ctx); err != nil {
		return nil, err
	}
	n.mu.Lock()
	newest := n.newest
	n.mu.Unlock()
	return ledger.NewSigner(n.name, newest, func(msg []byte) ([]byte, error) {
		return n.transit.Sign(ctx, n.key, msg)
	})
}
