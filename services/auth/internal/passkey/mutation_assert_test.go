package passkey_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/descope/virtualwebauthn"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// mutation is a change of a good answer and the stage that has to refuse it.
type mutation struct {
	name   string
	change func(*forgery)
	stage  string
}

const (
	malformed = "PASSKEY_MALFORMED"
	unknown   = "PASSKEY_UNKNOWN"
	wrong     = "PASSKEY_WRONG"
	stolen    = "PASSKEY_TAKEN"
)

// clientDataMutations break the client data of either kind of answer (WebAuthn L3 section 5.8.1).
func clientDataMutations() []mutation {
	zeros := encode(make([]byte, 32))
	return []mutation{
		{"wrong challenge", said("challenge", zeros), wrong},
		{"no challenge", unsaid("challenge"), wrong},
		{"empty challenge", said("challenge", ""), wrong},
		{"challenge with padding", func(f *forgery) { f.client["challenge"] = f.client["challenge"].(string) + "=" }, wrong},
		{"challenge cut short", func(f *forgery) { f.client["challenge"] = f.client["challenge"].(string)[:42] }, wrong},
		{"another site's origin", said("origin", "https://care.example.com"), wrong},
		{"origin of a subdomain", said("origin", "https://evil.care.example.org"), wrong},
		{"origin of the domain above", said("origin", "https://example.org"), wrong},
		{"origin without TLS", said("origin", "http://care.example.org"), wrong},
		{"origin with a port", said("origin", "https://care.example.org:8443"), wrong},
		{"origin with the default port", said("origin", "https://care.example.org:443"), wrong},
		{"origin with a path", said("origin", "https://care.example.org/evil"), wrong},
		{"origin with a user", said("origin", "https://evil@care.example.org"), wrong},
		{"origin in capitals", said("origin", "https://CARE.example.org"), wrong},
		{"origin of an app", said("origin", "android:apk-key-hash:"+zeros), wrong},
		{"no origin", unsaid("origin"), wrong},
		{"null origin", said("origin", "null"), wrong},
		{"in a frame of another site", said("crossOrigin", true), wrong},
		{"in a frame of a named site", func(f *forgery) { f.client["crossOrigin"], f.client["topOrigin"] = true, "https://evil.example" }, wrong},
		{"in a frame of this site", func(f *forgery) { f.client["crossOrigin"], f.client["topOrigin"] = true, origin }, wrong},
		{"top origin alone", said("topOrigin", origin), wrong},
		{"no type", unsaid("type"), wrong},
		{"unknown type", said("type", "webauthn.set"), wrong},
		{"token binding of no status", said("tokenBinding", map[string]any{"status": ""}), wrong},
		{"token binding of unknown status", said("tokenBinding", map[string]any{"status": "evil"}), wrong},

		{"type that is no text", said("type", 1), malformed},
		{"client data that is no JSON", textual(func(string) string { return "evil" }), malformed},
		{"empty client data", textual(func(string) string { return "" }), malformed},
		{"client data with a tail", textual(func(s string) string { return s + "{}" }), malformed},
		{"origin named twice", textual(func(s string) string { return `{"origin":"https://evil.example",` + s[1:] }), malformed},
		{"origin named again in capitals", textual(func(s string) string { return `{"ORIGIN":"https://evil.example",` + s[1:] }), malformed},
		{"origin named again with an escape", textual(func(s string) string { return `{"\u006frigin":"https://evil.example",` + s[1:] }), malformed},
		{"members only in capitals", textual(func(s string) string { return strings.Replace(s, `"origin"`, `"ORIGIN"`, 1) }), malformed},
	}
}

// flagMutations break the flags and the scope of either kind of answer (WebAuthn L3 section 6.1).
func flagMutations() []mutation {
	return []mutation{
		{"another site's RP id", func(f *forgery) { f.rpID = "care.example.com" }, wrong},
		{"RP id of a subdomain", func(f *forgery) { f.rpID = "evil.care.example.org" }, wrong},
		{"RP id of the domain above", func(f *forgery) { f.rpID = "example.org" }, wrong},
		{"user not present", flagged(0, present), wrong},
		{"user not verified", flagged(0, verified), wrong},
		{"neither present nor verified", flagged(0, present|verified), wrong},
		{"backed up and not eligible", flagged(backedUp, 0), wrong},
	}
}

