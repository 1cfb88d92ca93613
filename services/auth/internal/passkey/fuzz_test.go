package passkey_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"slices"
	"testing"

	"github.com/descope/virtualwebauthn"
	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/auth/internal/passkey"
)

// The ceremony of the fuzz targets. It is the same in every process, as fuzzing runs in several.
var (
	fuzzChallenge = bytes.Repeat([]byte{0xc5}, passkey.ChallengeBytes)
	fuzzHandle    = bytes.Repeat([]byte{0x5c}, 64)
)

// fuzzPhone is an authenticator that is the same in every process.
func fuzzPhone(t testing.TB, seed string) *phone {
	t.Helper()
	scalar := sha256.Sum256([]byte(seed))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	p := &phone{credential: virtualwebauthn.NewCredentialWithImportedKey(virtualwebauthn.KeyTypeEC2, raw)}
	p.credential.ID, p.credential.Counter, p.Options.UserHandle = scalar[:], 7, fuzzHandle
	require.Len(t, p.credential.Key.AttestationData(), fullKey)
	return p
}

func fuzzParty(t testing.TB) *passkey.RelyingParty {
	t.Helper()
	party, err := passkey.NewRelyingParty(passkey.Config{RPID: site.ID, RPName: site.Name, Origins: []string{origin}})
	require.NoError(t, err)
	return party
}

func fuzzOptions(t testing.TB) []byte {
	t.Helper()
	options, err := json.Marshal(map[string]string{"challenge": encode(fuzzChallenge)})
	require.NoError(t, err)
	return options
}

// parts are the members of an answer's response, read with nothing but encoding/json.
type parts struct{ client, data, signature, handle, object []byte }

func taken(t testing.TB, answer []byte) parts {
	t.Helper()
	var message struct {
		Response struct{ ClientDataJSON, AuthenticatorData, Signature, UserHandle, AttestationObject string }
	}
	require.NoError(t, json.Unmarshal(answer, &message))
	r := message.Response
	return parts{decode(r.ClientDataJSON), decode(r.AuthenticatorData), decode(r.Signature), decode(r.UserHandle), decode(r.AttestationObject)}
}

// requireClient: the client data are of this ceremony, on the right page.
func requireClient(t testing.TB, raw []byte, kind string) {
	t.Helper()
	var said map[string]any
	require.NoError(t, json.Unmarshal(raw, &said))
	require.Equal(t, kind, said["type"])
	require.Equal(t, encode(fuzzChallenge), said["challenge"])
	require.Equal(t, origin, said["origin"])
	require.NotEqual(t, true, said["crossOrigin"])
	require.Empty(t, said["topOrigin"])
}

// requireData: the authenticator data are of this site, with its user present and verified.
func requireData(t testing.TB, data []byte) {
	t.Helper()
	hash := sha256.Sum256([]byte(site.ID))
	require.GreaterOrEqual(t, len(data), 37)
	require.Equal(t, hash[:], data[:32])
	require.EqualValues(t, present|verified, data[32]&(present|verified))
	require.False(t, data[32]&backedUp != 0 && data[32]&eligible == 0)
}

