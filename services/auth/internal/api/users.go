package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/practice"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// CreateUser implements AuthService.
func (s *Service) CreateUser(ctx context.Context, r *authv1.CreateUserRequest) (*authv1.User, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	request, err := requestID(r.GetRequestId())
	if err != nil {
		return nil, err
	}
	if err := line("display_name", r.GetDisplayName()); err != nil {
		return nil, err
	}
	if err := address("email", r.GetEmail()); err != nil {
		return nil, err
	}
	created, err := s.Users.Create(ctx, c, user.New{
		Username: r.GetUsername(), DisplayName: r.GetDisplayName(), Email: r.GetEmail(),
		Role: roles.Role{Kind: r.GetRole(), Template: r.GetTemplate()}, Request: request,
	})
	if err != nil {
		return nil, err
	}
	return userMessage(created), nil
}

// GetUser implements AuthService.
func (s *Service) GetUser(ctx context.Context, r *authv1.GetUserRequest) (*authv1.User, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "users")
	if err != nil {
		return nil, err
	}
	found, err := s.Users.Get(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return userMessage(found), nil
}

// ListUsers implements AuthService.
func (s *Service) ListUsers(ctx context.Context, r *authv1.ListUsersRequest) (*authv1.ListUsersResponse, error) {
	list, next, err := listed(ctx, r, s.Users.List, userMessage, func(row user.User) uuid.UUID { return row.ID })
	if err != nil {
		return nil, err
	}
	return &authv1.ListUsersResponse{Users: list, NextPageToken: next}, nil
}

// UpdateUser implements AuthService.
func (s *Service) UpdateUser(ctx context.Context, r *authv1.UpdateUserRequest) (*authv1.User, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("user.name", r.GetUser().GetName(), "users")
	if err != nil {
		return nil, err
	}
	change, err := userChange(r)
	if err != nil {
		return nil, err
	}
	changed, err := s.Users.Update(ctx, c, id, change)
	if err != nil {
		return nil, err
	}
	return userMessage(changed), nil
}

func userChange(r *authv1.UpdateUserRequest) (user.Change, error) {
	u := r.GetUser()
	fields, err := newMask(r.GetUpdateMask(), map[string]bool{
		"display_name": u.GetDisplayName() != "", "email": u.GetEmail() != "",
		"role": u.GetRole() != accessv1.RoleKind_ROLE_KIND_UNSPECIFIED, "template": u.GetTemplate() != "",
	}, "name", "etag", "username", "practice", "disabled", "totp_confirmed", "create_time", "update_time")
	if err != nil {
		return user.Change{}, err
	}
	var change user.Change
	if change.Version, err = versionOf("user.etag", u.GetEtag()); err != nil {
		return change, err
	}
	if u.GetDisabled() {
		return change, invalid("user.disabled", "cannot be set here; call DisableUser")
	}
	if name := u.GetUsername(); name != "" {
		change.Username = &name
	}
	if fields.has("display_name") {
		if err := line("user.display_name", u.GetDisplayName()); err != nil {
			return change, err
		}
		name := u.GetDisplayName()
		change.DisplayName = &name
	}
	if fields.has("email") {
		if err := address("user.email", u.GetEmail()); err != nil {
			return change, err
		}
		email := u.GetEmail()
		change.Email = &email
	}
	if fields.has("role") {
		kind := u.GetRole()
		change.Kind = &kind
	}
	if fields.has("template") {
		template := u.GetTemplate()
		change.Template = &template
	}
	return change, nil
}

// DisableUser implements AuthService.
func (s *Service) DisableUser(ctx context.Context, r *authv1.DisableUserRequest) (*authv1.User, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "users")
	if err != nil {
		return nil, err
	}
	disabled, err := s.Users.Disable(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return userMessage(disabled), nil
}

// ListRoles implements AuthService.
func (s *Service) ListRoles(context.Context, *authv1.ListRolesRequest) (*authv1.ListRolesResponse, error) {
	response := &authv1.ListRolesResponse{}
	for _, role := range roles.All() {
		response.Roles = append(response.Roles, &authv1.Role{
			Kind: role.Kind, Template: role.Template, Permissions: roles.Of(role).List(),
		})
	}
	return response, nil
}

func userMessage(u user.User) *authv1.User {
	m := &authv1.User{
		Name: user.Name(u.ID), Username: u.Username, DisplayName: u.DisplayName, Email: u.Email,
		Role: u.Kind, Template: u.Template, Disabled: u.Disabled, TotpConfirmed: u.TotpConfirmed,
		CreateTime: timestamppb.New(u.Created), UpdateTime: timestamppb.New(u.Updated), Etag: etag(u.Version),
	}
	if u.Practice != store.Platform {
		m.Practice = practice.Name(u.Practice)
	}
	return m
}
