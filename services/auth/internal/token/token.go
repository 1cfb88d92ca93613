// Package token makes the bearer secrets that auth hands out, and the hashes
// under which it finds them again. The secrets themselves are never stored.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// Kind is what a token opens. The prefix lets secret scanners find a leaked one.
type Kind string

const (
	Session    Kind = "cks_"
	Invitation Kind = "cki_"
	// Browser is what a browser keeps that waits for a phone.
	Browser Kind = "ckb_"
	Reset   Kind = "ckr_"
)

const size = 32 // bytes, 256 bits of entropy

// New makes a token.
func New(k Kind) string {
	var raw [size]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	return string(k) + base64.RawURLEncoding.EncodeToString(raw[:])
}

// Hash returns what is stored. A fast hash is enough: the input has 256 bits of
// entropy and cannot be guessed. It covers the text as given, so that only one
// spelling of a token is valid.
func Hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// Plausible reports whether the text has the form of a token of the kind, so
// that rubbish costs no database work.
func Plausible(k Kind, text string) bool {
	if len(text) != len(k)+base64.RawURLEncoding.EncodedLen(size) || text[:len(k)] != string(k) {
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text[len(k):])
	return err == nil && len(raw) == size // the decoder skips line breaks
}
