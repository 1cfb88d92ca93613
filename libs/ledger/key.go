package ledger

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// VerifierKey returns the key by which a log's checkpoints are verified, in note format.
func VerifierKey(log string, public ed25519.PublicKey) (string, error) {
	key, err := note.NewEd25519VerifierKey(log, public)
	if err != nil {
		return "", fmt.Errorf("verifier key of log %q: %w", log, err)
	}
	if _, err := note.NewVerifier(key); err != nil {
		return "", fmt.Errorf("log name %q holds a space, a plus sign or nothing at all: %w", log, err)
	}
	return key, nil
}

// ParseKeys reads a key file: one verifier key a line, one for each version of
// the signing key. Empty lines and lines that begin with # are skipped. All keys
// must be of one log, whose name is returned.
func ParseKeys(text string) (string, note.Verifiers, error) {
	var list []note.Verifier
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || seen[line] {
			continue
		}
		seen[line] = true
		v, err := note.NewVerifier(line)
		if err != nil {
			return "", nil, fmt.Errorf("verifier key on line %q: %w", line, err)
		}
		if len(list) > 0 && v.Name() != list[0].Name() {
			return "", nil, fmt.Errorf("keys of two logs, %q and %q, in one file", list[0].Name(), v.Name())
		}
		list = append(list, v)
	}
	if len(list) == 0 {
		return "", nil, errors.New("no verifier key in the file")
	}
	return list[0].Name(), note.VerifierList(list...), nil
}

// NewSigner returns a signer whose private key is elsewhere: sign asks whoever holds it.
// What comes back is checked against the public key before it is passed on, so
// that a checkpoint nobody could verify is never stored.
func NewSigner(log string, public ed25519.PublicKey, sign func(msg []byte) ([]byte, error)) (note.Signer, error) {
	key, err := VerifierKey(log, public)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("verifier of log %q: %w", log, err)
	}
	return &remoteSigner{Verifier: v, sign: sign}, nil
}

type remoteSigner struct {
	note.Verifier
	sign func(msg []byte) ([]byte, error)
}

// ErrForeignSignature says that a signature came back that the log's public key does not verify.
var ErrForeignSignature = errors.New("signature does not fit the log's public key")

func (s *remoteSigner) Sign(msg []byte) ([]byte, error) {
	sig, err := s.sign(msg)
	if err != nil {
		return nil, err
	}
	if !s.Verify(msg, sig) {
		return nil, ErrForeignSignature
	}
	return sig, nil
}
