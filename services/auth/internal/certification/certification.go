// Package certification has every access confirmed once a quarter by another
// person. What nobody confirms in 14 days is revoked: a grant or an assignment
// ends, a role opens no patient data until somebody confirms it. Governance itself
// is never taken away, so that no practice locks itself out (claim DH-09).
package certification

import (
	"context"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Certifications works on the reviews of the caller's practice.
type Certifications struct{ Store *store.Store }

const listed = 1000

var (
	errNone = errs.New(errs.KindNotFound, "CERTIFICATION_NOT_FOUND", "there is no such item")
	errSelf = errs.New(errs.KindDenied, "SELF_APPROVAL", "nobody confirms their own access; ask another administrator")
	errOver = errs.New(errs.KindPrecondition, "CERTIFICATION_DECIDED", "it is decided, and what it was about may be gone; grant or assign it again")
)

// Name is the resource name of an item.
func Name(id uuid.UUID) string { return "certificationItems/" + id.String() }

// List reads what is under review.
func (s *Certifications) List(ctx context.Context, c *caller.Caller) ([]store.Item, error) {
	tx := s.Store.In(c.Practice)
	rows := tx.Items(listed)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("certificationItems", 0), evidence.Count(len(rows.All())))}, nil
	})
	return rows.All(), err
}

// Certify confirms or revokes an access of somebody else.
func (s *Certifications) Certify(ctx context.Context, c *caller.Caller, id uuid.UUID, confirm bool) (store.Item, error) {
	tx := s.Store.In(c.Practice)
	found := tx.Item(id)
	decided := tx.Certify(id, c.User, confirm)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		before, ok := found.One()
		switch {
		case !ok:
			return nil, errNone
		case before.User == c.User:
			return nil, errSelf
		case !decided.Found():
			return nil, errOver
		}
		mods := []func(*auditv1.Event){evidence.Resource(Name(id), 0), evidence.Reason("CERTIFICATION_CONFIRMED")}
		if !confirm {
			mods = append(mods, evidence.Reason("CERTIFICATION_REVOKED"), evidence.Risk(auditv1.Risk_RISK_HIGH))
		}
		return []*auditv1.Event{evidence.From(ctx).Event(mods...)}, nil
	})
	row, _ := decided.One()
	return row, err
}

// Tick opens the quarter's review and revokes what nobody confirmed. Any number
// of replicas may run it, as often as they like.
func (s *Certifications) Tick(ctx context.Context) error {
	open := s.Store.In(store.Platform)
	open.OpenCertifications()
	if err := open.Read(ctx); err != nil {
		return err
	}
	recorder := evidence.NewJob(accessv1.Service_SERVICE_AUTH, "LapseCertifications", accessv1.Action_ACTION_CERTIFY)
	for {
		tx := s.Store.In(store.Platform)
		lapsed := tx.LapseCertifications()
		err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
			var events []*auditv1.Event
			for _, item := range lapsed.All() {
				events = append(events, recorder.Event(evidence.Practice(item.Practice), evidence.Resource(Name(item.ID), 0),
					evidence.Reason("CERTIFICATION_LAPSED"), evidence.Risk(auditv1.Risk_RISK_HIGH)))
			}
			return events, nil
		})
		if err != nil || len(lapsed.All()) == 0 {
			return err
		}
	}
}
