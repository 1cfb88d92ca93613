package stack

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/carekeep/carekeep/libs/caller"
)

// identities are the certificates that a stack has besides the servers' own.
var identities = []string{
	"auth", "records", "audit", "backup", "gateway", "ctl", "edge", "admin", "backup-restore",
	"auth-migrate", "records-migrate", "audit-migrate", "backup-migrate", "audit-verify",
}

// issue gives every identity a new certificate, at each start, so that none ends
// while a stack is in use.
func (p *Place) issue() error {
	for _, name := range identities {
		if _, err := p.authority.Issue(name); err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
	}
	return nil
}

// SigningKey is the file with the key that auth signs caller tokens with.
func (p *Place) SigningKey() string { return p.path("keys", "caller.pem") }

func (p *Place) callerKeys() string { return p.path("keys", "callers.json") }

// callers makes the key that auth signs caller tokens with, once, and the
// public set that the other services check them by.
func (p *Place) callers() error {
	if _, err := os.Stat(p.SigningKey()); errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return fmt.Errorf("caller key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return fmt.Errorf("caller key: %w", err)
		}
		if err := os.WriteFile(p.SigningKey(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return fmt.Errorf("caller key: %w", err)
		}
	}
	signer, err := caller.NewSigner(p.SigningKey())
	if err != nil {
		return err
	}
	var set bytes.Buffer
	if err := caller.WriteJWKS(&set, signer.Public()); err != nil {
		return err
	}
	if err := os.WriteFile(p.callerKeys(), set.Bytes(), 0o644); err != nil {
		return fmt.Errorf("caller keys: %w", err)
	}
	return nil
}
