// Package keyring lists what a user can prove their identity with and removes one
// of them. Adding a factor is the business of the factor's own package.
package keyring

import (
	"context"
	"time"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Keyring works on the factors of a user as a whole.
type Keyring struct {
	Store    *store.Store
	Sealer   *seal.Sealer
	Sessions *session.Sessions
	Notices  *notice.Notices
	Now      func() time.Time
}

// Factor is one of the ways.
type Factor struct {
	Method method.Set
	// Count is how many recovery codes are left; otherwise 1, or 0 for passkeys.
	Count int
	// Hint is the end of a telephone number.
	Hint string
	// Second: after a password it makes AAL2.
	Second bool
}

// hintDigits are what is shown of a telephone number.
const hintDigits = 2

// List returns the caller's factors, the strongest first.
func (k *Keyring) List(ctx context.Context, c *caller.Caller) ([]Factor, error) {
	tx := k.Store.In(c.Practice)
	creds, proofs := tx.Credentials(c.User), tx.Proof(c.Session, c.User)
	phone, left := tx.Phone(c.User), tx.RecoveryCodes(c.User)
	if err := tx.Read(ctx); err != nil {
		return nil, err
	}
	row, known := creds.One()
	proof, open := proofs.One()
	if !known || !open {
		return nil, session.ErrOver
	}
	codes, _ := left.One()
	var list []Factor
	for _, m := range []method.Set{method.Passkey, method.TOTP, method.SMS, method.Recovery} {
		if !row.Factors.Any(m) {
			continue
		}
		f := Factor{Method: m, Count: 1, Second: true}
		switch m {
		case method.Passkey:
			f.Count = 0
		case method.Recovery:
			f.Count = int(codes)
			f.Second = codes > 0
		case method.SMS:
			sealed, _ := phone.One()
			number, err := k.Sealer.Open(ctx, seal.Phone, c.User, sealed)
			if err != nil {
				return nil, err
			}
			f.Hint = string(number[max(0, len(number)-hintDigits):])
		}
		list = append(list, f)
	}
	return append(list, Factor{Method: method.Email, Count: 1, Second: proof.AcceptEmail}), nil
}

var (
	errLast = errs.New(errs.KindPrecondition, "FACTOR_LAST", "set up another passkey or TOTP first; one of them must be left")
	errNone = errs.New(errs.KindNotFound, "FACTOR_NOT_FOUND", "there is no such factor")
)

// what names a factor in notices.
var what = map[method.Set]string{method.TOTP: "one-time codes of an app", method.SMS: "codes by text message", method.Recovery: "recovery codes"}

// Remove takes a factor away from the caller.
func (k *Keyring) Remove(ctx context.Context, c *caller.Caller, m method.Set, name string, endOthers bool) (open, ended int, err error) {
	if err := session.Fresh(c, k.Now()); err != nil {
		return 0, 0, err
	}
	standing, err := k.Sessions.Standing(ctx, c)
	if err != nil {
		return 0, 0, err
	}
	if !standing.Factors.Any(m) {
		return 0, 0, errNone
	}
	letter, err := k.Notices.Prepare(ctx, c.Practice, c.User, notice.FactorRemoved, notice.Details{What: what[m], Address: c.Address})
	if err != nil {
		return 0, 0, err
	}
	tx := k.Store.In(c.Practice)
	// Its lock makes two removals take turns, so that both cannot find the other's factor still there.
	others := k.Sessions.Others(tx, c, endOthers)
	switch m {
	case method.TOTP:
		tx.DropTotp(c.User)
	case method.SMS:
		tx.DropPhone(c.User)
		tx.RevokeEnrolments(c.User, nil)
	case method.Recovery:
		tx.DropRecoveryCodes(c.User)
	}
	left := tx.DropFactor(c.User, m)
	letter.Queue(tx)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if set, _ := left.One(); !set.Any(method.Lasting) {
			return nil, errLast
		}
		open, ended = others.Count()
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(name, 0), evidence.Count(ended), evidence.Reason("FACTOR_REMOVED"))}, nil
	})
	if err != nil {
		return 0, 0, err
	}
	k.Notices.Poke()
	return open, ended, nil
}
