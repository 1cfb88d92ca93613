// Package keys is the key that signs checkpoints, and which of its versions
// signed a given one.
package keys

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/notary"
	"github.com/carekeep/carekeep/libs/transit"
)

// Transit is the key of one log.
type Transit struct{ *notary.Notary }

// New returns the key of a log. Nothing is asked of transit yet.
func New(client *transit.Client, log string) *Transit {
	return &Transit{notary.New(client, transit.AuditCheckpoint, log)}
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
