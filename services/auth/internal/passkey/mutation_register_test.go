package passkey_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

// keyed puts another public key in. Nothing signs then: format none proves nothing of a
// key, so that the key itself is what is left to look at.
func keyed(members map[int]any) func(*forgery) {
	return func(f *forgery) {
		f.format = "none"
		f.cose, _ = webauthncbor.Marshal(members)
	}
}

// ec is a good point of a curve.
func ec(curve elliptic.Curve) (x, y []byte) {
	key, _ := ecdsa.GenerateKey(curve, rand.Reader)
	point, _ := key.PublicKey.Bytes()
	size := len(point) / 2
	return point[1 : 1+size], point[1+size:]
}

func modulus(bits int) []byte {
	raw := bytes.Repeat([]byte{0xff}, bits/8)
	if bits == 2048 {
		key, _ := rsa.GenerateKey(rand.Reader, bits)
		raw = key.N.Bytes()
	}
	return raw
}

// registrationMutations break what only a registration has (WebAuthn L3 section 7.1).
func registrationMutations(t testing.TB, own, other *phone) []mutation {
	x, y := ec(elliptic.P256())
	wideX, wideY := ec(elliptic.P384())
	object := func(change func([]byte) []byte) func(*forgery) { return func(f *forgery) { f.object = change } }
	// remade is an attestation object with one member changed, its authenticator data signed.
	remade := func(change func(map[string]any)) func(*forgery) {
		return object(func(raw []byte) []byte {
			members := map[string]any{}
			require.NoError(t, webauthncbor.Unmarshal(raw, &members))
			change(members)
			raw, err := webauthncbor.Marshal(members)
			require.NoError(t, err)
			return raw
		})
	}
	return []mutation{
		{"made for a sign-in", said("type", "webauthn.get"), wrong},

		{"algorithm that was not offered", keyed(map[int]any{1: 2, 3: -35, -1: 2, -2: wideX, -3: wideY}), wrong},
		{"unknown algorithm", keyed(map[int]any{1: 2, 3: -65000, -1: 1, -2: x, -3: y}), wrong},
		{"RSA with SHA-1", keyed(map[int]any{1: 3, 3: -65535, -1: modulus(2048), -2: []byte{1, 0, 1}}), wrong},
		{"no algorithm", keyed(map[int]any{1: 2, -1: 1, -2: x, -3: y}), wrong},
		{"unknown kind of key", keyed(map[int]any{1: 9, 3: -7, -1: 1, -2: x, -3: y}), wrong},
		{"symmetric key", keyed(map[int]any{1: 4, 3: -7, -1: x}), wrong},
		{"point on no curve", keyed(map[int]any{1: 2, 3: -7, -1: 1, -2: x, -3: x}), wrong},
		{"point that is zero", keyed(map[int]any{1: 2, 3: -7, -1: 1, -2: make([]byte, 32), -3: make([]byte, 32)}), wrong},
		{"point on another curve", keyed(map[int]any{1: 2, 3: -7, -1: 2, -2: wideX, -3: wideY}), wrong},
		{"curve that contradicts the point", keyed(map[int]any{1: 2, 3: -7, -1: 2, -2: x, -3: y}), wrong},
		{"point cut short", keyed(map[int]any{1: 2, 3: -7, -1: 1, -2: x[:31], -3: y}), wrong},
		{"point without y", keyed(map[int]any{1: 2, 3: -7, -1: 1, -2: x}), wrong},
		{"Edwards key cut short", keyed(map[int]any{1: 1, 3: -8, -1: 6, -2: x[:31]}), wrong},
		{"Edwards key on another curve", keyed(map[int]any{1: 1, 3: -8, -1: 4, -2: x}), wrong},
		{"short RSA key", keyed(map[int]any{1: 3, 3: -257, -1: modulus(1024), -2: []byte{1, 0, 1}}), wrong},
		{"RSA key without exponent", keyed(map[int]any{1: 3, 3: -257, -1: modulus(2048), -2: []byte{}}), wrong},
		{"RSA key that says it is a point", keyed(map[int]any{1: 3, 3: -7, -1: modulus(2048), -2: []byte{1, 0, 1}}), wrong},
		{"key of more than 2048 bytes", keyed(map[int]any{1: 3, 3: -257, -1: modulus(8 * 2048), -2: []byte{1, 0, 1}}), wrong},
		{"no key", func(f *forgery) { f.format, f.cose = "none", nil }, wrong},
		{"key that is no CBOR", func(f *forgery) { f.format, f.cose = "none", []byte{0xff, 0xff} }, wrong},

		{"another key's signature", func(f *forgery) { f.key = newPhone().credential.Key }, wrong},
		{"authenticator data changed after signing", remade(func(m map[string]any) { m["authData"].([]byte)[36] ^= 1 }), wrong},
		{"signature altered", remade(func(m map[string]any) { m["attStmt"].(map[any]any)["sig"].([]byte)[8] ^= 1 }), wrong},
		{"no signature", remade(func(m map[string]any) { delete(m["attStmt"].(map[any]any), "sig") }), wrong},
		{"statement of another algorithm", remade(func(m map[string]any) { m["attStmt"].(map[any]any)["alg"] = -257 }), wrong},
		{"statement of an empty chain", remade(func(m map[string]any) { m["attStmt"].(map[any]any)["x5c"] = []any{} }), wrong},
		{"statement where the format has none", remade(func(m map[string]any) { m["fmt"] = "none" }), wrong},
		{"unknown format", remade(func(m map[string]any) { m["fmt"] = "evil" }), wrong},
		{"format in capitals", remade(func(m map[string]any) { m["fmt"] = "PACKED" }), wrong},
		{"format of another authenticator", remade(func(m map[string]any) { m["fmt"] = "fido-u2f" }), wrong},
		{"no format", remade(func(m map[string]any) { delete(m, "fmt") }), wrong},
		{"no authenticator data in the object", remade(func(m map[string]any) { delete(m, "authData") }), wrong},
		{"object with a tail", object(func(raw []byte) []byte { return append(raw, 0) }), wrong},
		{"object with another object behind it", object(func(raw []byte) []byte { return append(raw, 0xa0) }), wrong},
		{"object cut short", object(func(raw []byte) []byte { return raw[:len(raw)-1] }), wrong},
		{"object of no bytes", object(func([]byte) []byte { return nil }), wrong},
		{"object that is a list", object(func([]byte) []byte { return []byte{0x80} }), wrong},
		{"object of open length", object(func(raw []byte) []byte { return append(append([]byte{0xbf}, raw[1:]...), 0xff) }), wrong},
		{"object that names a member twice", object(func(raw []byte) []byte {
			return append(append([]byte{raw[0] + 1}, raw[1:]...), 0x63, 'f', 'm', 't', 0x64, 'n', 'o', 'n', 'e')
		}), wrong},
		{"object nested deep", object(func([]byte) []byte { return bytes.Repeat([]byte{0x81}, 10_000) }), wrong},
		{"object with padding", written("attestationObject", func(s string) string { return s + "=" }), wrong},

		{"no attested data", flagged(0, attested), wrong},
		{"attested data cut short", func(f *forgery) { f.data = func(data []byte) []byte { return data[:len(data)-1] } }, wrong},
		{"attested data that ends in the id", func(f *forgery) { f.data = func(data []byte) []byte { return data[:60] } }, wrong},
		{"authenticator data with a tail", tailed(0), wrong},
		{"authenticator data with a CBOR tail and no flag for it", tailed(0xa0), wrong},
		{"extensions promised and missing", flagged(extensions, 0), wrong},
		{"extensions with a tail", func(f *forgery) { flagged(extensions, 0)(f); tailed(0xa0, 0xa0)(f) }, wrong},

		{"id of no bytes", func(f *forgery) { f.id = nil }, wrong},
		{"id of 1024 bytes", func(f *forgery) { f.id = bytes.Repeat([]byte{7}, 1024) }, wrong},
		{"id that is not the attested one", outside(map[string]any{"id": encode(make([]byte, 32)), "rawId": encode(make([]byte, 32))}), wrong},
		{"id longer than what follows", func(f *forgery) {
			f.data = func(data []byte) []byte { data[53] = 3; return data }
		}, wrong},

		{"credential that another user has", func(f *forgery) { f.id = other.credential.ID }, stolen},
		{"the very passkey that another user has", func(f *forgery) {
			f.id, f.key, f.cose = other.credential.ID, other.credential.Key, other.credential.Key.AttestationData()
		}, stolen},
		{"credential that the user has", func(f *forgery) { f.id = own.credential.ID }, stolen},
	}
}

