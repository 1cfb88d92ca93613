package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Sizes and the algorithm byte of C2SP tlog-cosignature, version 1 (Ed25519).
const (
	cosignatureAlgorithm = 4
	timestampSize        = 8
	keyHashSize          = 4
)

// ErrWitnessKey says that a text is no key of a witness.
var ErrWitnessKey = errors.New("not a witness's key: want name+hash+key with a key of type 4 (C2SP tlog-cosignature, Ed25519)")

// witness verifies the cosignatures of one witness.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// ParseWitness reads the key of a witness. Its Verify takes timestamped cosignatures; that they are recent is
// for the caller to see to ([CosignTime]).
func ParseWitness(key string) (note.Verifier, error) {
	name, rest, _ := strings.Cut(key, "+")
	hashText, keyText, found := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.DecodeString(keyText)
	hash, badHash := strconv.ParseUint(hashText, 16, 32)
	if !found || err != nil || badHash != nil || len(hashText) != 2*keyHashSize || name == "" || strings.ContainsAny(name, " \t\r\n") ||
		base64.StdEncoding.EncodeToString(raw) != keyText || len(raw) != 1+ed25519.PublicKeySize || raw[0] != cosignatureAlgorithm {
		return nil, ErrWitnessKey
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	if binary.BigEndian.Uint32(sum[:]) != uint32(hash) {
		return nil, fmt.Errorf("%w; its hash is not that of its name and key", ErrWitnessKey)
	}
	return &witness{name: name, hash: uint32(hash), key: raw[1:]}, nil
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }

func (w *witness) Verify(msg, sig []byte) bool {
	if len(sig) != timestampSize+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	if at > 1<<63-1 {
		return false
	}
	signed := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, msg)
	return ed25519.Verify(w.key, signed, sig[timestampSize:])
}

// CosignTime returns when a witness signed, as it says itself.
func CosignTime(s note.Signature) (time.Time, error) {
	raw, err := base64.StdEncoding.DecodeString(s.Base64)
	if err != nil || len(raw) != keyHashSize+timestampSize+ed25519.SignatureSize {
		return time.Time{}, fmt.Errorf("signature of %s is no timestamped cosignature", s.Name)
	}
	return time.Unix(int64(binary.BigEndian.Uint64(raw[keyHashSize:])), 0).UTC(), nil
}
