package legacy

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// keySize is that of both keys.
const keySize = 32

// Keys open blobs.
type Keys struct {
	block cipher.Block
	mac   []byte
}

// NewKeys takes two different keys of 32 bytes.
func NewKeys(encryption, mac []byte) (*Keys, error) {
	if len(encryption) != keySize || len(mac) != keySize {
		return nil, fmt.Errorf("both keys must have %d bytes", keySize)
	}
	if subtle.ConstantTimeCompare(encryption, mac) == 1 {
		return nil, errors.New("the encryption key and the MAC key are the same: each needs its own")
	}
	block, err := aes.NewCipher(encryption)
	if err != nil {
		return nil, fmt.Errorf("take the encryption key: %w", err)
	}
	return &Keys{block: block, mac: bytes.Clone(mac)}, nil
}

// ReadKeys reads both from files that nobody else can read.
func ReadKeys(encryptionFile, macFile string) (*Keys, error) {
	encryption, err := readKey(encryptionFile)
	if err != nil {
		return nil, fmt.Errorf("read the encryption key: %w", err)
	}
	defer clear(encryption)
	mac, err := readKey(macFile)
	if err != nil {
		return nil, fmt.Errorf("read the MAC key: %w", err)
	}
	defer clear(mac)
	return NewKeys(encryption, mac)
}

// Forget clears the MAC key. The cipher's schedule goes with the process.
func (k *Keys) Forget() { clear(k.mac) }

func readKey(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read from
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	// Windows has no such modes.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read %s: chmod 600 it", name)
	}
	raw, err := io.ReadAll(io.LimitReader(file, 4*keySize))
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	if len(raw) == keySize {
		return bytes.Clone(raw), nil
	}
	key := make([]byte, keySize)
	if text := bytes.TrimRight(raw, "\r\n"); len(text) == hex.EncodedLen(keySize) {
		if _, err := hex.Decode(key, text); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%s must hold %d bytes, or %d hexadecimal digits", name, keySize, hex.EncodedLen(keySize))
}
