// Package method names the ways of proving who one is and says what they are
// worth: the methods that opened a session decide what it may do. It checks
// nobody's proof; the packages of the factors do.
package method

import (
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

// Set is a set of methods, one bit each, as stored with a session and with a
// user's credentials. The bits are stored: never renumber.
type Set int32

const (
	Password Set = 1 << iota
	TOTP
	SMS
	Email
	Passkey
	Recovery
	QR
	// External is another identity provider. What it says of assurance is not
	// taken on trust: alone it is one factor (ASVS 6.8.4).
	External
)

// order is the strongest first, as SignInResponse lists second factors.
var order = []struct {
	bit    Set
	number authv1.Method
}{
	{Passkey, authv1.Method_METHOD_PASSKEY},
	{QR, authv1.Method_METHOD_QR},
	{TOTP, authv1.Method_METHOD_TOTP},
	{SMS, authv1.Method_METHOD_SMS},
	{Recovery, authv1.Method_METHOD_RECOVERY_CODE},
	{Email, authv1.Method_METHOD_EMAIL},
	{Password, authv1.Method_METHOD_PASSWORD},
	{External, authv1.Method_METHOD_EXTERNAL},
}

// Second are the methods that make two factors out of a password. A code by mail
// is not among them: it counts where the practice accepts it (claim DH-23).
const Second = TOTP | SMS | Passkey | Recovery

// Lasting are the factors of which one must be left when another is removed. A
// number is lost with STOP (claim DMD-27), and recovery codes are used up.
const Lasting = TOTP | Passkey

// Has reports whether every method of other is in the set.
func (s Set) Has(other Set) bool { return s&other == other }

// Any reports whether some method of other is in the set.
func (s Set) Any(other Set) bool { return s&other != 0 }

// Offered are the second factors that a user who has these can give: a code by mail too,
// where the practice accepts it.
func (s Set) Offered(acceptEmail bool) Set {
	if acceptEmail {
		s |= Email
	}
	return s
}

// List returns the methods, the strongest first.
func (s Set) List() []authv1.Method {
	var list []authv1.Method
	for _, m := range order {
		if s.Any(m.bit) {
			list = append(list, m.number)
		}
	}
	return list
}

// Level is the assurance of a session that was opened with these methods (SP
// 800-63B-4): a passkey with user verification, or a phone with one that
// approved, is two factors by itself; a password or another provider is one.
// AAL3 is never claimed: it takes hardware that attests itself.
func (s Set) Level(acceptEmail bool) accessv1.Assurance {
	second := Second
	if acceptEmail {
		second |= Email
	}
	if s.Any(Passkey|QR) || s.Any(Password|External) && s.Any(second) {
		return accessv1.Assurance_ASSURANCE_AAL2
	}
	return accessv1.Assurance_ASSURANCE_AAL1
}
