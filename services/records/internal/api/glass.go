package api

import (
	"context"

	"github.com/google/uuid"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/glass"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// AccessService implements who sees a patient beyond the care team.
type AccessService struct {
	recordsv1.UnimplementedAccessServiceServer
	glass *glass.Glass
}

// NewAccess makes the service.
func NewAccess(g *glass.Glass) *AccessService { return &AccessService{glass: g} }

func showOpening(o glass.Opening, err error) (*recordsv1.GlassOpening, error) {
	if err != nil {
		return nil, err
	}
	out := &recordsv1.GlassOpening{
		Name: "glassOpenings/" + o.ID.String(), Patient: patients + o.Patient.String(), User: "users/" + o.User.String(),
		OpenTime: stamp(o.Opened), EndTime: stamp(o.Ends), ReviewDueTime: stamp(o.Opened.Add(glass.ReviewWithin)),
		ReviewTime: stamp(o.Reviewed), Finding: recordsv1.GlassFinding(o.Finding), Reason: o.Reason,
	}
	if o.Reviewer != uuid.Nil {
		out.Reviewer = "users/" + o.Reviewer.String()
	}
	return out, nil
}

// BreakGlass implements the RPC.
func (s *AccessService) BreakGlass(ctx context.Context, r *recordsv1.BreakGlassRequest) (*recordsv1.GlassOpening, error) {
	patient, err := patientID("patient", r.GetPatient())
	if err != nil {
		return nil, err
	}
	return showOpening(s.glass.Break(ctx, patient, r.GetReason(), int(r.GetMinutes())))
}

// EndGlass implements the RPC.
func (s *AccessService) EndGlass(ctx context.Context, r *recordsv1.EndGlassRequest) (*recordsv1.GlassOpening, error) {
	opening, err := ids("name", r.GetName(), "glassOpenings")
	if err != nil {
		return nil, err
	}
	return showOpening(s.glass.End(ctx, opening[0]))
}

// ListGlassOpenings implements the RPC.
func (s *AccessService) ListGlassOpenings(ctx context.Context, r *recordsv1.ListGlassOpeningsRequest) (*recordsv1.ListGlassOpeningsResponse, error) {
	list, next, err := s.glass.List(ctx, r.GetReviewed(), chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListGlassOpeningsResponse{NextPageToken: next}
	for _, o := range list {
		shown, _ := showOpening(o, nil)
		out.Openings = append(out.Openings, shown)
	}
	return out, nil
}

// ReviewGlass implements the RPC.
func (s *AccessService) ReviewGlass(ctx context.Context, r *recordsv1.ReviewGlassRequest) (*recordsv1.GlassOpening, error) {
	opening, err := ids("name", r.GetName(), "glassOpenings")
	if err != nil {
		return nil, err
	}
	return showOpening(s.glass.Review(ctx, opening[0], r.GetFinding()))
}

func showGlassUser(d store.Designated) *recordsv1.GlassUser {
	return &recordsv1.GlassUser{Name: "glassUsers/" + d.User.String(), CreateTime: stamp(d.At), Designator: "users/" + d.By.String()}
}

// ListGlassUsers implements the RPC.
func (s *AccessService) ListGlassUsers(ctx context.Context, _ *recordsv1.ListGlassUsersRequest) (*recordsv1.ListGlassUsersResponse, error) {
	list, err := s.glass.Users(ctx)
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListGlassUsersResponse{}
	for _, d := range list {
		out.Users = append(out.Users, showGlassUser(d))
	}
	return out, nil
}

// DesignateGlassUser implements the RPC.
func (s *AccessService) DesignateGlassUser(ctx context.Context, r *recordsv1.DesignateGlassUserRequest) (*recordsv1.GlassUser, error) {
	user, err := ids("user", r.GetUser(), "users")
	if err != nil {
		return nil, err
	}
	made, err := s.glass.Designate(ctx, user[0])
	if err != nil {
		return nil, err
	}
	return showGlassUser(made), nil
}

// WithdrawGlassUser implements the RPC.
func (s *AccessService) WithdrawGlassUser(ctx context.Context, r *recordsv1.WithdrawGlassUserRequest) (*recordsv1.WithdrawGlassUserResponse, error) {
	user, err := ids("name", r.GetName(), "glassUsers")
	if err != nil {
		return nil, err
	}
	return &recordsv1.WithdrawGlassUserResponse{}, s.glass.Withdraw(ctx, user[0])
}
