// Package passkey registers passkeys and signs in and steps up with them
// (WebAuthn). rp.go turns challenges into options and decides over what
// authenticators answer, with no database; the other files keep ceremonies,
// passkeys and sessions.
package passkey

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"
)

// Config says whose passkeys these are. Validate derives what is left out from public_url.
type Config struct {
	// RPID is the domain that passkeys are bound to. Another one loses them all.
	RPID string `yaml:"rp_id"`
	// RPName is what authenticators show.
	RPName string `yaml:"rp_name"`
	// Origins are those of the pages that may ask for a passkey.
	Origins []string `yaml:"origins"`
}

// Derive fills in what is missing and checks the rest.
func (c *Config) Derive(public *url.URL) error {
	if c.RPID == "" {
		c.RPID = public.Hostname()
	}
	if c.RPName == "" {
		c.RPName = "carekeep"
	}
	if len(c.Origins) == 0 {
		c.Origins = []string{"https://" + strings.ToLower(public.Host)}
	}
	var found []error
	if net.ParseIP(strings.Trim(c.RPID, "[]")) != nil {
		found = append(found, errors.New("passkeys.rp_id: browsers bind passkeys to a domain, not to an IP address; name one here and its origins in passkeys.origins"))
	}
	for _, origin := range c.Origins {
		u, err := url.Parse(origin)
		if err != nil || origin != "https://"+u.Host || u.Hostname() != c.RPID && !strings.HasSuffix(u.Hostname(), "."+c.RPID) {
			found = append(found, errors.New("passkeys.origins: each must be like https://care.example.org, of rp_id or below it"))
		}
	}
	return errors.Join(found...)
}

// Timeout is how long a ceremony waits for its answer (rules.md 2.6: 300 to 600 s).
const Timeout = 5 * time.Minute

const (
	// ChallengeBytes are random; WebAuthn asks for 16 or more.
	ChallengeBytes = 32
	// MaxCredentialBytes bound what a browser sends: an attestation with certificates is far shorter.
	MaxCredentialBytes = 32 << 10
	maxID              = 1023
	maxKeyBytes        = 2048
	maxTransports      = 8
)

// algorithms are those that keys may have, the best first.
var algorithms = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
}

// RelyingParty makes options and verifies answers.
type RelyingParty struct {
	web *webauthn.WebAuthn
	rp  Config
}

// NewRelyingParty makes one.
func NewRelyingParty(c Config) (*RelyingParty, error) {
	timeout := webauthn.TimeoutConfig{Timeout: Timeout, TimeoutUVD: Timeout}
	web, err := webauthn.New(&webauthn.Config{
		RPID: c.RPID, RPDisplayName: c.RPName, RPOrigins: c.Origins,
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
		// Nothing is asked of extensions, so what some password managers add has no meaning here.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, fmt.Errorf("passkeys: %w", err)
	}
	return &RelyingParty{web: web, rp: c}, nil
}

// holder is the user of a ceremony.
type holder struct {
	handle      []byte
	name        string
	display     string
	credentials []webauthn.Credential
}

func (h holder) WebAuthnID() []byte                         { return h.handle }
func (h holder) WebAuthnName() string                       { return h.name }
func (h holder) WebAuthnDisplayName() string                { return h.display }
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.credentials }

func descriptors(ids [][]byte) []protocol.CredentialDescriptor {
	list := make([]protocol.CredentialDescriptor, 0, len(ids))
	for _, id := range ids {
		list = append(list, protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: id})
	}
	return list
}