// messageMutations break what stands around the response.
func messageMutations() []mutation {
	return []mutation{
		{"no id", outside(map[string]any{"id": ""}), malformed},
		{"no rawId", outside(map[string]any{"rawId": ""}), malformed},
		{"id and rawId differ", outside(map[string]any{"rawId": encode(make([]byte, 32))}), malformed},
		{"id with padding", outside(map[string]any{"id": "AAAA="}), malformed},
		{"type that is not public-key", outside(map[string]any{"type": "password"}), malformed},
		{"no type of credential", outside(map[string]any{"type": nil}), malformed},
		{"no response", outside(map[string]any{"response": nil}), malformed},
		{"response that is a list", outside(map[string]any{"response": []any{}}), malformed},
		{"response named again in capitals", outside(map[string]any{"RESPONSE": map[string]any{}}), malformed},
		{"rawId with padding", func(f *forgery) {
			f.outer = func(answer, _ map[string]any) { answer["rawId"] = answer["rawId"].(string) + "=" }
		}, malformed},
		{"too large", outside(map[string]any{"evil": strings.Repeat("x", 32<<10)}), malformed},
		{"client data with padding", written("clientDataJSON", func(s string) string { return s + "=" }), malformed},
		{"client data with a line break", written("clientDataJSON", func(s string) string { return s[:8] + "\n" + s[8:] }), malformed},
		{"client data in the other alphabet", written("clientDataJSON", func(s string) string { return s + "+/+/" }), malformed},
		{"no client data", written("clientDataJSON", func(string) string { return "" }), malformed},
	}
}

// assertionMutations break what only an assertion has (WebAuthn L3 section 7.2). What
// is changed before signing is signed; the signature is good but where it is the point.
func assertionMutations(other *phone) []mutation {
	shorter := func(n int) func(*forgery) {
		return func(f *forgery) { f.data = func(data []byte) []byte { return data[:n] } }
	}
	return []mutation{
		{"made for a registration", said("type", "webauthn.create"), wrong},
		{"now eligible for backup", flagged(eligible, 0), wrong},
		{"now eligible for backup and backed up", flagged(eligible|backedUp, 0), wrong},

		{"another key's signature", func(f *forgery) { f.key = newPhone().credential.Key }, wrong},
		{"a key of another kind", func(f *forgery) { f.key = virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeRSA).Key }, wrong},
		{"signature altered", written("signature", altered(8)), wrong},
		{"signature cut short", written("signature", func(s string) string { raw := decode(s); return encode(raw[:len(raw)-1]) }), wrong},
		{"signature with a tail", written("signature", func(s string) string { return encode(append(decode(s), 0)) }), wrong},
		{"no signature", written("signature", func(string) string { return "" }), wrong},
		{"authenticator data changed after signing", written("authenticatorData", altered(36)), wrong},
		{"client data changed after signing", written("clientDataJSON", func(s string) string { return encode([]byte(string(decode(s)) + " ")) }), wrong},
		{"signature with padding", written("signature", func(s string) string { return s + "=" }), malformed},

		{"no authenticator data", shorter(0), malformed},
		{"authenticator data of 36 bytes", shorter(36), malformed},
		{"authenticator data with a tail", tailed(0), malformed},
		{"authenticator data with a CBOR tail and no flag for it", tailed(0xa0), malformed},
		{"extensions promised and missing", flagged(extensions, 0), malformed},
		{"extensions that are no map", func(f *forgery) { flagged(extensions, 0)(f); tailed(0x01)(f) }, malformed},
		{"extensions with a tail", func(f *forgery) { flagged(extensions, 0)(f); tailed(0xa0, 0xa0)(f) }, malformed},
		{"extensions that name one twice", func(f *forgery) {
			flagged(extensions, 0)(f)
			tailed(0xa2, 0x61, 'a', 1, 0x61, 'a', 2)(f)
		}, malformed},
		{"attested data promised and missing", flagged(attested, 0), malformed},

		{"credential that nobody has", func(f *forgery) { f.id = newPhone().credential.ID }, unknown},
		{"credential id of 1024 bytes", func(f *forgery) { f.id = make([]byte, 1024) }, malformed},
		{"user handle of another user", func(f *forgery) { f.handle = other.Options.UserHandle }, wrong},
		{"user handle that is the sign-in name", func(f *forgery) { f.handle = []byte("dr.smith") }, wrong},
		{"user handle cut short", func(f *forgery) { f.handle = f.handle[:32] }, wrong},
		{"user handle with padding", written("userHandle", func(s string) string { return s + "==" }), malformed},
		{"user handle that is no text", func(f *forgery) {
			f.outer = func(_, response map[string]any) { response["userHandle"] = 1 }
		}, malformed},
	}
}

