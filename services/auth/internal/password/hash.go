// Package password hashes and checks passwords and says which are good enough.
// It stores nothing; hashes are argon2id strings in the PHC format, which name
// their own parameters (claim DC-11).
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/carekeep/carekeep/libs/errs"
)

// Parameters of argon2id. The floor is OWASP's (rules.md 2.6): 19 MiB with two
// passes, or 46 MiB with one.
type Parameters struct {
	MemoryKiB   uint32 `yaml:"memory_kib"`
	Passes      uint32 `yaml:"passes"`
	Parallelism uint8  `yaml:"parallelism"`
}

// Default is the smaller floor: 19 MiB, two passes, one lane.
var Default = Parameters{MemoryKiB: 19 * 1024, Passes: 2, Parallelism: 1}

const (
	saltBytes = 16
	keyBytes  = 32
	// Above this a stored hash is refused, so that a row changed behind our back
	// cannot make a sign-in take the whole memory.
	maxMemoryKiB = 1024 * 1024
	maxPasses    = 64
)

// Check refuses parameters below the floor. It is no config.Validator: leaving all of them out means Default.
func (p Parameters) Check() error {
	strong := (p.MemoryKiB >= 19*1024 && p.Passes >= 2) || (p.MemoryKiB >= 46*1024 && p.Passes >= 1)
	if !strong || p.Parallelism < 1 {
		return errors.New("argon2id needs at least memory_kib: 19456 with passes: 2, or 47104 with passes: 1, and parallelism: 1")
	}
	if p.MemoryKiB > maxMemoryKiB || p.Passes > maxPasses {
		return fmt.Errorf("argon2id takes at most memory_kib: %d and passes: %d", maxMemoryKiB, maxPasses)
	}
	return nil
}

// Hasher hashes with bounded concurrency: each hash takes MemoryKiB, so the
// number of sign-ins in flight must not decide how much memory the service uses.
type Hasher struct {
	parameters Parameters
	slots      chan struct{}
	waiting    chan struct{}
	dummy      string
}

// ErrBusy is returned where more hashes wait than may.
var ErrBusy = errs.New(errs.KindLimited, "SIGN_IN_BUSY", "too many sign-ins at once; try again in a second").WithRetry(time.Second)

// NewHasher makes a hasher that runs at most parallel hashes at once and lets at most waiting others wait.
func NewHasher(p Parameters, parallel, waiting int) (*Hasher, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	h := &Hasher{parameters: p, slots: make(chan struct{}, parallel), waiting: make(chan struct{}, parallel+waiting)}
	var unknown [keyBytes]byte
	_, _ = rand.Read(unknown[:])
	h.dummy = h.encode(string(unknown[:]))
	return h, nil
}

// Hash makes the PHC string of a password.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return h.encode(normalise(password)), nil
}

// Verify compares a password with a PHC string. An empty string stands for a
// user who does not exist or has no password: the answer is no, and takes as long.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (bool, error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	real := phc != ""
	if !real {
		phc = h.dummy
	}
	p, salt, want, err := parse(phc)
	if err != nil {
		return false, err
	}
	got := argon2.IDKey([]byte(normalise(password)), salt, p.Passes, p.MemoryKiB, p.Parallelism, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1 && real, nil
}

// Outdated reports whether the string was made with other parameters than today's.
func (h *Hasher) Outdated(phc string) bool {
	p, salt, key, err := parse(phc)
	return err != nil || p != h.parameters || len(salt) != saltBytes || len(key) != keyBytes
}

func (h *Hasher) acquire(ctx context.Context) (func(), error) {
	select {
	case h.waiting <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots; <-h.waiting }, nil
	case <-ctx.Done():
		<-h.waiting
		return nil, ctx.Err()
	}
}

func (h *Hasher) encode(password string) string {
	var salt [saltBytes]byte
	_, _ = rand.Read(salt[:])
	p := h.parameters
	key := argon2.IDKey([]byte(password), salt[:], p.Passes, p.MemoryKiB, p.Parallelism, keyBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.MemoryKiB, p.Passes, p.Parallelism,
		base64.RawStdEncoding.EncodeToString(salt[:]), base64.RawStdEncoding.EncodeToString(key))
}

var errFormat = errors.New("password: the stored hash is not an argon2id string of a supported strength")

func parse(phc string) (p Parameters, salt, key []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errFormat
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.MemoryKiB, &p.Passes, &p.Parallelism); err != nil || n != 3 {
		return p, nil, nil, errFormat
	}
	if parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", p.MemoryKiB, p.Passes, p.Parallelism) {
		return p, nil, nil, errFormat
	}
	if p.MemoryKiB < 8 || p.MemoryKiB > maxMemoryKiB || p.Passes < 1 || p.Passes > maxPasses || p.Parallelism < 1 {
		return p, nil, nil, errFormat
	}
	salt, saltErr := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	key, keyErr := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if saltErr != nil || keyErr != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return p, nil, nil, errFormat
	}
	return p, salt, key, nil
}

// Same reports whether two spellings are one password.
func Same(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(normalise(a)), []byte(normalise(b))) == 1
}
