// Package totp makes and checks time-based one-time codes (RFC 6238): six
// digits, 30 seconds, one step of tolerance. That each step counts once is the
// store's doing: Verify says which step a code belongs to.
package totp

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	libtotp "github.com/pquerna/otp/totp"
)

const (
	period      = 30 // seconds (rules.md 2.6, ASVS 6.5.5)
	skew        = 1  // steps before and after, for clocks that differ
	secretBytes = 20 // RFC 4226 section 4 recommends 160 bits
	issuer      = "carekeep"
)

// Enrolment is a fresh secret, in base32, and the same as an otpauth address for a QR code.
type Enrolment struct {
	Secret string
	URI    string
}

// Enrol makes a secret for the account.
func Enrol(account string) (Enrolment, error) {
	key, err := libtotp.Generate(libtotp.GenerateOpts{
		Issuer: issuer, AccountName: account, Period: period, SecretSize: secretBytes,
		Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1, Rand: rand.Reader,
	})
	if err != nil {
		return Enrolment{}, fmt.Errorf("totp: make a secret: %w", err)
	}
	return Enrolment{Secret: key.Secret(), URI: key.URL()}, nil
}

// Raw returns the bytes of a secret, which are what gets sealed; Text undoes it.
func Raw(secret string) ([]byte, error) {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		return nil, fmt.Errorf("totp: the secret is not base32: %w", err)
	}
	return raw, nil
}

// Text is the base32 form of a secret's bytes.
func Text(raw []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)
}

// Verify returns the time step that the code belongs to, and false where it
// belongs to none that is close to now. Steps up to used are not accepted again.
func Verify(raw []byte, code string, now time.Time, used int64) (step int64, ok bool) {
	current := now.Unix() / period
	for candidate := current - skew; candidate <= current+skew; candidate++ {
		if candidate < 0 {
			continue
		}
		want, err := hotp.GenerateCodeCustom(Text(raw), uint64(candidate), hotp.ValidateOpts{
			Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1,
		})
		// All three are computed whatever matches, so that time tells nothing.
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && candidate > used {
			step, ok = candidate, true
		}
	}
	return step, ok
}

// Code returns the code of a moment; the local stack and tests show it as a phone would.
func Code(secret string, at time.Time) (string, error) {
	code, err := libtotp.GenerateCodeCustom(secret, at, libtotp.ValidateOpts{
		Period: period, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1,
	})
	if err != nil {
		return "", fmt.Errorf("totp: compute a code: %w", err)
	}
	return code, nil
}
