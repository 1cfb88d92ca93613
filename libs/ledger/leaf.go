package ledger

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"

	"golang.org/x/mod/sumdb/tlog"
)

// SaltSize is the length of a salt in bytes. It is fixed because HMAC pads
// shorter keys with zeros, so that two salts of different length could be one key.
const SaltSize = 32

// ErrSalt says that a salt does not have 32 bytes.
var ErrSalt = errors.New("salt is not 32 bytes long")

// NewSalts returns n fresh salts cut from one read of the system's random source.
func NewSalts(n int) [][]byte {
	// rand.Read never fails: it ends the program where the system has no randomness.
	buf := make([]byte, n*SaltSize)
	_, _ = rand.Read(buf)
	salts := make([][]byte, n)
	for i := range salts {
		salts[i] = buf[i*SaltSize : (i+1)*SaltSize : (i+1)*SaltSize]
	}
	return salts
}

// LeafHash returns the RFC 6962 leaf hash of an event's salted commitment.
func LeafHash(salt, event []byte) (tlog.Hash, error) {
	if len(salt) != SaltSize {
		return tlog.Hash{}, ErrSalt
	}
	mac := hmac.New(sha256.New, salt)
	mac.Write(event)
	return tlog.RecordHash(mac.Sum(nil)), nil
}
