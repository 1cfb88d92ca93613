package caller_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/caller/callertest"
	"github.com/carekeep/carekeep/libs/errs"
)

const records = accessv1.Service_SERVICE_RECORDS

var start = time.Date(2026, 3, 1, 13, 4, 22, 0, time.UTC)

// clock is a time that a test moves.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(start.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

func newVerifier(t testing.TB, a *callertest.Authority, c *clock) *caller.Verifier {
	t.Helper()
	v, err := caller.NewVerifier(a.Keys, records, c.now)
	require.NoError(t, err)
	t.Cleanup(v.Close)
	return v
}

func sign(t testing.TB, s *caller.Signer, c caller.Caller, at time.Time) string {
	t.Helper()
	token, err := s.Sign(c, at)
	require.NoError(t, err)
	return token
}

func TestTokenCarriesTheCallerUnchanged(t *testing.T) {
	a, c := callertest.New(t), newClock()
	v := newVerifier(t, a, c)
	staff := callertest.Doctor(records, accessv1.Permission_PERMISSION_NOTES_READ, accessv1.Permission_PERMISSION_BACKUPS_RESTORE)
	staff.Role, staff.Template = accessv1.RoleKind_ROLE_KIND_STAFF, "nurse"
	staff.ActsFor = []uuid.UUID{uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())}
	staff.Device = uuid.New()
	super := callertest.Doctor(records, accessv1.Permission_PERMISSION_PRACTICES_LIST)
	super.Role, super.Practice = accessv1.RoleKind_ROLE_KIND_SUPERADMIN, uuid.Nil
	for _, want := range []caller.Caller{callertest.Doctor(records), staff, super} {
		got, err := v.Verify(sign(t, a.Signer, want, c.now()))
		require.NoError(t, err)
		want.Expires = start.Add(time.Minute)
		require.Equal(t, want, *got)
	}
}

func TestSubjectsAreWhoseCareTeamsCount(t *testing.T) {
	c := callertest.Doctor(records)
	c.ActsFor = []uuid.UUID{uuid.Must(uuid.NewV7())}
	require.Equal(t, []uuid.UUID{c.User}, c.Subjects())
	c.Role = accessv1.RoleKind_ROLE_KIND_STAFF
	require.Equal(t, c.ActsFor, c.Subjects())
	c.Role = accessv1.RoleKind_ROLE_KIND_ADMIN
	require.Empty(t, c.Subjects())
}

func TestTokenEndsAfterSixtySeconds(t *testing.T) {
	a, c := callertest.New(t), newClock()
	v := newVerifier(t, a, c)
	token := sign(t, a.Signer, callertest.Doctor(records), c.now())
	c.advance(59 * time.Second)
	_, err := v.Verify(token) // now cached
	require.NoError(t, err)
	c.advance(time.Second)
	_, err = v.Verify(token)
	require.Equal(t, "CALLER_TOKEN_EXPIRED", errs.ReasonOf(err))
	_, err = newVerifier(t, a, c).Verify(token)
	require.Equal(t, "CALLER_TOKEN_EXPIRED", errs.ReasonOf(err), "without the cache as well")
	require.Equal(t, errs.KindUnauthenticated, errs.KindOf(err))
}

func TestTokenIsForOneServiceOnly(t *testing.T) {
	a, c := callertest.New(t), newClock()
	v := newVerifier(t, a, c)
	_, err := v.Verify(sign(t, a.Signer, callertest.Doctor(accessv1.Service_SERVICE_AUDIT), c.now()))
	require.Equal(t, "CALLER_TOKEN_AUDIENCE", errs.ReasonOf(err))
	forged := forge(t, a, func(_ *jwt.Token, cl jwt.MapClaims) { cl["aud"] = []string{"records", "audit"} })
	_, err = v.Verify(forged)
	require.Equal(t, "CALLER_TOKEN_AUDIENCE", errs.ReasonOf(err))
}

// forge signs claims with the authority's own key after a test changed them: what
// remains to refuse is what the verifier demands beyond a good signature.
func forge(t testing.TB, a *callertest.Authority, change func(*jwt.Token, jwt.MapClaims)) string {
	t.Helper()
	return forgeWith(t, a, readKey(t, a.KeyFile), jwt.SigningMethodEdDSA, change)
}

func forgeWith(t testing.TB, a *callertest.Authority, key any, method jwt.SigningMethod, change func(*jwt.Token, jwt.MapClaims)) string {
	t.Helper()
	good := sign(t, a.Signer, callertest.Doctor(records), start)
	cl := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser().ParseUnverified(good, cl)
	require.NoError(t, err)
	token := &jwt.Token{Header: parsed.Header, Claims: cl, Method: method}
	token.Header["alg"] = method.Alg()
	change(token, cl)
	out, err := token.SignedString(key)
	require.NoError(t, err)
	return out
}

func readKey(t testing.TB, path string) ed25519.PrivateKey {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	block, _ := pem.Decode(raw)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key.(ed25519.PrivateKey)
}

