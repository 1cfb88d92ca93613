package api

import (
	"context"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/referral"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// ReferralService implements referrals to other doctors of the practice.
type ReferralService struct {
	recordsv1.UnimplementedReferralServiceServer
	referrals *referral.Referrals
}

// NewReferrals makes the service.
func NewReferrals(r *referral.Referrals) *ReferralService { return &ReferralService{referrals: r} }

func showReferral(r referral.Referral, err error) (*recordsv1.Referral, error) {
	if err != nil {
		return nil, err
	}
	return &recordsv1.Referral{
		Name: "referrals/" + r.ID.String(), Patient: patients + r.Patient.String(),
		From: "users/" + r.From.String(), To: "users/" + r.To.String(),
		CreateTime: stamp(r.Created), StartTime: stamp(r.Starts), EndTime: stamp(r.Ends), DecideTime: stamp(r.Decided),
		State: stateOf(r), Reason: r.Reason,
	}, nil
}

func stateOf(r referral.Referral) recordsv1.ReferralState {
	switch {
	case !r.Withdrawn.IsZero():
		return recordsv1.ReferralState_REFERRAL_STATE_WITHDRAWN
	case r.Decision == store.ReferralDeclined:
		return recordsv1.ReferralState_REFERRAL_STATE_DECLINED
	case r.Over:
		return recordsv1.ReferralState_REFERRAL_STATE_ENDED
	case r.Decision == store.ReferralAccepted:
		return recordsv1.ReferralState_REFERRAL_STATE_ACCEPTED
	default:
		return recordsv1.ReferralState_REFERRAL_STATE_OPEN
	}
}

// CreateReferral implements the RPC.
func (s *ReferralService) CreateReferral(ctx context.Context, r *recordsv1.CreateReferralRequest) (*recordsv1.Referral, error) {
	patient, err := patientID("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	to, err := ids("to", r.GetTo(), "users")
	if err != nil {
		return nil, err
	}
	starts, err := instant("start_time", r.GetStartTime())
	if err != nil {
		return nil, err
	}
	ends, err := instant("end_time", r.GetEndTime())
	if err != nil {
		return nil, err
	}
	return showReferral(s.referrals.Create(ctx, referral.Request{
		Patient: patient, To: to[0], Reason: r.GetReason(), Starts: starts, Ends: ends,
	}))
}

// ListReferrals implements the RPC.
func (s *ReferralService) ListReferrals(ctx context.Context, r *recordsv1.ListReferralsRequest) (*recordsv1.ListReferralsResponse, error) {
	list, next, err := s.referrals.List(ctx, r.GetClosed(), chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListReferralsResponse{NextPageToken: next}
	for _, one := range list {
		shown, _ := showReferral(one, nil)
		out.Referrals = append(out.Referrals, shown)
	}
	return out, nil
}

// AcceptReferral implements the RPC.
func (s *ReferralService) AcceptReferral(ctx context.Context, r *recordsv1.AcceptReferralRequest) (*recordsv1.Referral, error) {
	id, err := ids("name", r.GetName(), "referrals")
	if err != nil {
		return nil, err
	}
	return showReferral(s.referrals.Decide(ctx, id[0], true))
}

// DeclineReferral implements the RPC.
func (s *ReferralService) DeclineReferral(ctx context.Context, r *recordsv1.DeclineReferralRequest) (*recordsv1.Referral, error) {
	id, err := ids("name", r.GetName(), "referrals")
	if err != nil {
		return nil, err
	}
	return showReferral(s.referrals.Decide(ctx, id[0], false))
}

// WithdrawReferral implements the RPC.
func (s *ReferralService) WithdrawReferral(ctx context.Context, r *recordsv1.WithdrawReferralRequest) (*recordsv1.Referral, error) {
	id, err := ids("name", r.GetName(), "referrals")
	if err != nil {
		return nil, err
	}
	return showReferral(s.referrals.Withdraw(ctx, id[0]))
}
