// Package response carries out what rules of audit ask for when they find something: it ends
// sessions, freezes, blocks, cuts off and tells people. Each happens once for a detection, however often
// audit asks. A superadmin is left alone, whatever a rule says: somebody must be able to undo it.
package response

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/auth/internal/containment"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

const (
	reasonDetected = "DETECTION"
	usualBlock     = time.Hour
)

var (
	errSpared = errs.New(errs.KindDenied, "SUPERADMIN_SPARED", "no rule acts against a superadmin; a superadmin may (ContainUser)")
	errTarget = errs.New(errs.KindPrecondition, "RESPONSE_TARGET_MISSING", "the detection names nobody and nothing that this could be done to")
	// errRepeated rolls back what was carried out before; no client sees it.
	errRepeated = errs.New(errs.KindConflict, "RESPONSE_REPEATED", "this was carried out before")
)

// Request is what is asked for. What it is not about is uuid.Nil or empty.
type Request struct {
	Detection      uuid.UUID
	Kind           authv1.ResponseKind
	Title          string
	Practice, User uuid.UUID
	Address        string
	Service        accessv1.Service
	Block          time.Duration // 0 for an hour
}

// Responses carries requests out.
type Responses struct {
	Store   *store.Store
	Notices *notice.Notices
}

// Respond carries one request out, and says whether that had been done before.
func (s *Responses) Respond(ctx context.Context, q Request) (repeated bool, err error) {
	if err := s.check(ctx, q); err != nil {
		return false, err
	}
	home := q.Practice
	if q.Kind == authv1.ResponseKind_RESPONSE_KIND_BLOCK_ADDRESS || q.Kind == authv1.ResponseKind_RESPONSE_KIND_CUT_SERVICE {
		home = store.Platform
	}
	tx := s.Store.In(home)
	fresh := tx.Respond(q.Detection, q.Kind)
	count, err := s.add(ctx, tx, q)
	if err != nil {
		return false, err
	}
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !fresh.Found() {
			return nil, errRepeated
		}
		return []*auditv1.Event{event(ctx, q, evidence.Count(count()))}, nil
	})
	if errors.Is(err, errRepeated) {
		return true, s.Store.In(home).Do(ctx, func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{event(ctx, q, evidence.Reason(errRepeated.Reason()), evidence.Risk(auditv1.Risk_RISK_LOW))}, nil
		})
	}
	s.Notices.Poke()
	return false, err
}

// check refuses what cannot be done and what must not be done.
func (s *Responses) check(ctx context.Context, q Request) error {
	switch q.Kind {
	case authv1.ResponseKind_RESPONSE_KIND_BLOCK_ADDRESS:
		if network.Client(q.Address) == "" {
			return errTarget
		}
		return nil
	case authv1.ResponseKind_RESPONSE_KIND_CUT_SERVICE:
		if !containment.Cuttable(q.Service) {
			return errTarget
		}
		return nil
	case authv1.ResponseKind_RESPONSE_KIND_NOTIFY_ADMINISTRATORS:
		return nil
	}
	against := q.Kind != authv1.ResponseKind_RESPONSE_KIND_NOTIFY_USER
	if against && q.Practice == store.Platform && q.User != uuid.Nil {
		return errSpared
	}
	tx := s.Store.In(q.Practice)
	user, practice := tx.User(q.User), tx.Practice(q.Practice)
	if err := tx.Read(ctx); err != nil {
		return err
	}
	if q.Kind == authv1.ResponseKind_RESPONSE_KIND_CUT_PRACTICE && !practice.Found() || q.Kind != authv1.ResponseKind_RESPONSE_KIND_CUT_PRACTICE && !user.Found() {
		return errTarget
	}
	return nil
}

// add adds to a transaction what the request asks for. What it returns counts what that changed, once it is committed.
func (s *Responses) add(ctx context.Context, tx *store.Tx, q Request) (func() int, error) {
	switch q.Kind {
	case authv1.ResponseKind_RESPONSE_KIND_END_SESSIONS:
		tx.LockUser(q.User)
		ended := tx.EndSessions(q.User, uuid.Nil, reasonDetected)
		return func() int { return len(ended.All()) }, nil
	case authv1.ResponseKind_RESPONSE_KIND_FREEZE_USER:
		tx.LockUser(q.User)
		tx.Freeze(q.User)
		ended := tx.EndSessions(q.User, uuid.Nil, reasonDetected)
		tx.Tell(q.User, string(notice.AccountFrozen), "", "")
		s.contain(tx, q, store.Containment{User: &q.User})
		return func() int { return len(ended.All()) }, nil
	case authv1.ResponseKind_RESPONSE_KIND_BLOCK_ADDRESS:
		blocked := network.Client(q.Address)
		until := tx.Block(blocked, reasonDetected, orUsual(q.Block))
		s.contain(tx, q, store.Containment{Network: &blocked})
		return func() int { return len(until.All()) }, nil
	case authv1.ResponseKind_RESPONSE_KIND_CUT_PRACTICE:
		s.contain(tx, q, store.Containment{})
		ended := tx.EndPractice(reasonDetected)
		return func() int { return len(ended.All()) }, nil
	case authv1.ResponseKind_RESPONSE_KIND_CUT_SERVICE:
		asked := s.contain(tx, q, store.Containment{Service: &q.Service})
		return func() int { return len(asked.All()) }, nil
	}
	return s.tell(ctx, tx, q)
}

// contain notes what is cut off. Where it is cut off already, that stays.
func (s *Responses) contain(tx *store.Tx, q Request, c store.Containment) *store.Rows[store.Containment] {
	c.ID, c.Reason, c.Detection = uuid.Must(uuid.NewV7()), q.Title, &q.Detection
	return tx.Contain(c)
}

func orUsual(d time.Duration) time.Duration {
	if d == 0 {
		return usualBlock
	}
	return d
}

// event names the detection, and whom and what the response is about. Mail is no reason to look, the rest is.
func event(ctx context.Context, q Request, mods ...func(*auditv1.Event)) *auditv1.Event {
	risk := auditv1.Risk_RISK_CRITICAL
	if q.Kind == authv1.ResponseKind_RESPONSE_KIND_NOTIFY_USER || q.Kind == authv1.ResponseKind_RESPONSE_KIND_NOTIFY_ADMINISTRATORS {
		risk = auditv1.Risk_RISK_HIGH
	}
	all := []func(*auditv1.Event){
		evidence.Resource("detections/"+q.Detection.String(), 0), evidence.Practice(q.Practice), evidence.User(q.User, ""),
		evidence.Address(q.Address), evidence.Reason(q.Kind.String()), evidence.Risk(risk),
	}
	return evidence.From(ctx).Event(append(all, mods...)...)
}
