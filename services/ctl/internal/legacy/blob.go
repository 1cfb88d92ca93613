// Package legacy opens what an older system encrypted with AES-256-CBC or AES-256-CTR,
// so that it can be stored anew. Neither mode tells whether anything was changed, so
// a blob counts only with its MAC (encrypt-then-MAC), which is checked before
// anything is decrypted. The package writes no such blobs.
package legacy

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
)

// Version is the only version of the container.
const Version = 1

// The ciphers that a blob may name.
const (
	CBC = "AES-256-CBC" // with PKCS #7 padding
	CTR = "AES-256-CTR" // the iv is the first counter block
)

// Reasons for which a blob is refused. None holds anything of the blob.
var (
	ErrMalformed = errors.New(`is no blob: it must be one JSON object with version, cipher, iv, ciphertext and mac, the last three in base64`)
	ErrVersion   = fmt.Errorf("has another version than %d", Version)
	ErrCipher    = fmt.Errorf("has another cipher than %s and %s", CBC, CTR)
	ErrNoMAC     = errors.New("has no MAC of 32 bytes: without one nothing tells whether it was changed")
	ErrMAC       = errors.New("does not fit its MAC: it was changed, or the keys are not those it was made with")
	ErrSize      = errors.New("has an iv or a ciphertext of the wrong length")
	ErrPadding   = errors.New("is authentic, but its padding is wrong: the encryption key is not the one it was made with")
	ErrResource  = errors.New("is authentic, but what it holds is no FHIR resource in JSON: the encryption key is not the one it was made with, or it held something else")
)

type blob struct {
	version        int
	cipher         string
	iv, text, seal []byte
}

func parse(line []byte) (blob, error) {
	var in struct {
		Version    int    `json:"version"`
		Cipher     string `json:"cipher"`
		IV         string `json:"iv"`
		Ciphertext string `json:"ciphertext"`
		MAC        string `json:"mac"`
	}
	// A decoding error may quote the line.
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&in) != nil {
		return blob{}, ErrMalformed
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return blob{}, ErrMalformed
	}
	b := blob{version: in.Version, cipher: in.Cipher}
	for _, field := range []struct {
		into *[]byte
		text string
	}{{&b.iv, in.IV}, {&b.text, in.Ciphertext}, {&b.seal, in.MAC}} {
		raw, err := base64.StdEncoding.Strict().DecodeString(field.text)
		if err != nil {
			return blob{}, ErrMalformed
		}
		*field.into = raw
	}
	switch {
	case b.version != Version:
		return blob{}, ErrVersion
	case b.cipher != CBC && b.cipher != CTR:
		return blob{}, ErrCipher
	case len(b.seal) != sha256.Size:
		return blob{}, ErrNoMAC
	}
	return b, nil
}

// authentic checks the MAC, in constant time.
func (b blob) authentic(key []byte) bool {
	mac := hmac.New(sha256.New, key)
	for _, part := range [][]byte{[]byte(strconv.Itoa(b.version)), []byte(b.cipher), b.iv, b.text} {
		measured(mac, part)
	}
	return hmac.Equal(mac.Sum(nil), b.seal)
}

// measured writes the length before the part, so that no byte can move into its neighbour.
func measured(mac hash.Hash, part []byte) {
	_, _ = mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
	_, _ = mac.Write(part)
}

// open decrypts a line whose MAC is right; the resource is the caller's to clear.
func (k *Keys) open(line []byte) ([]byte, error) {
	b, err := parse(line)
	if err != nil {
		return nil, err
	}
	if !b.authentic(k.mac) {
		return nil, ErrMAC
	}
	if len(b.iv) != aes.BlockSize || len(b.text) == 0 {
		return nil, ErrSize
	}
	plain := make([]byte, len(b.text))
	if b.cipher == CTR {
		cipher.NewCTR(k.block, b.iv).XORKeyStream(plain, b.text)
		return resource(plain)
	}
	if len(b.text)%aes.BlockSize != 0 {
		return nil, ErrSize
	}
	cipher.NewCBCDecrypter(k.block, b.iv).CryptBlocks(plain, b.text)
	// No oracle: only what is authentic comes here.
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.Equal(plain[len(plain)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		clear(plain)
		return nil, ErrPadding
	}
	return resource(plain[:len(plain)-pad])
}

// resource lets only one whole JSON object with a resourceType pass: it becomes an
// entry of a bundle, and must not reach beyond it. All else is the importing service's to check.
func resource(plain []byte) ([]byte, error) {
	var head struct {
		Type string `json:"resourceType"`
	}
	if json.Unmarshal(plain, &head) != nil || head.Type == "" {
		clear(plain)
		return nil, ErrResource
	}
	return plain, nil
}
