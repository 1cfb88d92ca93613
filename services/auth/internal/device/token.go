// Package device recognises the clients that users sign in from, by a signed token
// and by what a client says of itself, and lets users name and forget them. It
// decides nothing about sessions: an unknown device is news, not a refusal.
package device

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/mileusna/useragent"

	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

const (
	keyName = "devices"
	// prefix lets secret scanners find a leaked token.
	prefix = "ckd_"
	// domain keeps a signature made here from meaning anything elsewhere.
	domain = "carekeep device token v1\x00"
)

// Tokens signs and reads device tokens: `ckd_<device id>.<HMAC-SHA256>`. A token names
// a device and opens nothing; it is signed so that nobody can name a device
// that was not given to them.
type Tokens struct{ key []byte }

// NewTokens takes the installation's key, making it where there is none.
func NewTokens(ctx context.Context, s *store.Store, sealer *seal.Sealer) (*Tokens, error) {
	key, err := limit.InstallationKey(ctx, s, sealer, keyName)
	if err != nil {
		return nil, fmt.Errorf("device: %w", err)
	}
	return &Tokens{key: key}, nil
}

// Sign makes the token of a device.
func (t *Tokens) Sign(id uuid.UUID) string {
	return prefix + id.String() + "." + base64.RawURLEncoding.EncodeToString(t.mac(id))
}

// Read returns the device that a token names; uuid.Nil where it is not one of ours,
// spelled exactly as it was given.
func (t *Tokens) Read(text string) uuid.UUID {
	name, signature, found := strings.Cut(strings.TrimPrefix(text, prefix), ".")
	if !found || !strings.HasPrefix(text, prefix) {
		return uuid.Nil
	}
	id, err := uuid.Parse(name)
	if err != nil || id.String() != name {
		return uuid.Nil
	}
	// The text is compared, not what it decodes to, so that one token has one spelling.
	if !hmac.Equal([]byte(signature), []byte(base64.RawURLEncoding.EncodeToString(t.mac(id)))) {
		return uuid.Nil
	}
	return id
}

func (t *Tokens) mac(id uuid.UUID) []byte {
	m := hmac.New(sha256.New, t.key)
	m.Write([]byte(domain))
	m.Write(id[:])
	return m.Sum(nil)
}

// Features is a digest of what stays the same in a client's headers from one update of
// it to the next: family, platform and first language. A token that comes with
// other features was copied to another client.
func Features(userAgent, acceptLanguage string) []byte {
	ua := useragent.Parse(userAgent)
	language, _, _ := strings.Cut(acceptLanguage, ",")
	language, _, _ = strings.Cut(language, ";")
	language, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(language)), "-")
	sum := sha256.Sum256([]byte(strings.Join([]string{ua.Name, ua.OS, language}, "\x00")))
	return sum[:]
}

const maxLabel = 64 // characters, as in RenameDeviceRequest

// Label is what a device is called until its user names it.
func Label(userAgent string) string {
	ua := useragent.Parse(userAgent)
	label := ua.Name
	if ua.OS != "" {
		label += " on " + ua.OS
	}
	label = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, label)
	if label == "" {
		return "Unknown client"
	}
	if runes := []rune(label); len(runes) > maxLabel {
		label = string(runes[:maxLabel])
	}
	return label
}

// Name is the resource name of a device.
func Name(id uuid.UUID) string { return "devices/" + id.String() }
