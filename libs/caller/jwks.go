package caller

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxJWKS bounds the key file, in bytes.
const maxJWKS = 64 << 10

type jwks struct {
	Keys []jwk `json:"keys"`
}

// jwk is an Ed25519 public key (RFC 8037).
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Kid string `json:"kid"`
	Use string `json:"use,omitempty"`
	Alg string `json:"alg,omitempty"`
}

// Thumbprint returns the key id of a public key (RFC 7638, SHA-256, base64url).
func Thumbprint(pub ed25519.PublicKey) string {
	x := base64.RawURLEncoding.EncodeToString(pub)
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// WriteJWKS writes the key set that verifiers read. During a rotation it holds
// the old and the new key.
func WriteJWKS(w io.Writer, pubs ...ed25519.PublicKey) error {
	if len(pubs) == 0 {
		return errors.New("caller: a key set needs at least one public key")
	}
	var set jwks
	for _, p := range pubs {
		if len(p) != ed25519.PublicKeySize {
			return fmt.Errorf("caller: an Ed25519 public key has %d bytes, not %d", ed25519.PublicKeySize, len(p))
		}
		set.Keys = append(set.Keys, jwk{
			Kty: "OKP", Crv: "Ed25519", X: base64.RawURLEncoding.EncodeToString(p),
			Kid: Thumbprint(p), Use: "sig", Alg: "EdDSA",
		})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(set); err != nil {
		return fmt.Errorf("caller: write key set: %w", err)
	}
	return nil
}

// parseJWKS reads a key set. A key that is not exactly what WriteJWKS writes is
// an error, never skipped: a typo must not shrink the set in silence.
func parseJWKS(raw []byte) (map[string]ed25519.PublicKey, error) {
	if len(raw) > maxJWKS {
		return nil, fmt.Errorf("the key set has more than %d bytes", maxJWKS)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var set jwks
	if err := dec.Decode(&set); err != nil {
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse key set: there is data after the set")
	}
	keys := make(map[string]ed25519.PublicKey, len(set.Keys))
	for i, k := range set.Keys {
		if k.Kty != "OKP" || k.Crv != "Ed25519" || (k.Alg != "" && k.Alg != "EdDSA") || (k.Use != "" && k.Use != "sig") {
			return nil, fmt.Errorf("key %d: only Ed25519 signature keys (kty OKP, crv Ed25519, alg EdDSA, use sig) are taken", i)
		}
		x, err := base64.RawURLEncoding.Strict().DecodeString(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("key %d: x is not a 32-byte base64url value", i)
		}
		if k.Kid != Thumbprint(x) {
			return nil, fmt.Errorf("key %d: kid is not the RFC 7638 thumbprint of the key", i)
		}
		keys[k.Kid] = x
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set is empty")
	}
	return keys, nil
}
