// Package app puts the parts of auth together: settings, connections, operations,
// the gRPC server and the workers beside it. It holds no rules of its own.
package app

import (
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/auth/internal/mail"
	"github.com/carekeep/carekeep/services/auth/internal/passkey"
	"github.com/carekeep/carekeep/services/auth/internal/password"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Settings are the configuration of auth; config/auth.example.yaml explains each.
type Settings struct {
	Listen      string           `yaml:"listen" config:"required"`
	TrustDomain string           `yaml:"trust_domain" config:"required"`
	TLS         mtls.Files       `yaml:"tls" config:"required"`
	Callers     server.Callers   `yaml:"callers" config:"required"`
	Limits      Limits           `yaml:"limits"`
	Telemetry   telemetry.Config `yaml:"telemetry"`

	Database pg.Config      `yaml:"database" config:"required"`
	Broker   outbox.Broker  `yaml:"broker" config:"required"`
	Transit  transit.Config `yaml:"transit" config:"required"`

	// SigningKey is the Ed25519 key of caller tokens, PEM in PKCS #8 form.
	SigningKey string      `yaml:"signing_key" config:"path,required"`
	PublicURL  string      `yaml:"public_url" config:"required"`
	Mail       mail.Config `yaml:"mail" config:"required"`
	// Records is host:port of the records service, which says who owns records.
	Records string `yaml:"records" config:"required"`
	// SMS is nil where the installation sends no text messages.
	SMS      *sms.Config         `yaml:"sms"`
	Session  Session             `yaml:"session"`
	Argon2id password.Parameters `yaml:"argon2id"`
	// FIPS hashes passwords with an algorithm of FIPS 140 in place of argon2id.
	FIPS bool `yaml:"fips"`
	// Passwords is what is asked of a new one.
	Passwords password.Policy `yaml:"passwords"`
	Passkeys  passkey.Config  `yaml:"passkeys"`
	// WaivedGates are not enforced: training, attestation, baa. For installations without real patients.
	WaivedGates []string `yaml:"waived_gates"`
}

// Limits are those of every server and auth's own. Zero means the default.
type Limits struct {
	server.Limits     `yaml:",inline"`
	SignInPerMinute   int `yaml:"sign_in_per_minute"`
	RequestsPerMinute int `yaml:"requests_per_minute"`
	// Hashes is how many password hashes run at once, HashesWaiting how many more may wait.
	Hashes        int `yaml:"hashes"`
	HashesWaiting int `yaml:"hashes_waiting"`
}

// Session bounds sessions. Zero means the default; more than the default is refused.
type Session struct {
	IdleMinutes   int `yaml:"idle_minutes"`
	AbsoluteHours int `yaml:"absolute_hours"`
	Max           int `yaml:"max"`
}

const (
	signInPerMinute   = 5  // claim DH-32
	requestsPerMinute = 60 // claim DH-33
	idleMinutes       = 15 // claim DH-29
	absoluteHours     = 12 // rules.md 2.6, AAL3
	maxSessions       = 4  // claim DH-28
	hashesWaiting     = 256
)

// Validate fills defaults in and refuses what would weaken a claim: sessions may
// be shorter and fewer than the defaults, never longer or more.
func (s *Settings) Validate() error {
	for _, preset := range []struct {
		value *int
		usual int
	}{
		{&s.Limits.SignInPerMinute, signInPerMinute}, {&s.Limits.RequestsPerMinute, requestsPerMinute},
		{&s.Limits.Hashes, runtime.GOMAXPROCS(0)}, {&s.Limits.HashesWaiting, hashesWaiting},
		{&s.Session.IdleMinutes, idleMinutes}, {&s.Session.AbsoluteHours, absoluteHours}, {&s.Session.Max, maxSessions},
		{&s.Passwords.MinLength, password.DefaultLength},
	} {
		if *preset.value == 0 {
			*preset.value = preset.usual
		}
	}
	if s.Argon2id == (password.Parameters{}) {
		s.Argon2id = password.Default
	}
	if s.FIPS {
		s.Argon2id = password.FIPS
	}
	var found []error
	for key, value := range map[string]int{
		"limits.sign_in_per_minute": s.Limits.SignInPerMinute, "limits.requests_per_minute": s.Limits.RequestsPerMinute,
		"limits.hashes": s.Limits.Hashes, "limits.hashes_waiting": s.Limits.HashesWaiting,
		"session.idle_minutes": s.Session.IdleMinutes, "session.absolute_hours": s.Session.AbsoluteHours, "session.max": s.Session.Max,
	} {
		if value < 0 {
			found = append(found, errors.New(key+": must be 1 or more"))
		}
	}
	if s.Session.IdleMinutes > idleMinutes || s.Session.AbsoluteHours > absoluteHours || s.Session.Max > maxSessions {
		found = append(found, errors.New("session: at most idle_minutes: 15, absolute_hours: 12 and max: 4"))
	}
	if n := s.Passwords.MinLength; n < password.LeastLength || n > password.MostLength {
		found = append(found, fmt.Errorf("passwords.min_length: must be %d to %d (SP 800-63B-4 section 3.1.1.2)",
			password.LeastLength, password.MostLength))
	}
	public, err := url.Parse(s.PublicURL)
	if err != nil || public.Scheme != "https" || public.Host == "" || public.RawQuery != "" || public.Fragment != "" {
		found = append(found, errors.New("public_url: must be like https://care.example.org"))
	} else if err := s.Passkeys.Derive(public); err != nil {
		found = append(found, err)
	}
	s.PublicURL = strings.TrimSuffix(s.PublicURL, "/")
	for _, name := range s.WaivedGates {
		if _, known := waivable[name]; !known {
			found = append(found, errors.New("waived_gates: only training, attestation and baa can be waived"))
		}
	}
	return errors.Join(append(found, s.Argon2id.Check())...)
}

// waivable are the gates that rest on paperwork; the others cannot be waived.
var waivable = map[string]accessv1.Gate{
	"training": accessv1.Gate_GATE_TRAINING, "attestation": accessv1.Gate_GATE_ATTESTATION, "baa": accessv1.Gate_GATE_BAA,
}

func (s *Settings) waived() access.Gates {
	var gates access.Gates
	for _, name := range s.WaivedGates {
		gates |= access.NewGates(waivable[name])
	}
	return gates
}

func (s *Settings) server() server.Config {
	return server.Config{
		Listen: s.Listen, TrustDomain: s.TrustDomain, TLS: s.TLS, Callers: s.Callers, Limits: s.Limits.Limits, Telemetry: s.Telemetry,
	}
}

func (s *Settings) lifetimes() store.Lifetimes {
	return store.Lifetimes{
		Idle:     time.Duration(s.Session.IdleMinutes) * time.Minute,
		Absolute: time.Duration(s.Session.AbsoluteHours) * time.Hour,
		Max:      s.Session.Max,
	}
}
