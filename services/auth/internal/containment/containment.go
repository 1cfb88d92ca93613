// Package containment cuts off by hand what does harm, and lets it in again: an account, an address, a
// practice or a service (claims DH-51 and DH-53). What a rule of audit asks for is package response's.
package containment

import (
	"context"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Why sessions end and blocks stand, and what events say.
const (
	ReasonCut      = "CONTAINED"
	reasonAsked    = "CONTAINMENT_REQUESTED"
	reasonApproved = "CONTAINMENT_APPROVED"
	reasonReleased = "CONTAINMENT_RELEASED"
)

var (
	errSelf    = errs.New(errs.KindDenied, "SELF_APPROVAL", "somebody else has to do this: nobody freezes themself or approves what they asked for")
	errAccount = errs.New(errs.KindNotFound, "USER_NOT_FOUND", "there is no such user")
	errHome    = errs.New(errs.KindNotFound, "PRACTICE_NOT_FOUND", "there is no such practice")
	errTwice   = errs.New(errs.KindConflict, "CONTAINED_ALREADY", "it is cut off already, or waits for approval")
	errService = errs.New(errs.KindPrecondition, "SERVICE_NEEDED", "only records, audit and backup can be cut off; without gateway and auth nobody could let anything in again")
	errAddress = errs.New(errs.KindInvalid, "ADDRESS_INVALID", "this is no IP address")
	errUnknown = errs.New(errs.KindNotFound, "CONTAINMENT_NOT_FOUND",
		"there is no such containment to act on; thaw a user and lift a block instead of releasing them")
)

// Name is the resource name of a containment.
func Name(id uuid.UUID) string { return "containments/" + id.String() }

// Containments works on containments. Every change asks for a proof with two factors of the last five minutes.
type Containments struct {
	Store *store.Store
	Now   func() time.Time
}

// User freezes an account and ends its sessions: an administrator's of their practice, a superadmin's of any.
func (s *Containments) User(ctx context.Context, c *caller.Caller, user uuid.UUID, reason string) (int, error) {
	if err := session.Fresh(c, s.Now()); err != nil {
		return 0, err
	}
	if user == c.User {
		return 0, errSelf
	}
	read := s.Store.In(c.Practice)
	found := read.AccountOf(user)
	if err := read.Read(ctx); err != nil {
		return 0, err
	}
	account, ok := found.One()
	if !ok || c.Practice != store.Platform && c.Practice != account.Practice {
		return 0, errAccount
	}
	tx := s.Store.In(account.Practice)
	tx.LockUser(user)
	tx.Freeze(user)
	ended := tx.EndSessions(user, uuid.Nil, ReasonCut)
	tx.Tell(user, string(notice.AccountFrozen), "", "")
	tx.Contain(store.Containment{ID: uuid.Must(uuid.NewV7()), User: &user, Reason: reason, CreatedBy: &c.User})
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{event(ctx, "users/"+user.String(), ReasonCut, evidence.Practice(account.Practice), evidence.Count(len(ended.All())))}, nil
	})
	return len(ended.All()), err
}

// Address blocks what one client can speak from, and says what that is and until when.
func (s *Containments) Address(ctx context.Context, c *caller.Caller, address, reason string, life time.Duration) (string, time.Time, error) {
	if err := session.Fresh(c, s.Now()); err != nil {
		return "", time.Time{}, err
	}
	blocked := network.Client(address)
	if blocked == "" {
		return "", time.Time{}, errAddress
	}
	tx := s.Store.In(store.Platform)
	until := tx.Block(blocked, ReasonCut, life)
	tx.Contain(store.Containment{ID: uuid.Must(uuid.NewV7()), Network: &blocked, Reason: reason, CreatedBy: &c.User})
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{event(ctx, "blocks", ReasonCut, evidence.Address(blocked))}, nil
	})
	end, _ := until.One()
	return blocked, end, err
}

