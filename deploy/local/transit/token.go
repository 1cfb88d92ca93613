package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

const (
	tokenLife    = time.Hour
	tokenMaxLife = 24 * time.Hour
)

// tokens are the logins of this run. They are kept as hashes, in memory only: a
// restart ends them, as a seal of a real Vault may.
type tokens struct {
	now func() time.Time
	mu  sync.Mutex
	all map[[sha256.Size]byte]login
}

type login struct {
	identity         string
	accessor         string
	created, expires time.Time
}

func newTokens(now func() time.Time) *tokens {
	return &tokens{now: now, all: map[[sha256.Size]byte]login{}}
}

func (t *tokens) create(identity string) (string, login) {
	now := t.now()
	token := "hvs." + random(32)
	l := login{identity: identity, accessor: random(16), created: now, expires: now.Add(tokenLife)}
	t.mu.Lock()
	defer t.mu.Unlock()
	for hash, old := range t.all {
		if !old.expires.After(now) {
			delete(t.all, hash)
		}
	}
	t.all[sha256.Sum256([]byte(token))] = l
	return token, l
}

func (t *tokens) lookup(token string) (login, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.all[sha256.Sum256([]byte(token))]
	return l, ok && l.expires.After(t.now())
}

// renew lengthens a login, up to its longest life.
func (t *tokens) renew(token string) login {
	t.mu.Lock()
	defer t.mu.Unlock()
	hash := sha256.Sum256([]byte(token))
	l := t.all[hash]
	l.expires = t.now().Add(tokenLife)
	if last := l.created.Add(tokenMaxLife); l.expires.After(last) {
		l.expires = last
	}
	t.all[hash] = l
	return l
}

func (t *tokens) revoke(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, sha256.Sum256([]byte(token)))
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b)
}