// Each row is a good registration with one thing changed, by a user who may register.
func TestDH26_EveryMutationOfARegistrationIsRefused(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	for _, row := range slices.Concat(clientDataMutations(), flagMutations(), messageMutations(), registrationMutations(t, c.phone, c.other)) {
		t.Run(row.name, func(t *testing.T) {
			stage := row.stage
			if stage == malformed {
				stage = wrong // a registration is read and verified in one
			}
			ceremony, before, fresh := c.beginRegistration(), c.kept(), newPhone()
			err := c.finishRegistration(ceremony.id, fresh.attestation(t, ceremony.options, row.change))
			c.refused(t, err, accessv1.Action_ACTION_FACTOR_CHANGE, stage, before)
			err = c.finishRegistration(ceremony.id, fresh.attestation(t, ceremony.options, good))
			c.refused(t, err, accessv1.Action_ACTION_FACTOR_CHANGE, "CEREMONY_UNKNOWN", before)
		})
	}
	ceremony := c.beginRegistration()
	require.NoError(t, c.finishRegistration(ceremony.id, newPhone().attestation(t, ceremony.options, good)))
}

// The good neighbours of what is refused: every algorithm that is offered, the longest id, no attestation.
func TestDH26_ARegistrationMayBeOfAnyKindThatIsOffered(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	x, y := ec(elliptic.P256())
	for _, row := range []mutation{
		{"no attestation", func(f *forgery) { f.format = "none" }, ""},
		{"P-256", keyed(map[int]any{1: 2, 3: -7, -1: 1, -2: x, -3: y}), ""},
		{"Ed25519", keyed(map[int]any{1: 1, 3: -8, -1: 6, -2: x}), ""},
		{"RSA", keyed(map[int]any{1: 3, 3: -257, -1: modulus(2048), -2: []byte{1, 0, 1}}), ""},
		{"id of 1023 bytes", func(f *forgery) { f.id = bytes.Repeat([]byte{7}, 1023) }, ""},
		{"eligible for backup", flagged(eligible, 0), ""},
		{"eligible and backed up", flagged(eligible|backedUp, 0), ""},
		{"signed extensions", func(f *forgery) { flagged(extensions, 0)(f); tailed(0xa0)(f) }, ""},
		{"outputs of extensions", outside(map[string]any{"clientExtensionResults": map[string]any{"credProps": map[string]any{"rk": true}}}), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			ceremony := c.beginRegistration()
			require.NoError(t, c.finishRegistration(ceremony.id, newPhone().attestation(t, ceremony.options, row.change)))
		})
	}
	ceremony := c.beginRegistration()
	require.NoError(t, c.finishRegistration(ceremony.id, newPhone().attestation(t, ceremony.options, func(f *forgery) {
		f.outer = func(_, response map[string]any) { response["transports"] = []any{"usb", "evil", "usb", "nfc"} }
	})))
	list, err := c.ListPasskeys(c.smith.Context(), &authv1.ListPasskeysRequest{})
	require.NoError(t, err)
	passkeys := list.GetPasskeys()
	require.Equal(t, []string{"usb", "nfc"}, passkeys[len(passkeys)-1].GetTransports(), "known words, once each")
}
