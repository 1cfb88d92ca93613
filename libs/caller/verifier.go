package caller

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/golang-jwt/jwt/v5"
	"github.com/maypok86/otter/v2"
)

const (
	// maxToken bounds a token, in bytes, before anything is parsed.
	maxToken = 20 << 10
	// maxCached bounds the cache of verified tokens.
	maxCached = 20_000
)

// Verifier checks caller tokens for one service.
type Verifier struct {
	audience accessv1.Service
	now      func() time.Time
	keys     *keyFile
	parser   *jwt.Parser
	// verified spares a busy session the signature check. Its keys are SHA-256 of
	// the tokens, so it holds nothing that could be replayed.
	verified *otter.Cache[[sha256.Size]byte, verified]
}

// verified is a caller whose token was checked against a state of the key set: a
// key that is taken out of the set must not live on in the cache.
type verified struct {
	caller *Caller
	keys   *map[string]ed25519.PublicKey
}

// NewVerifier reads the key set and returns a verifier that takes only tokens for
// the audience. The file is read again when it changes. A key set that cannot be
// read, or a missing audience, is an error.
func NewVerifier(jwksFile string, audience accessv1.Service, now func() time.Time) (*Verifier, error) {
	name := access.ServiceName(audience)
	if name == "" {
		return nil, errors.New("caller: a verifier needs the service whose tokens it takes")
	}
	if now == nil {
		now = time.Now
	}
	v := &Verifier{audience: audience, now: now}
	var err error
	v.verified, err = otter.New(&otter.Options[[sha256.Size]byte, verified]{
		MaximumSize: maxCached,
		ExpiryCalculator: otter.ExpiryCreatingFunc(func(e otter.Entry[[sha256.Size]byte, verified]) time.Duration {
			return max(e.Value.caller.Expires.Sub(now()), time.Nanosecond)
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("caller: token cache: %w", err)
	}
	v.keys, err = openKeyFile(jwksFile, now)
	if err != nil {
		v.Close()
		return nil, err
	}
	v.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(now),
		jwt.WithExpirationRequired(),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(name),
	)
	return v, nil
}

// Close stops the upkeep of the cache; Verify still works.
func (v *Verifier) Close() { v.verified.StopAllGoroutines() }

// Ready fails while the key file cannot be read; the last keys stay in use.
func (v *Verifier) Ready(ctx context.Context) error { return v.keys.ready(ctx) }

// Verify returns the caller of a token. Errors are UNAUTHENTICATED with the reason
// CALLER_TOKEN_EXPIRED, CALLER_TOKEN_AUDIENCE or CALLER_TOKEN_INVALID.
func (v *Verifier) Verify(token string) (*Caller, error) {
	v.keys.poll()
	if len(token) > maxToken {
		return nil, invalid(fmt.Errorf("the token has more than %d bytes", maxToken))
	}
	key := sha256.Sum256([]byte(token))
	keys := v.keys.keys.Load()
	if hit, ok := v.verified.GetIfPresent(key); ok && hit.keys == keys && v.now().Before(hit.caller.Expires) {
		return hit.caller, nil
	}
	c, err := v.verify(token)
	if err != nil {
		return nil, err
	}
	v.verified.Set(key, verified{caller: c, keys: keys})
	return c, nil
}

func (v *Verifier) verify(token string) (*Caller, error) {
	var cl claims
	_, err := v.parser.ParseWithClaims(token, &cl, v.keyFor)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, errs.Wrap(err, errs.KindUnauthenticated, "CALLER_TOKEN_EXPIRED", "the caller token has expired")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return nil, errs.Wrap(err, errs.KindUnauthenticated, "CALLER_TOKEN_AUDIENCE", "the caller token is for another service")
	case err != nil:
		return nil, invalid(err)
	}
	if err := v.checkTimes(&cl); err != nil {
		return nil, invalid(err)
	}
	if len(cl.Audience) != 1 {
		return nil, errs.New(errs.KindUnauthenticated, "CALLER_TOKEN_AUDIENCE", "the caller token is for more than one service")
	}
	c, err := cl.caller(v.audience)
	if err != nil {
		return nil, invalid(err)
	}
	return c, nil
}

// keyFor looks a token's key up. It runs before the signature is checked, so it
// trusts nothing but the shape of the header.
func (v *Verifier) keyFor(t *jwt.Token) (any, error) {
	if t.Header["typ"] != tokenType {
		return nil, errors.New("the token is of another type")
	}
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("the token has critical extensions")
	}
	kid, ok := t.Header["kid"].(string)
	if !ok || kid == "" {
		return nil, errors.New("the token names no key")
	}
	key, ok := v.keys.key(kid)
	if !ok {
		return nil, errors.New("the token's key is unknown")
	}
	return key, nil
}

// checkTimes asks for what the parser leaves optional.
func (v *Verifier) checkTimes(c *claims) error {
	switch {
	case c.IssuedAt == nil || c.NotBefore == nil:
		return errors.New("the token lacks iat or nbf")
	case c.IssuedAt.After(v.now().Add(skew)):
		return errors.New("the token was issued in the future")
	case c.ExpiresAt.Sub(c.IssuedAt.Time) > lifetime:
		return fmt.Errorf("the token is valid for more than %s", lifetime)
	}
	return nil
}

func invalid(err error) error {
	return errs.Wrap(err, errs.KindUnauthenticated, "CALLER_TOKEN_INVALID", "the caller token is not valid")
}
