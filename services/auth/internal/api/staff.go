package api

import (
	"context"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/staff"
)

// ListStaff implements AuthService.
func (s *Service) ListStaff(ctx context.Context, r *authv1.ListStaffRequest) (*authv1.ListStaffResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	doctor, err := idOf("parent", r.GetParent(), "users")
	if err != nil {
		return nil, err
	}
	members, err := s.Staff.List(ctx, c, doctor)
	if err != nil {
		return nil, err
	}
	response := &authv1.ListStaffResponse{}
	for _, m := range members {
		response.Staff = append(response.Staff, staffMessage(m))
	}
	return response, nil
}

// AssignStaff implements AuthService.
func (s *Service) AssignStaff(ctx context.Context, r *authv1.AssignStaffRequest) (*authv1.StaffMember, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	doctor, err := idOf("parent", r.GetParent(), "users")
	if err != nil {
		return nil, err
	}
	member, err := idOf("user", r.GetUser(), "users")
	if err != nil {
		return nil, err
	}
	assigned, err := s.Staff.Assign(ctx, c, doctor, member)
	if err != nil {
		return nil, err
	}
	return staffMessage(assigned), nil
}

// UnassignStaff implements AuthService.
func (s *Service) UnassignStaff(ctx context.Context, r *authv1.UnassignStaffRequest) (*authv1.UnassignStaffResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	doctor, member, err := staffOf("name", r.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.Staff.Unassign(ctx, c, doctor, member); err != nil {
		return nil, err
	}
	return &authv1.UnassignStaffResponse{}, nil
}

// UpdateStaffModules implements AuthService.
func (s *Service) UpdateStaffModules(ctx context.Context, r *authv1.UpdateStaffModulesRequest) (*authv1.StaffMember, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	doctor, member, err := staffOf("name", r.GetName())
	if err != nil {
		return nil, err
	}
	changed, err := s.Staff.SetModules(ctx, c, doctor, member, r.GetModules())
	if err != nil {
		return nil, err
	}
	return staffMessage(changed), nil
}

func staffMessage(m staff.Member) *authv1.StaffMember {
	return &authv1.StaffMember{
		Name: staff.Name(m.Doctor, m.User.ID), User: userMessage(m.User), Permissions: m.Permissions.List(),
	}
}
