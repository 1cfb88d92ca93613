// Package password hashes and checks passwords and says which are good enough.
// It stores nothing; hashes are argon2id strings in the PHC format, or PBKDF2 ones in
// the FIPS profile, which name their own parameters (claim DC-11).
package password

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
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
	// Iterations of PBKDF2 with HMAC-SHA-256, which takes the place of argon2id where it is not zero.
	Iterations uint32 `yaml:"-"`
}

var (
	// Default is the smaller floor: 19 MiB, two passes, one lane.
	Default = Parameters{MemoryKiB: 19 * 1024, Passes: 2, Parallelism: 1}
	// FIPS is for installations that may use FIPS 140 algorithms only, which argon2id is not
	// (rules.md 2.6): PBKDF2-HMAC-SHA-256 with OWASP's 600,000 iterations.
	FIPS = Parameters{Iterations: minIterations}
)

const (
	saltBytes = 16
	keyBytes  = 32
	// Above this a stored hash is refused, so that a row changed behind our back
	// cannot make a sign-in take the whole memory.
	maxMemoryKiB = 1024 * 1024
	maxPasses    = 64

	minIterations = 600_000
	maxIterations = 100_000_000
)

// Check refuses parameters below the floor. It is no config.Validator: leaving all of them out means Default.
func (p Parameters) Check() error {
	if p.Iterations != 0 {
		if p != (Parameters{Iterations: p.Iterations}) || p.Iterations < minIterations || p.Iterations > maxIterations {
			return fmt.Errorf("pbkdf2 takes %d to %d iterations and nothing else", minIterations, maxIterations)
		}
		return nil
	}
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
	var err error
	h.dummy, err = h.encode(string(unknown[:]))
	return h, err
}

// Hash makes the PHC string of a password.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return h.encode(normalise(password))
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
	got, err := p.derive(normalise(password), salt, len(want))
	if err != nil {
		return false, err
	}
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

func (h *Hasher) encode(password string) (string, error) {
	var salt [saltBytes]byte
	_, _ = rand.Read(salt[:])
	p := h.parameters
	key, err := p.derive(password, salt[:], keyBytes)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("argon2id$v=%d$m=%d,t=%d,p=%d", argon2.Version, p.MemoryKiB, p.Passes, p.Parallelism)
	if p.Iterations != 0 {
		name = fmt.Sprintf("%s$i=%d", pbkdf2Name, p.Iterations)
	}
	return "$" + name + "$" + base64.RawStdEncoding.EncodeToString(salt[:]) + "$" + base64.RawStdEncoding.EncodeToString(key), nil
}

func (p Parameters) derive(password string, salt []byte, length int) ([]byte, error) {
	if p.Iterations != 0 {
		return pbkdf2.Key(sha256.New, password, salt, int(p.Iterations), length)
	}
	return argon2.IDKey([]byte(password), salt, p.Passes, p.MemoryKiB, p.Parallelism, uint32(length)), nil
}

const pbkdf2Name = "pbkdf2-sha256"

var errFormat = errors.New("password: the stored hash is no argon2id or PBKDF2 string of a supported strength")

func parse(phc string) (p Parameters, salt, key []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) == 5 && parts[0] == "" && parts[1] == pbkdf2Name {
		if n, err := fmt.Sscanf(parts[2], "i=%d", &p.Iterations); err != nil || n != 1 || parts[2] != fmt.Sprintf("i=%d", p.Iterations) {
			return p, nil, nil, errFormat
		}
		if p.Iterations < 1 || p.Iterations > maxIterations {
			return p, nil, nil, errFormat
		}
		salt, key, err = parseKey(parts[3], parts[4])
		return p, salt, key, err
	}
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
	salt, key, err = parseKey(parts[4], parts[5])
	return p, salt, key, err
}

func parseKey(first, second string) (salt, key []byte, err error) {
	salt, saltErr := base64.RawStdEncoding.Strict().DecodeString(first)
	key, keyErr := base64.RawStdEncoding.Strict().DecodeString(second)
	if saltErr != nil || keyErr != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return nil, nil, errFormat
	}
	return salt, key, nil
}

// Same reports whether two spellings are one password.
func Same(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(normalise(a)), []byte(normalise(b))) == 1
}
