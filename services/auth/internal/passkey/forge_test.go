package passkey_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/descope/virtualwebauthn"
	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
	"github.com/stretchr/testify/require"
)

// The flags of authenticator data (WebAuthn L3 section 6.1).
const (
	present    = 1 << 0
	verified   = 1 << 2
	eligible   = 1 << 3
	backedUp   = 1 << 4
	attested   = 1 << 6
	extensions = 1 << 7
)

// forgery is a good answer in its parts. A test changes one of them and all others
// follow, the signature too, so that nothing but the changed part is wrong.
type forgery struct {
	client  map[string]any
	text    func([]byte) []byte // what becomes of the client data once it is JSON
	rpID    string
	flags   byte
	counter uint32
	id      []byte
	data    func([]byte) []byte // what becomes of the authenticator data
	key     *virtualwebauthn.Key
	outer   func(answer, response map[string]any) // what becomes of the message

	handle []byte // of an assertion

	// Of a registration.
	cose   []byte
	format string
	object func([]byte) []byte // what becomes of the attestation object
}

func (p *phone) forge(t testing.TB, kind string, options []byte) *forgery {
	t.Helper()
	var asked struct {
		Challenge string `json:"challenge"`
	}
	require.NoError(t, json.Unmarshal(options, &asked))
	return &forgery{
		client: map[string]any{"type": kind, "challenge": asked.Challenge, "origin": origin, "crossOrigin": false},
		rpID:   site.ID, flags: present | verified, counter: p.credential.Counter, id: p.credential.ID, key: p.credential.Key,
		handle: p.Options.UserHandle, cose: p.credential.Key.AttestationData(), format: "packed",
	}
}

// assertion answers a sign-in or a step-up.
func (p *phone) assertion(t testing.TB, options []byte, change func(*forgery)) []byte {
	t.Helper()
	f := p.forge(t, "webauthn.get", options)
	change(f)
	client, data := f.clientData(t), f.apply(f.authenticatorData())
	response := map[string]any{
		"clientDataJSON": encode(client), "authenticatorData": encode(data), "signature": encode(f.sign(t, data, client)),
	}
	if f.handle != nil {
		response["userHandle"] = encode(f.handle)
	}
	return f.message(t, response)
}

// attestation answers a registration.
func (p *phone) attestation(t testing.TB, options []byte, change func(*forgery)) []byte {
	t.Helper()
	f := p.forge(t, "webauthn.create", options)
	f.flags |= attested
	change(f)
	client, data := f.clientData(t), f.authenticatorData()
	if f.flags&attested != 0 {
		data = binary.BigEndian.AppendUint16(append(data, p.Aaguid[:]...), uint16(len(f.id))) //nolint:gosec // far shorter
		data = slices.Concat(data, f.id, f.cose)
	}
	data = f.apply(data)
	statement := map[string]any{}
	if f.format != "none" {
		statement = map[string]any{"alg": -7, "sig": f.sign(t, data, client)}
	}
	object, err := webauthncbor.Marshal(map[string]any{"fmt": f.format, "attStmt": statement, "authData": data})
	require.NoError(t, err)
	if f.object != nil {
		object = f.object(object)
	}
	return f.message(t, map[string]any{"clientDataJSON": encode(client), "attestationObject": encode(object)})
}

func (f *forgery) clientData(t testing.TB) []byte {
	t.Helper()
	raw, err := json.Marshal(f.client)
	require.NoError(t, err)
	if f.text != nil {
		raw = f.text(raw)
	}
	return raw
}

func (f *forgery) authenticatorData() []byte {
	hash := sha256.Sum256([]byte(f.rpID))
	return binary.BigEndian.AppendUint32(append(hash[:], f.flags), f.counter)
}

func (f *forgery) apply(data []byte) []byte {
	if f.data == nil {
		return data
	}
	return f.data(data)
}

func (f *forgery) sign(t testing.TB, data, client []byte) []byte {
	t.Helper()
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(slices.Concat(data, hash[:]))
	signature, err := f.key.Sign(digest[:])
	require.NoError(t, err)
	return signature
}

func (f *forgery) message(t testing.TB, response map[string]any) []byte {
	t.Helper()
	answer := map[string]any{"type": "public-key", "id": encode(f.id), "rawId": encode(f.id), "response": response}
	if f.outer != nil {
		f.outer(answer, response)
	}
	raw, err := json.Marshal(answer)
	require.NoError(t, err)
	return raw
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// said is a change of one member of the client data.
func said(member string, value any) func(*forgery) {
	return func(f *forgery) { f.client[member] = value }
}

// unsaid takes a member out of the client data.
func unsaid(member string) func(*forgery) {
	return func(f *forgery) { delete(f.client, member) }
}

// flagged sets some flags of the authenticator data and clears others.
func flagged(set, clear byte) func(*forgery) {
	return func(f *forgery) { f.flags = f.flags&^clear | set }
}

// tailed puts bytes after the authenticator data.
func tailed(tail ...byte) func(*forgery) {
	return func(f *forgery) { f.data = func(data []byte) []byte { return append(data, tail...) } }
}

// written changes a string of the response after everything was signed.
func written(member string, change func(string) string) func(*forgery) {
	return func(f *forgery) {
		f.outer = func(_, response map[string]any) { response[member] = change(response[member].(string)) }
	}
}

// outside sets members of the message around the response.
func outside(members map[string]any) func(*forgery) {
	return func(f *forgery) { f.outer = func(answer, _ map[string]any) { maps.Copy(answer, members) } }
}

// textual changes the client data's JSON before it is signed.
func textual(change func(string) string) func(*forgery) {
	return func(f *forgery) { f.text = func(raw []byte) []byte { return []byte(change(string(raw))) } }
}
