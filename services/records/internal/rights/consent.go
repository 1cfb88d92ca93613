package rights

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Consent is what is stored of a consent, and shown.
type Consent = recordsv1.PatientConsent

var consents = kind[*Consent]{rowType: store.TypePatientConsent, collection: "consents"}

var (
	errConsentTimes = errs.New(errs.KindInvalid, "PERIOD_INVALID", "A consent ends after it began.").WithField("consent.end_time", "must be after start_time")
	errWithdrawn    = errs.New(errs.KindPrecondition, "CONSENT_WITHDRAWN", "This consent was withdrawn.")
)

// RecordConsent records a consent to disclose.
func (r *Rights) RecordConsent(ctx context.Context, patient uuid.UUID, in *Consent) (*Consent, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	start := in.GetStartTime()
	if start == nil {
		start = timestamppb.New(r.now())
	}
	if !start.IsValid() || in.GetEndTime() != nil && (!in.GetEndTime().IsValid() || !in.GetEndTime().AsTime().After(start.AsTime())) {
		return nil, errConsentTimes
	}
	owner, _, err := consents.find(ctx, r, who, Place{Patient: patient})
	if err != nil {
		return nil, err
	}
	msg := &Consent{
		Scope: in.GetScope(), Purpose: in.GetPurpose(), Grantee: in.GetGrantee(),
		StartTime: start, EndTime: in.GetEndTime(), Evidence: in.GetEvidence(),
	}
	return r.shownConsent(consents.add(ctx, r, who, owner, consents.fresh(r, patient, msg), rider{}))
}

// WithdrawConsent ends a consent, from now on.
func (r *Rights) WithdrawConsent(ctx context.Context, at Place, evidence string) (*Consent, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	return r.shownConsent(consents.change(ctx, r, who, at, func(m *Consent) error {
		if m.GetWithdrawTime() != nil {
			return errWithdrawn
		}
		m.WithdrawTime, m.WithdrawEvidence = timestamppb.New(r.now()), evidence
		return nil
	}, rider{}))
}

// Consents lists a patient's consents, newest first, and returns the token of the next page, empty at the end.
func (r *Rights) Consents(ctx context.Context, patient uuid.UUID, page chart.Page) ([]*Consent, string, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, "", err
	}
	list, next, err := consents.list(ctx, r, who, patient, page)
	return listed(list, next, err, r.shownConsent)
}

func (r *Rights) active(m *Consent) bool {
	now := r.now()
	return m.GetWithdrawTime() == nil && !now.Before(m.GetStartTime().AsTime()) &&
		(m.GetEndTime() == nil || now.Before(m.GetEndTime().AsTime()))
}

func (r *Rights) shownConsent(e entry[*Consent], err error) (*Consent, error) {
	if err != nil {
		return nil, err
	}
	m := proto.Clone(e.msg).(*Consent)
	m.Name, m.CreateTime, m.Active = consents.name(Place{e.row.Patient, e.row.ID}), timestamppb.New(e.row.Created), r.active(m)
	return m, nil
}