// FuzzAssertion: nothing panics, and what is accepted is what the authenticator signed for
// this ceremony.
func FuzzAssertion(f *testing.F) {
	party, own, other := fuzzParty(f), fuzzPhone(f, "own"), fuzzPhone(f, "other")
	key := passkey.Key{ID: own.credential.ID, PublicKey: own.credential.Key.AttestationData(), Handle: fuzzHandle}
	options := fuzzOptions(f)
	verify := func(answer []byte) (passkey.Use, error) {
		read, err := passkey.Read(answer)
		if err != nil {
			return passkey.Use{}, err
		}
		return party.Verify(read, fuzzChallenge, key, true)
	}
	untouched := own.assertion(f, options, good)
	_, err := verify(untouched)
	require.NoError(f, err)
	f.Add(untouched)
	other.Options.UserHandle = bytes.Repeat([]byte{1}, 64)
	for _, row := range slices.Concat(clientDataMutations(), flagMutations(), messageMutations(), assertionMutations(other), signInMutations(other)) {
		seed := own.assertion(f, options, row.change)
		_, err := verify(seed)
		require.Error(f, err, row.name)
		f.Add(seed)
	}
	private, err := x509.ParsePKCS8PrivateKey(own.credential.Key.Data)
	require.NoError(f, err)
	public := &private.(*ecdsa.PrivateKey).PublicKey
	signed := taken(f, untouched)
	f.Fuzz(func(t *testing.T, answer []byte) {
		use, err := verify(answer)
		if err != nil {
			return
		}
		got := taken(t, answer)
		requireClient(t, got.client, "webauthn.get")
		requireData(t, got.data)
		require.Equal(t, fuzzHandle, got.handle)
		require.Equal(t, signed.client, got.client)
		require.Equal(t, signed.data, got.data)
		hash := sha256.Sum256(got.client)
		digest := sha256.Sum256(slices.Concat(got.data, hash[:]))
		require.True(t, ecdsa.VerifyASN1(public, digest[:], got.signature))
		require.Equal(t, passkey.Use{SignCount: 7}, use)
	})
}

// FuzzRegistration: nothing panics, and what is accepted is of this ceremony, with a key
// that can be used. Where the authenticator attested, it is what it signed; without an
// attestation nobody vouches for the key (WebAuthn L3 section 8.7).
func FuzzRegistration(f *testing.F) {
	party, own, other := fuzzParty(f), fuzzPhone(f, "own"), fuzzPhone(f, "other")
	options := fuzzOptions(f)
	untouched := own.attestation(f, options, good)
	_, err := party.Register(fuzzChallenge, fuzzHandle, untouched)
	require.NoError(f, err)
	f.Add(untouched)
	f.Add(own.attestation(f, options, func(f *forgery) { f.format = "none" }))
	for _, row := range slices.Concat(clientDataMutations(), flagMutations(), messageMutations(), registrationMutations(f, own, other)) {
		seed := own.attestation(f, options, row.change)
		if row.stage != stolen {
			_, err := party.Register(fuzzChallenge, fuzzHandle, seed)
			require.Error(f, err, row.name)
			f.Add(seed)
		}
	}
	type object struct {
		Format    string                  `cbor:"fmt"`
		Data      []byte                  `cbor:"authData"`
		Statement webauthncbor.RawMessage `cbor:"attStmt"`
	}
	var signed object
	require.NoError(f, webauthncbor.Unmarshal(taken(f, untouched).object, &signed))
	f.Fuzz(func(t *testing.T, answer []byte) {
		made, err := party.Register(fuzzChallenge, fuzzHandle, answer)
		if err != nil {
			return
		}
		got := taken(t, answer)
		requireClient(t, got.client, "webauthn.create")
		var attestation object
		require.NoError(t, webauthncbor.Unmarshal(got.object, &attestation))
		requireData(t, attestation.Data)
		require.NotEmpty(t, made.ID)
		require.LessOrEqual(t, len(made.ID), 1023)
		require.Equal(t, made.ID, attestation.Data[55:55+len(made.ID)])
		requireKey(t, made.PublicKey)
		if attestation.Format != "none" {
			require.Equal(t, signed.Format, attestation.Format)
			require.Equal(t, signed.Data, attestation.Data)
		}
	})
}

// requireKey: the key is of a kind that was offered, and on its curve.
func requireKey(t testing.TB, raw []byte) {
	t.Helper()
	members := map[int]any{}
	require.NoError(t, webauthncbor.Unmarshal(raw, &members))
	x, _ := members[-2].([]byte)
	y, _ := members[-3].([]byte)
	switch members[3] {
	case int64(-7):
		_, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		require.NoError(t, err)
	case int64(-8):
		require.Len(t, x, 32)
	case int64(-257):
		require.GreaterOrEqual(t, len(bytes.TrimLeft(members[-1].([]byte), "\x00")), 256)
	default:
		t.Fatalf("algorithm %v was not offered", members[3])
	}
}
