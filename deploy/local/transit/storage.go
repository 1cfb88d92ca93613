package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/vault/sdk/logical"
)

// store keeps the engine's entries in memory and, sealed with AES-256-GCM under the root
// key, one file each. File names are keyed hashes, so that the folder does not
// even show which practices have keys. One process at a time may have it open.
type store struct {
	dir  string
	lock *os.File
	aead cipher.AEAD
	name func(key string) string

	mu      sync.RWMutex
	entries map[string][]byte
}

// entry is what a file holds once it is opened.
type entry struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

const suffix = ".sealed"

func openStore(dir, keyFile string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is in use by another process; stop it first", dir), lock.Close())
	}
	s := &store{dir: dir, lock: lock, entries: map[string][]byte{}}
	if err := s.open(keyFile); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// Close lets another process open the folder.
func (s *store) Close() error { return s.lock.Close() }

func (s *store) open(keyFile string) error {
	files, err := filepath.Glob(filepath.Join(s.dir, "*"+suffix))
	if err != nil {
		return err
	}
	root, err := rootKey(keyFile, len(files) == 0)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(root)
	if err != nil {
		return err
	}
	if s.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return err
	}
	s.name = func(key string) string {
		mac := hmac.New(sha256.New, root)
		mac.Write([]byte("carekeep/transit/name/" + key))
		return hex.EncodeToString(mac.Sum(nil)) + suffix
	}
	for _, file := range files {
		if err := s.load(file); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) load(file string) error {
	sealed, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	plain, err := s.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return fmt.Errorf("%s does not open: the unseal key is another one, or the file was changed", name)
	}
	var e entry
	if err := json.Unmarshal(plain, &e); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.entries[e.Key] = e.Value
	return nil
}

// rootKey reads the root key; it makes one only where there is nothing yet that
// another key could have sealed.
func rootKey(file string, fresh bool) ([]byte, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if !fresh {
			return nil, fmt.Errorf("%s is missing, and the storage was sealed with it", file)
		}
		root := make([]byte, 32)
		if _, err := rand.Read(root); err != nil {
			return nil, err
		}
		return root, writeFile(file, []byte(hex.EncodeToString(root)+"\n"))
	}
	if err != nil {
		return nil, err
	}
	root, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(root) != 32 {
		return nil, fmt.Errorf("%s must hold 32 bytes in hexadecimal", file)
	}
	return root, nil
}

// writeFile replaces a file in one step that survives a crash.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // CreateTemp makes it 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get is logical.Storage.
func (s *store) Get(_ context.Context, key string) (*logical.StorageEntry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, ok := s.entries[key]
	if !ok {
		return nil, nil
	}
	return &logical.StorageEntry{Key: key, Value: slices.Clone(value)}, nil
}

// Put is logical.Storage. It returns once the entry is on disk.
func (s *store) Put(_ context.Context, e *logical.StorageEntry) error {
	plain, err := json.Marshal(entry{e.Key, e.Value})
	if err != nil {
		return err
	}
	name := s.name(e.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := writeFile(filepath.Join(s.dir, name), s.aead.Seal(nil, nil, plain, []byte(name))); err != nil {
		return err
	}
	s.entries[e.Key] = slices.Clone(e.Value)
	return nil
}

// Delete is logical.Storage.
func (s *store) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(filepath.Join(s.dir, s.name(key))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(s.entries, key)
	return syncDir(s.dir)
}

// List is logical.Storage: the names below prefix, folders with a slash at the end.
func (s *store) List(_ context.Context, prefix string) ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seen := map[string]bool{}
	for key := range s.entries {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			if folder, _, deeper := strings.Cut(rest, "/"); deeper {
				rest = folder + "/"
			}
			seen[rest] = true
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}
