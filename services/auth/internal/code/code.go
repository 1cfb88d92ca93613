// Package code sends one-time codes by mail and text message and checks them. A
// code lives for ten minutes at most, counts once, belongs to the request and the
// session that asked for it, and dies after five tries or with the next code
// (claims DH-23, DH-24; ASVS 6.5.1, 6.5.5, 6.6.2). What a right code is worth is package method's.
package code

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/guard"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/outbound"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

const (
	// Life is how long a code counts (ASVS 6.5.5).
	Life = 10 * time.Minute
	// Tries are how often one may be tried.
	Tries = 5
	// Digits are how long it is.
	Digits = 8
)

// Options are what codes need.
type Options struct {
	Store    *store.Store
	Sealer   *seal.Sealer
	Sessions *session.Sessions
	Limiter  *limit.Limiter
	Failures *guard.Failures
	Notices  *notice.Notices
	SMS      *outbound.SMS
	Now      func() time.Time
}

// Codes sends and checks codes.
type Codes struct {
	Options
	key []byte
}

const keyName = "codes"

// New takes the installation's key for codes, making it where there is none.
func New(ctx context.Context, o Options) (*Codes, error) {
	key, err := limit.InstallationKey(ctx, o.Store, o.Sealer, keyName)
	if err != nil {
		return nil, fmt.Errorf("code: %w", err)
	}
	return &Codes{Options: o, key: key}, nil
}

// Challenge names a code that was sent.
type Challenge struct {
	ID      uuid.UUID
	Expires time.Time
}

// errWrong is the one answer to every code that does not count, whatever the reason.
var errWrong = errs.New(errs.KindUnauthenticated, "CODE_WRONG", "the code is wrong, was used, or is too old; have a new one sent")

// Why a code does not count, as audit events name it.
const reasonDead = "CODE_EXPIRED_USED_OR_TRIED_TOO_OFTEN"

// draw makes a code of evenly distributed digits.
func draw() string {
	n, err := rand.Int(rand.Reader, big.NewInt(100_000_000))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return fmt.Sprintf("%0*d", Digits, n)
}

// hash covers what the code is bound to, so that a row that was changed opens nothing.
func (s *Codes) hash(purpose store.Purpose, c *caller.Caller, challenge uuid.UUID, code string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte{byte(purpose)})
	mac.Write(c.User[:])
	mac.Write(c.Session[:])
	mac.Write(challenge[:])
	mac.Write([]byte(code))
	return mac.Sum(nil)
}

// newCode makes a code for the caller's session and what is stored of it.
func (s *Codes) newCode(purpose store.Purpose, c *caller.Caller) (code string, stored store.NewCode) {
	code = draw()
	id := uuid.New()
	return code, store.NewCode{
		ID: id, User: c.User, Session: c.Session, Purpose: purpose, Hash: s.hash(purpose, c, id, code), Life: Life,
	}
}

// try counts a try and says whether the code is right; if so it is used up. What
// is wrong is recorded with its reason and answered alike.
func (s *Codes) try(ctx context.Context, purpose store.Purpose, c *caller.Caller, challenge uuid.UUID, code string) (store.CodeTry, error) {
	if err := s.Limiter.Secret(ctx, c.User); err != nil {
		return store.CodeTry{}, err
	}
	tx := s.Store.In(c.Practice)
	tried := tx.TryCode(store.NewCode{
		ID: challenge, User: c.User, Session: c.Session, Purpose: purpose, Hash: s.hash(purpose, c, challenge, code),
	}, Tries)
	if err := tx.Read(ctx); err != nil {
		return store.CodeTry{}, err
	}
	row, live := tried.One()
	if row.Right {
		return row, nil
	}
	reason := errWrong.Reason()
	if !live {
		reason = reasonDead
	}
	return row, s.Failures.Wrong(ctx, c, errWrong, evidence.Resource(name(challenge), 0), evidence.Reason(reason))
}

// name is how audit events name a challenge.
func name(challenge uuid.UUID) string { return "challenges/" + challenge.String() }
