package api

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const team = "/careTeam"

// stamp is a time as a message has it; unset where there is no bound.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// instant reads a time that may be unset.
func instant(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, errs.New(errs.KindInvalid, "TIME_INVALID", "A time is none.").WithField(field, "must be between the years 1 and 9999")
	}
	return t.AsTime(), nil
}

func showTeam(patient uuid.UUID, members []store.Member, err error) (*recordsv1.CareTeam, error) {
	if err != nil {
		return nil, err
	}
	out := &recordsv1.CareTeam{Name: patients + patient.String() + team}
	for _, m := range members {
		name := "users/" + m.User.String()
		if m.Current {
			out.Users = append(out.Users, name)
		}
		out.Members = append(out.Members, &recordsv1.CareTeamMember{User: name, StartTime: stamp(m.Starts), EndTime: stamp(m.Ends)})
	}
	return out, nil
}

func teamMember(name, user string) (patient, member uuid.UUID, err error) {
	if patient, err = patientID("name", strings.TrimSuffix(name, team)); err != nil {
		return
	}
	list, err := ids("user", user, "users")
	if err != nil {
		return
	}
	return patient, list[0], nil
}

// GetCareTeam implements the RPC.
func (s *Service) GetCareTeam(ctx context.Context, r *recordsv1.GetCareTeamRequest) (*recordsv1.CareTeam, error) {
	patient, err := patientID("name", strings.TrimSuffix(r.GetName(), team))
	if err != nil {
		return nil, err
	}
	members, err := s.chart.Team(ctx, patient)
	return showTeam(patient, members, err)
}

// AddCareTeamMember implements the RPC.
func (s *Service) AddCareTeamMember(ctx context.Context, r *recordsv1.AddCareTeamMemberRequest) (*recordsv1.CareTeam, error) {
	patient, user, err := teamMember(r.GetName(), r.GetUser())
	if err != nil {
		return nil, err
	}
	m := store.Member{User: user}
	if m.Starts, err = instant("start_time", r.GetStartTime()); err != nil {
		return nil, err
	}
	if m.Ends, err = instant("end_time", r.GetEndTime()); err != nil {
		return nil, err
	}
	members, err := s.chart.AddToTeam(ctx, patient, m)
	return showTeam(patient, members, err)
}

// RemoveCareTeamMember implements the RPC.
func (s *Service) RemoveCareTeamMember(ctx context.Context, r *recordsv1.RemoveCareTeamMemberRequest) (*recordsv1.CareTeam, error) {
	patient, user, err := teamMember(r.GetName(), r.GetUser())
	if err != nil {
		return nil, err
	}
	members, err := s.chart.RemoveFromTeam(ctx, patient, user)
	return showTeam(patient, members, err)
}

// ListOwners implements the RPC.
func (s *Service) ListOwners(ctx context.Context, r *recordsv1.ListOwnersRequest) (*recordsv1.ListOwnersResponse, error) {
	practice, err := ids("practice", r.GetPractice(), "practices")
	if err != nil {
		return nil, err
	}
	users := make([]uuid.UUID, 0, len(r.GetUsers()))
	for _, name := range r.GetUsers() {
		user, err := ids("users", name, "users")
		if err != nil {
			return nil, err
		}
		users = append(users, user[0])
	}
	owners, err := s.chart.Owners(ctx, practice[0], users)
	if err != nil {
		return nil, err
	}
	response := &recordsv1.ListOwnersResponse{}
	for _, owner := range owners {
		response.Users = append(response.Users, "users/"+owner.String())
	}
	return response, nil
}
