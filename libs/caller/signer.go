package caller

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/carekeep/carekeep/libs/access"
	"github.com/golang-jwt/jwt/v5"
)

// Signer makes caller tokens. Only auth has one.
type Signer struct {
	key ed25519.PrivateKey
	kid string
}

// NewSigner reads an Ed25519 key from a PEM file in PKCS #8 form.
func NewSigner(keyFile string) (*Signer, error) {
	raw, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("caller: read signing key: %w", err)
	}
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 && rest[0] != '\n' {
		return nil, fmt.Errorf("caller: %s must hold exactly one PEM block \"PRIVATE KEY\" (PKCS #8)", keyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("caller: parse signing key %s: %w", keyFile, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("caller: signing key %s is a %T; make an Ed25519 key", keyFile, parsed)
	}
	return &Signer{key: key, kid: Thumbprint(key.Public().(ed25519.PublicKey))}, nil
}

// Public returns the key that verifies, to be published with WriteJWKS.
func (s *Signer) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// Sign returns a token for c that is valid for 60 seconds from now, at c.Audience only.
func (s *Signer) Sign(c Caller, now time.Time) (string, error) {
	if access.ServiceName(c.Audience) == "" {
		return "", errors.New("caller: sign: set Audience to the service that the token is for")
	}
	if err := c.validate(); err != nil {
		return "", fmt.Errorf("caller: sign: %w", err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claimsOf(&c, now))
	token.Header["kid"] = s.kid
	token.Header["typ"] = tokenType
	signed, err := token.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("caller: sign: %w", err)
	}
	return signed, nil
}