func TestForgedTokensAreRefused(t *testing.T) {
	a := callertest.New(t)
	v := newVerifier(t, a, newClock())
	_, err := v.Verify(forge(t, a, func(*jwt.Token, jwt.MapClaims) {}))
	require.NoError(t, err, "an unchanged forgery is a good token, so the cases below fail for their change")

	claim := func(name string, value any) string {
		return forge(t, a, func(_ *jwt.Token, cl jwt.MapClaims) {
			if value == nil {
				delete(cl, name)
			} else {
				cl[name] = value
			}
		})
	}
	header := func(name string, value any) string {
		return forge(t, a, func(tk *jwt.Token, _ jwt.MapClaims) {
			if value == nil {
				delete(tk.Header, name)
			} else {
				tk.Header[name] = value
			}
		})
	}
	good := forge(t, a, func(*jwt.Token, jwt.MapClaims) {})
	parts := strings.Split(good, ".")
	_, foreign, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	none := func(*jwt.Token, jwt.MapClaims) {}
	for name, token := range map[string]string{
		"empty":                         "",
		"no token":                      "a.b.c",
		"too long":                      strings.Repeat("a", 21<<10),
		"space after":                   good + " ",
		"signature cut":                 good[:len(good)-4],
		"signature of other text":       parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"carekeep-auth"}`)) + "." + parts[2],
		"alg none":                      forgeWith(t, a, jwt.UnsafeAllowNoneSignatureType, jwt.SigningMethodNone, none),
		"alg HS256 with the public key": forgeWith(t, a, []byte(a.Signer.Public()), jwt.SigningMethodHS256, none),
		"alg ES256":                     forgeWith(t, a, ec, jwt.SigningMethodES256, none),
		"another key, same kid":         forgeWith(t, a, foreign, jwt.SigningMethodEdDSA, none),
		"kid unknown":                   header("kid", caller.Thumbprint(foreign.Public().(ed25519.PublicKey))),
		"kid missing":                   header("kid", nil),
		"kid no string":                 header("kid", 7),
		"typ of another token":          header("typ", "JWT"),
		"critical extension":            header("crit", []string{"b64"}),
		"issuer":                        claim("iss", "somebody"),
		"issuer missing":                claim("iss", nil),
		"subject missing":               claim("sub", nil),
		"subject nil":                   claim("sub", uuid.Nil.String()),
		"subject upper case":            claim("sub", strings.ToUpper(uuid.Must(uuid.NewV7()).String())),
		"session missing":               claim("sid", nil),
		"practice missing":              claim("practice", nil),
		"practice nil for a doctor":     claim("practice", uuid.Nil.String()),
		"superadmin in a practice":      claim("role", 1),
		"role unknown":                  claim("role", 9),
		"role missing":                  claim("role", nil),
		"assurance missing":             claim("aal", nil),
		"assurance unknown":             claim("aal", 3),
		"purpose unknown":               claim("purpose", 9),
		"username missing":              claim("username", nil),
		"username too long":             claim("username", strings.Repeat("a", 257)),
		"permissions not canonical":     claim("permissions", "AgA"),
		"acts for no id":                claim("acts_for", []string{"x"}),
		"issued missing":                claim("iat", nil),
		"issued in the future":          claim("iat", start.Add(6*time.Second).Unix()),
		"not before missing":            claim("nbf", nil),
		"not before in the future":      claim("nbf", start.Add(time.Second).Unix()),
		"expiry missing":                claim("exp", nil),
		"lives longer than a minute":    claim("exp", start.Add(61*time.Second).Unix()),
	} {
		_, err := v.Verify(token)
		require.Equal(t, "CALLER_TOKEN_INVALID", errs.ReasonOf(err), "%s: %v", name, err)
		require.Equal(t, errs.KindUnauthenticated, errs.KindOf(err), name)
	}
}

func TestKeysRotateWithoutARestart(t *testing.T) {
	a, c := callertest.New(t), newClock()
	v := newVerifier(t, a, c)
	oldToken := sign(t, a.Signer, callertest.Doctor(records), c.now())
	_, err := v.Verify(oldToken)
	require.NoError(t, err)

	path := filepath.Join(t.TempDir(), "next.key")
	callertest.WriteKey(t, path)
	next, err := caller.NewSigner(path)
	require.NoError(t, err)
	newToken := sign(t, next, callertest.Doctor(records), c.now())
	_, err = v.Verify(newToken)
	require.Equal(t, "CALLER_TOKEN_INVALID", errs.ReasonOf(err))

	a.Publish(t, a.Signer.Public(), next.Public())
	_, err = v.Verify(newToken)
	require.Error(t, err, "an unknown key must not cause a read more than once a second")
	c.advance(time.Second)
	for _, token := range []string{oldToken, newToken} {
		_, err = v.Verify(token)
		require.NoError(t, err)
	}

	// The old key goes: a token that is still cached under it must go too.
	a.Publish(t, next.Public())
	c.advance(time.Second)
	_, err = v.Verify(oldToken)
	require.Equal(t, "CALLER_TOKEN_INVALID", errs.ReasonOf(err))
	_, err = v.Verify(newToken)
	require.NoError(t, err)
}

func TestBrokenKeyFileKeepsTheLastKeysAndIsReported(t *testing.T) {
	a, c := callertest.New(t), newClock()
	v := newVerifier(t, a, c)
	require.NoError(t, v.Ready(t.Context()))
	for _, spoil := range []func() error{
		func() error { return os.WriteFile(a.Keys, []byte(`{"keys":[`), 0o600) },
		func() error { return os.Remove(a.Keys) },
	} {
		require.NoError(t, spoil())
		c.advance(time.Second)
		require.Error(t, v.Ready(t.Context()))
		_, err := v.Verify(sign(t, a.Signer, callertest.Doctor(records), c.now()))
		require.NoError(t, err)
	}
	a.Publish(t, a.Signer.Public())
	c.advance(time.Second)
	require.NoError(t, v.Ready(t.Context()))
}

func TestVerifierNeedsAnAudienceAndKeys(t *testing.T) {
	a := callertest.New(t)
	_, err := caller.NewVerifier(a.Keys, 0, nil)
	require.ErrorContains(t, err, "needs the service")
	_, err = caller.NewVerifier(filepath.Join(t.TempDir(), "none"), records, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	x := base64.RawURLEncoding.EncodeToString(a.Signer.Public())
	kid := caller.Thumbprint(a.Signer.Public())
	for name, text := range map[string]string{
		"empty set":     `{"keys":[]}`,
		"unknown field": `{"keys":[],"more":1}`,
		"data after":    `{"keys":[]} {}`,
		"other curve":   `{"keys":[{"kty":"OKP","crv":"X25519","x":"` + x + `","kid":"` + kid + `"}]}`,
		"wrong kid":     `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + x + `","kid":"1"}]}`,
		"short key":     `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"1"}]}`,
		"encryption":    `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","x":"` + x + `","kid":"` + kid + `"}]}`,
	} {
		require.NoError(t, os.WriteFile(a.Keys, []byte(text), 0o600))
		_, err = caller.NewVerifier(a.Keys, records, nil)
		require.Error(t, err, name)
	}
}

func TestSignerRefusesWhatItShouldNotSign(t *testing.T) {
	a := callertest.New(t)
	for name, change := range map[string]func(*caller.Caller){
		"audience": func(c *caller.Caller) { c.Audience = 0 },
		"user":     func(c *caller.Caller) { c.User = uuid.Nil },
		"purpose":  func(c *caller.Caller) { c.Purpose = 9 },
		"utf8":     func(c *caller.Caller) { c.Username = "\xff" },
		"doctors":  func(c *caller.Caller) { c.ActsFor = make([]uuid.UUID, 257) },
	} {
		c := callertest.Doctor(records)
		change(&c)
		_, err := a.Signer.Sign(c, start)
		require.Error(t, err, name)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	require.NoError(t, err)
	for name, raw := range map[string][]byte{
		"no PEM":      []byte("key"),
		"another key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"broken":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
	} {
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		_, err := caller.NewSigner(path)
		require.Error(t, err, name)
	}
}

// RFC 8037, appendix A.3.
func TestThumbprintVector(t *testing.T) {
	x, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	require.NoError(t, err)
	require.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", caller.Thumbprint(x))
}

func TestLargestTokenFitsTheLimits(t *testing.T) {
	a, c := callertest.New(t), newClock()
	big := callertest.Doctor(records)
	big.Role = accessv1.RoleKind_ROLE_KIND_STAFF
	big.Username, big.Template = strings.Repeat("\x01", 256), strings.Repeat("\x01", 64)
	for n := accessv1.Permission(1); n < 512; n++ {
		big.Permissions.Add(n)
	}
	for range 256 {
		big.ActsFor = append(big.ActsFor, uuid.Must(uuid.NewV7()))
	}
	token := sign(t, a.Signer, big, c.now())
	got, err := newVerifier(t, a, c).Verify(token)
	require.NoError(t, err, "%d bytes", len(token))
	require.Equal(t, big.ActsFor, got.ActsFor)
	require.Equal(t, access.NewPermissions(big.Permissions.List()...), got.Permissions)
}

func FuzzVerify(f *testing.F) {
	a := callertest.New(f)
	v := newVerifier(f, a, newClock())
	good := sign(f, a.Signer, callertest.Doctor(records), start)
	f.Add(good)
	f.Add("")
	f.Add("a.b.c")
	f.Add(forge(f, a, func(_ *jwt.Token, cl jwt.MapClaims) { cl["acts_for"] = "x" }))
	f.Fuzz(func(t *testing.T, token string) {
		c, err := v.Verify(token)
		if err == nil && token != good {
			t.Fatalf("took a token that nobody signed: %q as %v", token, c)
		}
		if err != nil && errs.KindOf(err) != errs.KindUnauthenticated {
			t.Fatalf("%q: %v", token, err)
		}
	})
}

func BenchmarkVerifyCached(b *testing.B) {
	a := callertest.New(b)
	v := newVerifier(b, a, newClock())
	token := sign(b, a.Signer, callertest.Doctor(records), start)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(token); err != nil {
			b.Fatal(err)
		}
	}
}
