package caller

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pollEvery is how often the key file is looked at, and the most often that an
// unknown key id causes it to be read.
const pollEvery = time.Second

// keyFile holds the keys of a JWKS file and follows its changes. It polls on use
// rather than watching, so there is nothing to stop and mounted secrets, which
// change by a symbolic link, work too.
type keyFile struct {
	path string
	now  func() time.Time
	// keys changes only when the set does, so that the pointer names a state of it.
	keys   atomic.Pointer[map[string]ed25519.PublicKey]
	polled atomic.Int64 // unix nanoseconds

	mu      sync.Mutex
	forced  time.Time
	stamp   time.Time
	size    int64
	failure error
}

func openKeyFile(path string, now func() time.Time) (*keyFile, error) {
	f := &keyFile{path: path, now: now}
	f.polled.Store(now().UnixNano())
	if err := f.reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// key returns a public key by id, after a look at the file where one is due.
func (f *keyFile) key(kid string) (ed25519.PublicKey, bool) {
	if k, ok := (*f.keys.Load())[kid]; ok {
		return k, true
	}
	f.mu.Lock()
	if now := f.now(); now.Sub(f.forced) >= pollEvery {
		f.forced = now
		f.failure = f.reload()
	}
	f.mu.Unlock()
	k, ok := (*f.keys.Load())[kid]
	return k, ok
}

// poll reloads the file where it changed; cheap enough for every request.
func (f *keyFile) poll() {
	now, last := f.now().UnixNano(), f.polled.Load()
	if now-last < int64(pollEvery) && now >= last || !f.polled.CompareAndSwap(last, now) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	switch {
	case err != nil:
		f.failure = fmt.Errorf("caller: keys: %w", err)
	case !info.ModTime().Equal(f.stamp) || info.Size() != f.size:
		f.failure = f.reload()
	default:
		f.failure = nil
	}
}

// reload reads the file. On an error the keys stay as they were, so that a file
// half written locks nobody out; ready reports it.
func (f *keyFile) reload() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("caller: keys: %w", err)
	}
	raw, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("caller: keys: %w", err)
	}
	keys, err := parseJWKS(raw)
	if err != nil {
		return fmt.Errorf("caller: keys %s: %w", f.path, err)
	}
	f.stamp, f.size = info.ModTime(), info.Size()
	if old := f.keys.Load(); old == nil || !sameKeys(*old, keys) {
		f.keys.Store(&keys)
	}
	return nil
}

func (f *keyFile) ready(context.Context) error {
	f.poll()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure
}

func sameKeys(a, b map[string]ed25519.PublicKey) bool {
	if len(a) != len(b) {
		return false
	}
	for kid := range a {
		if _, ok := b[kid]; !ok {
			return false
		}
	}
	return true
}
