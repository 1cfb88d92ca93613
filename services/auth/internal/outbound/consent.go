package outbound

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Agreement is a consent to record.
type Agreement struct {
	Number   string
	Category store.Category
	Source   Source
	Given    *time.Time // nil: now
}

var errConsent = errs.New(errs.KindNotFound, "CONSENT_NOT_FOUND", "there is no such consent")

// ConsentName is the resource name of a consent.
func ConsentName(id uuid.UUID) string { return "consents/" + id.String() }

// RecordConsent records what the owner of a number agreed to. One that holds already is answered as it is.
func (s *SMS) RecordConsent(ctx context.Context, c *caller.Caller, a Agreement) (store.Consent, error) {
	number, err := sms.Number(a.Number)
	if err != nil {
		return store.Consent{}, err
	}
	if a.Given != nil && a.Given.After(s.now()) {
		return store.Consent{}, invalid("give_time", errors.New("must not be in the future"))
	}
	id := uuid.Must(uuid.NewV7())
	sealed, err := s.sealer.Seal(ctx, seal.Number, id, []byte(number))
	if err != nil {
		return store.Consent{}, err
	}
	token := s.Token(c.Practice, number)
	tx := s.store.In(c.Practice)
	tx.InsertConsent(store.NewConsent{
		ID: id, Token: token, Sealed: sealed, Category: a.Category, Source: int16(a.Source), Given: a.Given, Creator: c.User,
	})
	kept := tx.LiveConsent(token, a.Category)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		row, ok := kept.One()
		if !ok {
			return nil, errConsent // revoked at the same moment
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(ConsentName(row.ID), 0))}, nil
	})
	row, _ := kept.One()
	return row, err
}

// RevokeConsent ends a consent and, where the owner of the number wants no more messages at all, stops everything to it for good.
func (s *SMS) RevokeConsent(ctx context.Context, c *caller.Caller, id uuid.UUID, stop bool) (store.Consent, error) {
	tx := s.store.In(c.Practice)
	revoked := tx.RevokeConsent(id, c.User, stop)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !revoked.Found() {
			return nil, errConsent
		}
		reason := "REVOKED"
		if stop {
			reason = "OPTED_OUT"
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(ConsentName(id), 0), evidence.Reason(reason))}, nil
	})
	row, _ := revoked.One()
	return row, err
}

// Consents lists what the owner of a number agreed to, and what speaks against messages to it.
func (s *SMS) Consents(ctx context.Context, c *caller.Caller, text string) ([]store.Consent, store.Standing, error) {
	number, err := sms.Number(text)
	if err != nil {
		return nil, store.Standing{}, err
	}
	token := s.Token(c.Practice, number)
	tx := s.store.In(c.Practice)
	rows, standing := tx.Consents(token), tx.StandingOf(token, s.Token(store.Platform, number))
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("consents", 0), evidence.Count(len(rows.All())))}, nil
	})
	found, _ := standing.One()
	return rows.All(), found, err
}

// EraseNumber takes a number out of all that the practice has of it. That it said
// stop stays: an HMAC without a person (claim DMD-27).
func (s *SMS) EraseNumber(ctx context.Context, c *caller.Caller, text string) error {
	number, err := sms.Number(text)
	if err != nil {
		return err
	}
	tx := s.store.In(c.Practice)
	token := s.Token(c.Practice, number)
	rows := tx.Consents(token)
	tx.EraseNumber(token)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		recorder := evidence.From(ctx)
		events := []*auditv1.Event{recorder.Event(evidence.Resource("consents", 0), evidence.Count(len(rows.All())))}
		for _, row := range rows.All() {
			events = append(events, recorder.Event(evidence.Action(accessv1.Action_ACTION_DELETE), evidence.Resource(ConsentName(row.ID), 0)))
		}
		return events, nil
	})
}