// Practice cuts off a practice and ends all its sessions.
func (s *Containments) Practice(ctx context.Context, c *caller.Caller, practice uuid.UUID, reason string) (store.Containment, error) {
	if err := session.Fresh(c, s.Now()); err != nil {
		return store.Containment{}, err
	}
	tx := s.Store.In(practice)
	known := tx.Practice(practice)
	if err := tx.Read(ctx); err != nil {
		return store.Containment{}, err
	}
	if !known.Found() {
		return store.Containment{}, errHome
	}
	tx = s.Store.In(practice)
	made := tx.Contain(store.Containment{ID: uuid.Must(uuid.NewV7()), Reason: reason, CreatedBy: &c.User})
	ended := tx.EndPractice(ReasonCut)
	return one(made, errTwice, tx.Do(ctx, func() ([]*auditv1.Event, error) {
		row, ok := made.One()
		if !ok {
			return nil, errTwice
		}
		return []*auditv1.Event{event(ctx, Name(row.ID), ReasonCut, evidence.Practice(practice), evidence.Count(len(ended.All())))}, nil
	}))
}

// Service asks for a service to be cut off; Approve does it.
func (s *Containments) Service(ctx context.Context, c *caller.Caller, service accessv1.Service, reason string) (store.Containment, error) {
	if err := session.Fresh(c, s.Now()); err != nil {
		return store.Containment{}, err
	}
	if !Cuttable(service) {
		return store.Containment{}, errService
	}
	tx := s.Store.In(store.Platform)
	made := tx.Contain(store.Containment{ID: uuid.Must(uuid.NewV7()), Service: &service, Reason: reason, CreatedBy: &c.User})
	return s.settle(ctx, tx, made, errTwice, reasonAsked)
}

// Cuttable reports whether a service can be cut off so that it can be let in again.
func Cuttable(service accessv1.Service) bool {
	return service == accessv1.Service_SERVICE_RECORDS || service == accessv1.Service_SERVICE_AUDIT || service == accessv1.Service_SERVICE_BACKUP
}

// Approve cuts off a service that somebody else, or a rule, asked to cut off.
func (s *Containments) Approve(ctx context.Context, c *caller.Caller, id uuid.UUID) (store.Containment, error) {
	if err := session.Fresh(c, s.Now()); err != nil {
		return store.Containment{}, err
	}
	read := s.Store.In(store.Platform)
	found := read.Containment(id)
	if err := read.Read(ctx); err != nil {
		return store.Containment{}, err
	}
	if asked, ok := found.One(); ok && asked.CreatedBy != nil && *asked.CreatedBy == c.User {
		return store.Containment{}, errSelf
	}
	tx := s.Store.In(store.Platform)
	return s.settle(ctx, tx, tx.ApproveContainment(id, c.User), errUnknown, reasonApproved)
}

// Release lets a practice or service in again, or refuses one that waits for approval.
func (s *Containments) Release(ctx context.Context, c *caller.Caller, id uuid.UUID, reason string) (store.Containment, error) {
	if err := session.Fresh(c, s.Now()); err != nil {
		return store.Containment{}, err
	}
	tx := s.Store.In(store.Platform)
	return s.settle(ctx, tx, tx.ReleaseContainment(id, c.User, reason), errUnknown, reasonReleased)
}

// List reads a page of containments, and whether there are more.
func (s *Containments) List(ctx context.Context, after uuid.UUID, size int, openOnly bool) ([]store.Containment, bool, error) {
	tx := s.Store.In(store.Platform)
	page := tx.Containments(after, size+1, openOnly)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(min(size, len(page.All()))))}, nil
	})
	rows := page.All()
	return rows[:min(size, len(rows))], len(rows) > size, err
}

// settle commits a change of one containment, or answers none where there is no row.
func (s *Containments) settle(ctx context.Context, tx *store.Tx, changed *store.Rows[store.Containment], none error, reason string) (store.Containment, error) {
	return one(changed, none, tx.Do(ctx, func() ([]*auditv1.Event, error) {
		row, ok := changed.One()
		if !ok {
			return nil, none
		}
		return []*auditv1.Event{event(ctx, Name(row.ID), reason, evidence.Practice(row.Practice))}, nil
	}))
}

func one(changed *store.Rows[store.Containment], none, err error) (store.Containment, error) {
	row, ok := changed.One()
	if err == nil && !ok {
		err = none
	}
	return row, err
}

func event(ctx context.Context, resource, reason string, mods ...func(*auditv1.Event)) *auditv1.Event {
	return evidence.From(ctx).Event(append(mods, evidence.Resource(resource, 0), evidence.Reason(reason), evidence.Risk(auditv1.Risk_RISK_CRITICAL))...)
}