// signInMutations are wrong only where nobody said before who answers.
func signInMutations(other *phone) []mutation {
	return []mutation{
		{"no user handle", func(f *forgery) { f.handle = nil }, wrong},
		{"empty user handle", func(f *forgery) { f.handle = []byte{} }, wrong},
		{"another user's credential with the own key and handle", func(f *forgery) { f.id = other.credential.ID }, wrong},
		{"another user's credential and handle with the own key", func(f *forgery) {
			f.id, f.handle = other.credential.ID, other.Options.UserHandle
		}, wrong},
	}
}

// stepUpMutations are wrong only where the session says who must answer.
func stepUpMutations(other *phone) []mutation {
	return []mutation{
		{"another user's passkey", func(f *forgery) {
			f.id, f.key, f.handle = other.credential.ID, other.credential.Key, other.Options.UserHandle
		}, unknown},
		{"another user's passkey without a handle", func(f *forgery) {
			f.id, f.key, f.handle = other.credential.ID, other.credential.Key, nil
		}, unknown},
	}
}

func altered(at int) func(string) string {
	return func(s string) string {
		raw := decode(s)
		raw[at] ^= 1
		return encode(raw)
	}
}

func decode(s string) []byte {
	raw, _ := base64.RawURLEncoding.DecodeString(s)
	return raw
}

func good(*forgery) {}

// Each row is a good assertion with one thing changed. All get one and the same
// answer, use their challenge up and leave nothing behind.
func TestDH26_EveryMutationOfAnAssertionIsRefused(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	common := slices.Concat(clientDataMutations(), flagMutations(), messageMutations(), assertionMutations(c.other))
	for _, way := range []struct {
		name   string
		begin  func() begun
		finish func(string, []byte) error
		rows   []mutation
	}{
		{"sign-in", c.beginSignIn, c.finishSignIn, slices.Concat(common, signInMutations(c.other))},
		{"step-up", c.beginStepUp, c.finishStepUp, slices.Concat(common, stepUpMutations(c.other))},
	} {
		pass := func(t *testing.T) {
			t.Helper()
			ceremony := way.begin()
			c.phone.credential.Counter++
			require.NoError(t, way.finish(ceremony.id, c.phone.assertion(t, ceremony.options, good)))
		}
		pass(t)
		for _, row := range way.rows {
			t.Run(way.name+"/"+row.name, func(t *testing.T) {
				ceremony, before := way.begin(), c.kept()
				c.phone.credential.Counter++
				err := way.finish(ceremony.id, c.phone.assertion(t, ceremony.options, row.change))
				c.refused(t, err, accessv1.Action_ACTION_SIGN_IN, row.stage, before)
				err = way.finish(ceremony.id, c.phone.assertion(t, ceremony.options, good))
				c.refused(t, err, accessv1.Action_ACTION_SIGN_IN, "CEREMONY_UNKNOWN", before)
			})
		}
		pass(t)
	}
}

// What WebAuthn lets browsers and authenticators add changes nothing.
func TestDH26_AnAssertionMayCarryWhatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	for _, row := range []mutation{
		{"no crossOrigin", unsaid("crossOrigin"), ""},
		{"members of the future", said("new_keys_may_be_added_here", "do not compare clientDataJSON against a template"), ""},
		{"members with members", said("future", map[string]any{"origin": "https://evil.example"}), ""},
		{"token binding that browsers had", said("tokenBinding", map[string]any{"status": "supported"}), ""},
		{"client data with spaces", textual(func(s string) string { return " " + s + "\n" }), ""},
		{"outputs of extensions", outside(map[string]any{"clientExtensionResults": map[string]any{"credProps": map[string]any{"rk": true}}}), ""},
		{"an attachment and more", outside(map[string]any{"authenticatorAttachment": "platform", "future": 1}), ""},
		{"signed extensions", func(f *forgery) { flagged(extensions, 0)(f); tailed(0xa0)(f) }, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			ceremony := c.beginSignIn()
			c.phone.credential.Counter++
			require.NoError(t, c.finishSignIn(ceremony.id, c.phone.assertion(t, ceremony.options, row.change)))
		})
	}
	ceremony := c.beginStepUp()
	c.phone.credential.Counter++
	require.NoError(t, c.finishStepUp(ceremony.id, c.phone.assertion(t, ceremony.options, func(f *forgery) { f.handle = nil })),
		"the session says who answers")
}
