// Package legacytest makes blobs as an older system would, good ones and bad ones.
package legacytest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Keys of the tests.
var (
	Encryption = bytes.Repeat([]byte{0xe1}, 32)
	MAC        = bytes.Repeat([]byte{0x3a}, 32)
)

// Blob is a container whose fields a test may change.
type Blob struct {
	Version    int    `json:"version"`
	Cipher     string `json:"cipher"`
	IV         []byte `json:"iv"`
	Ciphertext []byte `json:"ciphertext"`
	MAC        []byte `json:"mac,omitempty"`
}

// New seals a text. The iv is made of n, and differs with it.
func New(mode string, n uint64, text []byte) Blob {
	if mode == "AES-256-CBC" {
		pad := aes.BlockSize - len(text)%aes.BlockSize
		text = append(bytes.Clone(text), bytes.Repeat([]byte{byte(pad)}, pad)...)
	}
	return Padded(mode, n, text)
}

// Padded seals a text that is padded already, rightly or not.
func Padded(mode string, n uint64, text []byte) Blob {
	block, err := aes.NewCipher(Encryption)
	if err != nil {
		panic(err) // the key above has the wrong length
	}
	iv := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	b := Blob{Version: 1, Cipher: mode, IV: iv[:aes.BlockSize], Ciphertext: make([]byte, len(text))}
	if mode == "AES-256-CBC" {
		cipher.NewCBCEncrypter(block, b.IV).CryptBlocks(b.Ciphertext, text)
	} else {
		cipher.NewCTR(block, b.IV).XORKeyStream(b.Ciphertext, text)
	}
	return b.Signed()
}

// Signed gives the MAC that fits the fields.
func (b Blob) Signed() Blob {
	mac := hmac.New(sha256.New, MAC)
	for _, part := range []string{fmt.Sprint(b.Version), b.Cipher, string(b.IV), string(b.Ciphertext)} {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(part)))
		_, _ = mac.Write([]byte(part))
	}
	b.MAC = mac.Sum(nil)
	return b
}

// Line is the blob as it stands in a file.
func (b Blob) Line() string {
	raw, err := json.Marshal(b)
	if err != nil {
		panic(err) // there is nothing in a Blob that JSON does not know
	}
	return string(raw) + "\n"
}