// Creation are the options of a registration, as JSON. Exclude are the credentials that the user has.
func (r *RelyingParty) Creation(challenge []byte, user holder, exclude [][]byte) ([]byte, error) {
	creation, _, err := r.web.BeginRegistration(user, func(o *protocol.PublicKeyCredentialCreationOptions) error {
		o.Challenge, o.Parameters, o.CredentialExcludeList = challenge, algorithms, descriptors(exclude)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	return json.Marshal(creation.Response)
}

// Request are the options of a sign-in or, with the credentials that may answer, of a step-up.
func (r *RelyingParty) Request(challenge []byte, allow [][]byte) ([]byte, error) {
	assertion, _, err := r.web.BeginDiscoverableLogin(func(o *protocol.PublicKeyCredentialRequestOptions) error {
		o.Challenge, o.AllowedCredentials = challenge, descriptors(allow)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	return json.Marshal(assertion.Response)
}

// Registered is a new credential that was verified.
type Registered struct {
	ID             []byte
	PublicKey      []byte
	SignCount      int64
	BackupEligible bool
	BackedUp       bool
	Transports     []string
}

var errRefused = errors.New("refused")

func (r *RelyingParty) session(challenge, handle []byte) webauthn.SessionData {
	return webauthn.SessionData{
		Challenge: base64.RawURLEncoding.EncodeToString(challenge), RelyingPartyID: r.rp.RPID, UserID: handle,
		UserVerification: protocol.VerificationRequired, CredParams: algorithms,
	}
}

// origin is stricter than the library, which compares scheme and host: an origin
// has no user, path or query, and browsers write it in one way.
func (r *RelyingParty) origin(data protocol.CollectedClientData) error {
	if data.CrossOrigin || data.TopOrigin != "" || !slices.Contains(r.rp.Origins, data.Origin) {
		return errRefused
	}
	return nil
}

// Register verifies the answer to a registration (WebAuthn L3 section 7.1).
// Whether the credential is somebody's already is for the database to say.
func (r *RelyingParty) Register(challenge, handle, answer []byte) (Registered, error) {
	if len(answer) > MaxCredentialBytes || len(challenge) != ChallengeBytes {
		return Registered{}, errRefused
	}
	if err := strict(answer, "clientDataJSON", "attestationObject"); err != nil {
		return Registered{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return Registered{}, err
	}
	if err := r.origin(parsed.Response.CollectedClientData); err != nil {
		return Registered{}, err
	}
	made, err := r.web.CreateCredential(holder{handle: handle}, r.session(challenge, handle), parsed)
	if err != nil {
		return Registered{}, err
	}
	if len(made.ID) == 0 || len(made.ID) > maxID || len(made.PublicKey) > maxKeyBytes {
		return Registered{}, errRefused
	}
	if err := usable(made.PublicKey); err != nil {
		return Registered{}, err
	}
	result := Registered{
		ID: made.ID, PublicKey: made.PublicKey, SignCount: int64(made.Authenticator.SignCount),
		BackupEligible: made.Flags.BackupEligible, BackedUp: made.Flags.BackupState, Transports: []string{},
	}
	for _, transport := range parsed.Response.Transports {
		if known(transport) && !slices.Contains(result.Transports, string(transport)) && len(result.Transports) < maxTransports {
			result.Transports = append(result.Transports, string(transport))
		}
	}
	return result, nil
}

// known: what a browser says of transports is kept only where it is one of the known words.
func known(t protocol.AuthenticatorTransport) bool {
	switch t {
	case protocol.USB, protocol.NFC, protocol.BLE, protocol.SmartCard, protocol.Hybrid, protocol.Internal:
		return true
	}
	return false
}

// Answer is an assertion that was read and not yet verified.
type Answer struct {
	parsed *protocol.ParsedCredentialAssertionData
}

// Credential is the id of the credential that it claims to come from.
func (a Answer) Credential() []byte { return a.parsed.RawID }

// Read reads an assertion.
func Read(answer []byte) (Answer, error) {
	if len(answer) > MaxCredentialBytes {
		return Answer{}, errRefused
	}
	if err := strict(answer, "clientDataJSON", "authenticatorData", "signature", "userHandle"); err != nil {
		return Answer{}, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return Answer{}, err
	}
	if len(parsed.RawID) > maxID {
		return Answer{}, errRefused
	}
	return Answer{parsed}, nil
}

// Key is what is kept of a credential for verifying its answers.
type Key struct {
	ID             []byte
	PublicKey      []byte
	Handle         []byte
	SignCount      int64
	BackupEligible bool
}

// Use is what a verified answer changes.
type Use struct {
	SignCount int64
	BackedUp  bool
	// Regressed: the counter did not go up although the authenticator counts. A copy
	// of the passkey may exist; it is no proof (WebAuthn L3 section 6.1.1).
	Regressed bool
}

// Verify verifies an answer (WebAuthn L3 section 7.2). Named: nobody said before who
// would answer, so the answer must say it.
func (r *RelyingParty) Verify(a Answer, challenge []byte, key Key, named bool) (Use, error) {
	if len(challenge) != ChallengeBytes || len(key.Handle) == 0 {
		return Use{}, errRefused
	}
	if err := r.origin(a.parsed.Response.CollectedClientData); err != nil {
		return Use{}, err
	}
	if handle := a.parsed.Response.UserHandle; named && len(handle) == 0 || len(handle) > 0 && !bytes.Equal(handle, key.Handle) {
		return Use{}, errRefused
	}
	user := holder{handle: key.Handle, credentials: []webauthn.Credential{{
		ID: key.ID, PublicKey: key.PublicKey,
		Flags:         webauthn.CredentialFlags{UserPresent: true, UserVerified: true, BackupEligible: key.BackupEligible},
		Authenticator: webauthn.Authenticator{SignCount: uint32(key.SignCount)},
	}}}
	used, err := r.web.ValidateLogin(user, r.session(challenge, key.Handle), a.parsed)
	if err != nil {
		return Use{}, err
	}
	return Use{
		SignCount: int64(used.Authenticator.SignCount), BackedUp: used.Flags.BackupState, Regressed: used.Authenticator.CloneWarning,
	}, nil
}
