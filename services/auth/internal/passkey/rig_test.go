package passkey_test

import (
	"strings"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const origin = "https://care.example.org"

// site is what a browser on the right page would put into its answers.
var site = virtualwebauthn.RelyingParty{ID: "care.example.org", Name: "carekeep", Origin: origin}

// wide lets one test do more than five sign-ins a minute.
func wide(s *app.Settings) { s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 1000, 1000 }

// rig is a world with passkeys.
type rig struct {
	*testkit.World
	authv1.PasskeyServiceClient
}

func newRig(t *testing.T, mods ...func(*app.Settings)) rig {
	w := testkit.New(t, mods...)
	return rig{w, authv1.NewPasskeyServiceClient(w.Auth.Dial("gateway"))}
}

// phone is an authenticator with one passkey.
type phone struct {
	virtualwebauthn.Authenticator
	credential virtualwebauthn.Credential
}

// fullKey is how long a key on P-256 is in COSE.
const fullKey = 77

// newPhone draws keys until none of the coordinates starts with a zero, which
// virtualwebauthn leaves out although COSE keeps it.
func newPhone() *phone {
	credential := virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2)
	for len(credential.Key.AttestationData()) != fullKey {
		credential = virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2)
	}
	return &phone{virtualwebauthn.NewAuthenticator(), credential}
}

// create answers the options of a registration, and remembers the user handle.
func (p *phone) create(t testing.TB, options []byte) []byte {
	t.Helper()
	parsed, err := virtualwebauthn.ParseAttestationOptions(string(options))
	require.NoError(t, err)
	p.Options.UserHandle = []byte(parsed.UserID)
	return []byte(virtualwebauthn.CreateAttestationResponse(site, p.Authenticator, p.credential, *parsed))
}

// get answers the options of a sign-in or step-up.
func (p *phone) get(t testing.TB, options []byte) []byte {
	t.Helper()
	parsed, err := virtualwebauthn.ParseAssertionOptions(string(options))
	require.NoError(t, err)
	return []byte(virtualwebauthn.CreateAssertionResponse(site, p.Authenticator, p.credential, *parsed))
}

func toJSON(t testing.TB, s *structpb.Struct) []byte {
	t.Helper()
	raw, err := protojson.Marshal(s)
	require.NoError(t, err)
	return raw
}

func toStruct(t testing.TB, raw []byte) *structpb.Struct {
	t.Helper()
	s := &structpb.Struct{}
	require.NoError(t, protojson.Unmarshal(raw, s))
	return s
}

// register registers the phone for the person.
func (r rig) register(p *testkit.Person, ph *phone, name string) (*authv1.FinishPasskeyRegistrationResponse, error) {
	r.T.Helper()
	begun, err := r.BeginPasskeyRegistration(p.Context(), &authv1.BeginPasskeyRegistrationRequest{})
	if err != nil {
		return nil, err
	}
	return r.FinishPasskeyRegistration(p.Context(), &authv1.FinishPasskeyRegistrationRequest{
		Ceremony: begun.GetCeremony(), Credential: toStruct(r.T, ph.create(r.T, toJSON(r.T, begun.GetOptions()))), DisplayName: name,
	})
}

// signIn signs in with the phone at the person's device.
func (r rig) signIn(ph *phone, p *testkit.Person) (*authv1.SignInResponse, error) {
	r.T.Helper()
	from := &authv1.Client{Address: p.Address, UserAgent: p.Agent, DeviceToken: p.Device}
	begun, err := r.BeginPasskeySignIn(r.Context(), &authv1.BeginPasskeySignInRequest{Client: from})
	if err != nil {
		return nil, err
	}
	return r.FinishPasskeySignIn(r.Context(), &authv1.FinishPasskeySignInRequest{
		Ceremony: begun.GetCeremony(), Credential: toStruct(r.T, ph.get(r.T, toJSON(r.T, begun.GetOptions()))), Client: from,
	})
}

// stepUp steps the person's session up with the phone and takes the new token.
func (r rig) stepUp(p *testkit.Person, ph *phone) error {
	r.T.Helper()
	begun, err := r.BeginPasskeyStepUp(p.Context(), &authv1.BeginPasskeyStepUpRequest{})
	if err != nil {
		return err
	}
	raised, err := r.FinishPasskeyStepUp(p.Context(), &authv1.FinishPasskeyStepUpRequest{
		Ceremony: begun.GetCeremony(), Credential: toStruct(r.T, ph.get(r.T, toJSON(r.T, begun.GetOptions()))),
	})
	if err == nil {
		p.Session = raised.GetSessionToken()
	}
	return err
}

// told waits until a mail to the person says so (ASVS 6.3.7).
func (r rig) told(p *testkit.Person, what string) {
	r.T.Helper()
	require.Eventually(r.T, func() bool {
		for _, m := range r.Inbox.Messages(p.Email) {
			if strings.Contains(strings.ReplaceAll(m.Text, "=\r\n", ""), what) {
				return true
			}
		}
		return false
	}, 30*time.Second, 20*time.Millisecond, what)
}
