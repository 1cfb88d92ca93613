// Package recovery makes and checks recovery codes, the look-up secrets (SP
// 800-63B-4 section 3.1.2) that replace a second factor that was lost. There are ten, each
// counts once, and they are shown once.
package recovery

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/guard"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Number is how many codes there are; each has 80 bits.
const (
	Number = 10
	length = 16
	// low is when the notice of a used one asks for new ones.
	low = 3
)

// alphabet is Crockford's base32: nothing in it is mistaken for something else on paper.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// Options are what recovery codes need.
type Options struct {
	Store    *store.Store
	Sealer   *seal.Sealer
	Sessions *session.Sessions
	Limiter  *limit.Limiter
	Failures *guard.Failures
	Notices  *notice.Notices
	Now      func() time.Time
}

// Codes works on recovery codes.
type Codes struct {
	Options
	key []byte
}

const keyName = "recovery"

// New takes the installation's key for recovery codes, making it where there is none.
func New(ctx context.Context, o Options) (*Codes, error) {
	key, err := limit.InstallationKey(ctx, o.Store, o.Sealer, keyName)
	if err != nil {
		return nil, fmt.Errorf("recovery: %w", err)
	}
	return &Codes{Options: o, key: key}, nil
}

var errWrong = errs.New(errs.KindUnauthenticated, "CODE_WRONG", "the recovery code is wrong or was used")

// Generated are fresh codes, and what became of the other sessions.
type Generated struct {
	Codes       []string
	Open, Ended int
}

// Generate makes ten codes in place of those that there were.
func (s *Codes) Generate(ctx context.Context, c *caller.Caller, endOthers bool) (Generated, error) {
	if err := session.Fresh(c, s.Now()); err != nil {
		return Generated{}, err
	}
	letter, err := s.Notices.Prepare(ctx, c.Practice, c.User, notice.FactorAdded, notice.Details{What: "recovery codes", Address: c.Address})
	if err != nil {
		return Generated{}, err
	}
	made := Generated{Codes: make([]string, Number)}
	hashes := make([][]byte, Number)
	for i := range made.Codes {
		made.Codes[i] = draw()
		hashes[i] = s.hash(c.User, made.Codes[i])
	}
	tx := s.Store.In(c.Practice)
	others := s.Sessions.Others(tx, c, endOthers)
	tx.SetRecoveryCodes(c.User, hashes)
	tx.AddFactor(c.User, method.Recovery)
	letter.Queue(tx)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		made.Open, made.Ended = others.Count()
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("factors/recoveryCodes", 0), evidence.Count(Number))}, nil
	})
	if err != nil {
		return Generated{}, err
	}
	s.Notices.Poke()
	return made, nil
}

// Verify raises the caller's session to two factors and uses the code up.
func (s *Codes) Verify(ctx context.Context, c *caller.Caller, code string) (session.Opened, method.Set, error) {
	if err := s.Limiter.Secret(ctx, c.User); err != nil {
		return session.Opened{}, 0, err
	}
	code, ok := normal(code)
	if !ok {
		return session.Opened{}, 0, s.Failures.Wrong(ctx, c, errWrong)
	}
	standing, err := s.Sessions.Standing(ctx, c)
	if err != nil {
		return session.Opened{}, 0, err
	}
	left, err := s.left(ctx, c)
	if err != nil {
		return session.Opened{}, 0, err
	}
	letter, err := s.Notices.Prepare(ctx, c.Practice, c.User, notice.RecoveryCodeUsed, notice.Details{What: remaining(left - 1), Address: c.Address})
	if err != nil {
		return session.Opened{}, 0, err
	}
	tx := s.Store.In(c.Practice)
	opening := s.Sessions.Raise(tx, c, standing.Proof, method.Recovery)
	used := tx.UseRecoveryCode(c.User, s.hash(c.User, code))
	letter.Queue(tx)
	opened, err := opening.Commit(ctx, tx, func() error {
		if !used.Found() {
			return errWrong
		}
		return nil
	}, evidence.Reason("RECOVERY_CODE"), evidence.Risk(auditv1.Risk_RISK_HIGH))
	if errs.ReasonOf(err) == errWrong.Reason() {
		return session.Opened{}, 0, s.Failures.Wrong(ctx, c, errWrong)
	}
	if err == nil {
		s.Notices.Poke()
	}
	return opened, standing.Offers(), err
}

// left counts the caller's codes that were not used.
func (s *Codes) left(ctx context.Context, c *caller.Caller) (int, error) {
	tx := s.Store.In(c.Practice)
	found := tx.RecoveryCodes(c.User)
	err := tx.Read(ctx)
	n, _ := found.One()
	return int(n), err
}

// remaining tells a user how many codes are left, and when to make new ones.
func remaining(left int) string {
	text := fmt.Sprintf("%d of %d are left", max(0, left), Number)
	if left <= low {
		text += "; make new ones soon"
	}
	return text
}

// draw makes a code in groups of four.
func draw() string {
	var raw [length]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	var b strings.Builder
	for i, r := range raw {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[r%byte(len(alphabet))]) // 32 divides 256: every letter is as likely
	}
	return b.String()
}

// normal reads a code as people write it; false for what is none.
func normal(text string) (string, bool) {
	var b strings.Builder
	for _, r := range strings.ToUpper(text) {
		switch r {
		case '-', ' ':
			continue
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		if b.Len() == length || !strings.ContainsRune(alphabet, r) {
			return "", false
		}
		b.WriteRune(r)
	}
	return b.String(), b.Len() == length
}

// hash is keyed and names the owner: a row copied to another user opens nothing.
func (s *Codes) hash(user uuid.UUID, code string) []byte {
	code, _ = normal(code)
	mac := hmac.New(sha256.New, s.key)
	mac.Write(user[:])
	mac.Write([]byte(code))
	return mac.Sum(nil)
}
