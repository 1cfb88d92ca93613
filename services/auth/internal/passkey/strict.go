package passkey

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"

	"github.com/go-webauthn/webauthn/protocol/webauthncose"
)

// minRSABits is the shortest RSA modulus (SP 800-131A).
const minRSABits = 2048

// strict refuses what no browser writes and other parsers may read in another way: members
// that count and are there twice or in other letters, and base64url that is not the one
// encoding of its bytes. The library takes the last of both members and skips padding.
// Binary are the members of the response that are base64url.
func strict(answer []byte, binary ...string) error {
	outer, err := members(answer, "id", "rawId", "type", "response")
	if err != nil {
		return err
	}
	response, err := members(outer["response"], binary...)
	if err != nil {
		return err
	}
	for _, value := range []json.RawMessage{outer["id"], outer["rawId"]} {
		if _, err := bytesOf(value); err != nil {
			return err
		}
	}
	for _, name := range binary {
		if _, err := bytesOf(response[name]); err != nil {
			return err
		}
	}
	client, err := bytesOf(response["clientDataJSON"])
	if err != nil {
		return err
	}
	_, err = members(client, "type", "challenge", "origin", "topOrigin", "crossOrigin")
	return err
}

// members are the known members of a JSON object. Others are left alone: browsers may add some.
func members(raw []byte, known ...string) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errRefused
	}
	found := map[string]json.RawMessage{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, errRefused
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, errRefused
		}
		name, _ := token.(string)
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, name) })
		if i < 0 {
			continue
		}
		if _, twice := found[name]; twice || known[i] != name {
			return nil, errRefused
		}
		found[name] = value
	}
	return found, nil
}

// bytesOf reads base64url without padding. What is missing or null has no bytes; whether
// it may be missing is for the library to say.
func bytesOf(value json.RawMessage) ([]byte, error) {
	if value == nil {
		return nil, nil
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, errRefused
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// usable refuses a key that would be kept and prove nothing, as one that lies on no curve.
// The library looks at the key only where the authenticator attests with it.
func usable(key []byte) error {
	parsed, err := webauthncose.ParsePublicKey(key)
	if err != nil {
		return err
	}
	if k, ok := parsed.(webauthncose.RSAPublicKeyData); ok {
		if k.Algorithm != int64(webauthncose.AlgRS256) || new(big.Int).SetBytes(k.Modulus).BitLen() < minRSABits {
			return errRefused
		}
	}
	return nil
}
