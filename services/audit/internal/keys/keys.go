// Package keys signs checkpoints with a key that stays in transit, and knows its
// public halves. It holds no private key and never could.
package keys

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

// Transit is the key of one log.
type Transit struct {
	client *transit.Client
	log    string

	mu     sync.Mutex
	newest ed25519.PublicKey
	text   string // the key file: all versions, newest last
}

// New returns the key of a log. Nothing is asked of transit yet.
func New(client *transit.Client, log string) *Transit {
	return &Transit{client: client, log: log}
}

// Load makes the key where it does not exist, and reads its public halves.
func (k *Transit) Load(ctx context.Context) error {
	public, err := k.client.PublicKeys(ctx, transit.AuditCheckpoint)
	if errs.KindOf(err) == errs.KindNotFound {
		if err := k.client.CreateKey(ctx, transit.AuditCheckpoint, transit.Ed25519); err != nil {
			return fmt.Errorf("make the checkpoint key: %w", err)
		}
		public, err = k.client.PublicKeys(ctx, transit.AuditCheckpoint)
	}
	if err != nil {
		return fmt.Errorf("read the checkpoint key: %w", err)
	}
	if len(public) == 0 {
		return fmt.Errorf("the checkpoint key %s has no version", transit.AuditCheckpoint)
	}
	var lines strings.Builder
	var newest ed25519.PublicKey
	for _, version := range slices.Sorted(maps.Keys(public)) {
		newest = public[version]
		line, err := ledger.VerifierKey(k.log, newest)
		if err != nil {
			return err
		}
		lines.WriteString(line + "\n")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.newest, k.text = newest, lines.String()
	return nil
}

// File returns the key file, for whoever verifies: a line for each version.
func (k *Transit) File(ctx context.Context) (string, error) {
	k.mu.Lock()
	text := k.text
	k.mu.Unlock()
	if text != "" {
		return text, nil
	}
	if err := k.Load(ctx); err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text, nil
}

// Verifiers reads the public halves anew, so that a rotated key is known.
func (k *Transit) Verifiers(ctx context.Context) (note.Verifiers, error) {
	if err := k.Load(ctx); err != nil {
		return nil, err
	}
	text, err := k.File(ctx)
	if err != nil {
		return nil, err
	}
	_, known, err := ledger.ParseKeys(text)
	return known, err
}

// KeyOf returns the verifier key that a checkpoint was signed with.
func (k *Transit) KeyOf(ctx context.Context, signed string) (string, ledger.Checkpoint, error) {
	text, err := k.File(ctx)
	if err != nil {
		return "", ledger.Checkpoint{}, err
	}
	var c ledger.Checkpoint
	for line := range strings.Lines(text) {
		var known note.Verifiers
		if _, known, err = ledger.ParseKeys(line); err != nil {
			continue
		}
		if c, err = ledger.OpenCheckpoint(signed, known); err == nil {
			return strings.TrimSpace(line), c, nil
		}
	}
	return "", ledger.Checkpoint{}, fmt.Errorf("no version of the key signed this checkpoint: %w", err)
}

// Signer signs with the newest version. After a rotation that we have not seen its
// signature does not fit, and Verifiers has to be called.
func (k *Transit) Signer(ctx context.Context) (note.Signer, error) {
	if _, err := k.File(ctx); err != nil {
		return nil, err
	}
	k.mu.Lock()
	newest := k.newest
	k.mu.Unlock()
	return ledger.NewSigner(k.log, newest, func(msg []byte) ([]byte, error) {
		return k.client.Sign(ctx, transit.AuditCheckpoint, msg)
	})
}
