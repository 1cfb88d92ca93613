package session

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Standing is what the caller's session was opened with so far, and the second factors that the user has.
type Standing struct {
	store.Proof
	Factors method.Set
}

// Offers are the second factors that the user could give.
func (s Standing) Offers() method.Set { return s.Factors.Offered(s.AcceptEmail) }

// Standing reads where the caller's session stands.
func (s *Sessions) Standing(ctx context.Context, c *caller.Caller) (Standing, error) {
	tx := s.store.In(c.Practice)
	proofs, creds := tx.Proof(c.Session, c.User), tx.Credentials(c.User)
	if err := tx.Read(ctx); err != nil {
		return Standing{}, err
	}
	proof, open := proofs.One()
	row, known := creds.One()
	if !open || !known {
		return Standing{}, ErrOver
	}
	return Standing{proof, row.Factors}, nil
}

// Commit sends a transaction that Raise is part of, unless check refuses, with one
// event of the raise that mods complete.
func (o *Opening) Commit(ctx context.Context, tx *store.Tx, check func() error, mods ...func(*auditv1.Event)) (Opened, error) {
	var opened Opened
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if err := check(); err != nil {
			return nil, err
		}
		var live bool
		if opened, live = o.Result(); !live {
			return nil, ErrOver
		}
		mods := append([]func(*auditv1.Event){evidence.Resource(Name(opened.ID), 0)}, mods...)
		recorder := evidence.From(ctx)
		return append(o.Events(recorder), recorder.Event(mods...)), nil
	})
	if err != nil {
		return Opened{}, err
	}
	return opened, nil
}

// Others are the caller's other sessions after a change of factors, which the
// caller may end with it (ASVS 7.4.3).
type Others struct {
	ended *store.Rows[uuid.UUID]
	open  *store.Rows[store.Session]
	self  *caller.Caller
}

// Others adds to a transaction what ends the caller's other sessions, or counts them.
func (s *Sessions) Others(tx *store.Tx, c *caller.Caller, end bool) *Others {
	o := &Others{self: c}
	tx.LockUser(c.User)
	if end {
		o.ended = tx.EndSessions(c.User, c.Session, ReasonFactor)
	}
	o.open = tx.Sessions(c.User, s.life.Idle)
	return o
}

// Count says how many are open still and how many were ended.
func (o *Others) Count() (open, ended int) {
	for _, row := range o.open.All() {
		if row.ID != o.self.Session {
			open++
		}
	}
	if o.ended != nil {
		ended = len(o.ended.All())
	}
	return open, ended
}
