package passkey

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Most is how many passkeys a user may have.
const Most = 20

// handleBytes is the longest user handle that WebAuthn allows.
const handleBytes = 64

// Passkeys works on passkeys.
type Passkeys struct {
	Store    *store.Store
	Sessions *session.Sessions
	Limiter  *limit.Limiter
	Notices  *notice.Notices
	Party    *RelyingParty
	Now      func() time.Time
}

// ErrRefused is the one answer to every credential that is not accepted, whatever is wrong with it.
var ErrRefused = errs.New(errs.KindUnauthenticated, "PASSKEY_REFUSED", "the passkey was not accepted; begin again")

var (
	errChanged = errs.New(errs.KindConflict, "FACTOR_CHANGED", "the factors were changed at the same time; try again")
	errUnknown = errs.New(errs.KindNotFound, "PASSKEY_NOT_FOUND", "there is no such passkey")
	errNone    = errs.New(errs.KindPrecondition, "FACTOR_MISSING", "no passkey is registered; use another factor")
	errMany    = errs.New(errs.KindPrecondition, "PASSKEYS_FULL", "there are 20 passkeys; remove one first")
	errLast    = errs.New(errs.KindPrecondition, "FACTOR_LAST", "set up another passkey or TOTP first; one of them must be left")
	errStale   = errs.New(errs.KindConflict, "ETAG_STALE", "the passkey was changed meanwhile; read it again")
)

// The stages that refuse, as audit events name them.
const (
	stageCeremony  = "CEREMONY_UNKNOWN"
	stageMalformed = "PASSKEY_MALFORMED"
	stageUnknown   = "PASSKEY_UNKNOWN"
	stageWrong     = "PASSKEY_WRONG"
	stageTaken     = "PASSKEY_TAKEN"
	stageRace      = "PASSKEY_OR_ACCOUNT_CHANGED"
	// reasonRegressed marks an answer whose counter did not go up.
	reasonRegressed = "PASSKEY_COUNTER"
)

// Ceremony waits for its answer.
type Ceremony struct {
	ID      uuid.UUID
	Options []byte // JSON
}

// Name is the resource name of a passkey.
func Name(id uuid.UUID) string { return "passkeys/" + id.String() }

func random(n int) []byte {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	return raw
}

// take uses a ceremony's challenge up, in a transaction of its own: whatever the
// answer is worth, there is no second one.
func (p *Passkeys) take(ctx context.Context, practice, id uuid.UUID, kind store.Ceremony, of *uuid.UUID) ([]byte, error) {
	tx := p.Store.In(practice)
	taken := tx.TakeCeremony(id, kind, of, Timeout)
	if err := tx.Read(ctx); err != nil {
		return nil, err
	}
	challenge, _ := taken.One()
	return challenge, nil
}

// refuse records which stage refused and returns the error for the client.
func (p *Passkeys) refuse(ctx context.Context, practice uuid.UUID, stage string, err error, mods ...func(*auditv1.Event)) error {
	return p.record(ctx, p.Store.In(practice), nothing, stage, err, mods...)
}

// record sends a transaction with the event of a refusal and of what follows from it.
func (p *Passkeys) record(ctx context.Context, tx *store.Tx, follows func() []*auditv1.Event, stage string, err error, mods ...func(*auditv1.Event)) error {
	event := evidence.From(ctx).Event(append(mods[:len(mods):len(mods)], evidence.Failure(err), evidence.Reason(stage))...)
	if lost := tx.Do(ctx, func() ([]*auditv1.Event, error) { return append(follows(), event), nil }); lost != nil {
		return lost
	}
	return err
}

func nothing() []*auditv1.Event { return nil }

// List returns the caller's passkeys, oldest first.
func (p *Passkeys) List(ctx context.Context, c *caller.Caller) ([]store.Passkey, error) {
	tx := p.Store.In(c.Practice)
	list := tx.Passkeys(c.User)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(len(list.All())))}, nil
	})
	return list.All(), err
}

// Rename changes the name of one of the caller's passkeys.
func (p *Passkeys) Rename(ctx context.Context, c *caller.Caller, id uuid.UUID, version int64, name string) (store.Passkey, error) {
	tx := p.Store.In(c.Practice)
	list := tx.Passkeys(c.User)
	renamed := tx.RenamePasskey(id, c.User, version, name)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if renamed.Found() {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), version+1))}, nil
		}
		for _, row := range list.All() {
			if row.ID == id {
				return nil, errStale
			}
		}
		return nil, errUnknown
	})
	row, _ := renamed.One()
	return row, err
}

// Get returns one of the caller's passkeys.
func (p *Passkeys) Get(ctx context.Context, c *caller.Caller, id uuid.UUID) (store.Passkey, error) {
	tx := p.Store.In(c.Practice)
	list := tx.Passkeys(c.User)
	if err := tx.Read(ctx); err != nil {
		return store.Passkey{}, err
	}
	for _, row := range list.All() {
		if row.ID == id {
			return row, nil
		}
	}
	return store.Passkey{}, errUnknown
}

// Remove takes a passkey away from the caller and says how many other sessions the caller has.
func (p *Passkeys) Remove(ctx context.Context, c *caller.Caller, id uuid.UUID) (int, error) {
	if err := session.Fresh(c, p.Now()); err != nil {
		return 0, err
	}
	row, err := p.Get(ctx, c, id)
	if err != nil {
		return 0, err
	}
	letter, err := p.Notices.Prepare(ctx, c.Practice, c.User, notice.FactorRemoved, notice.Details{What: "passkey " + row.DisplayName, Address: c.Address})
	if err != nil {
		return 0, err
	}
	tx := p.Store.In(c.Practice)
	// Its lock makes two removals take turns, so that both cannot find the other's factor still there.
	others := p.Sessions.Others(tx, c, false)
	dropped, left := tx.DropPasskey(id, c.User)
	letter.Queue(tx)
	open := 0
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !dropped.Found() {
			return nil, errUnknown
		}
		if set, _ := left.One(); !set.Any(method.Lasting) {
			return nil, errLast
		}
		open, _ = others.Count()
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 0), evidence.Reason("FACTOR_REMOVED"))}, nil
	})
	if err == nil {
		p.Notices.Poke()
	}
	return open, err
}
