package api

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/services/auth/internal/certification"
	"github.com/carekeep/carekeep/services/auth/internal/custom"
	"github.com/carekeep/carekeep/services/auth/internal/grant"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/standing"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/usage"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// Governance implements carekeep.auth.v1.GovernanceService.
type Governance struct {
	authv1.UnimplementedGovernanceServiceServer

	Roles          *custom.Roles
	Grants         *grant.Grants
	Standing       *standing.Standing
	Certifications *certification.Certifications
	Uses           *usage.Uses
}

// ListPermissions implements GovernanceService.
func (g *Governance) ListPermissions(context.Context, *authv1.ListPermissionsRequest) (*authv1.ListPermissionsResponse, error) {
	groups := map[accessv1.Module]*authv1.PermissionGroup{}
	response := &authv1.ListPermissionsResponse{}
	values := accessv1.Permission(0).Descriptor().Values()
	for i := range values.Len() {
		p := accessv1.Permission(values.Get(i).Number())
		if p == accessv1.Permission_PERMISSION_UNSPECIFIED {
			continue
		}
		module := access.ModuleOf(p)
		if groups[module] == nil {
			groups[module] = &authv1.PermissionGroup{Module: module}
			response.Groups = append(response.Groups, groups[module])
		}
		groups[module].Permissions = append(groups[module].Permissions, &authv1.PermissionEntry{
			Permission: p, Roles: roles.Holding(p), PatientData: access.Patient().Has(p),
		})
	}
	slices.SortFunc(response.Groups, func(a, b *authv1.PermissionGroup) int { return int(a.GetModule() - b.GetModule()) })
	return response, nil
}

// CreateCustomRole implements GovernanceService.
func (g *Governance) CreateCustomRole(ctx context.Context, r *authv1.CreateCustomRoleRequest) (*authv1.CustomRole, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := line("display_name", r.GetDisplayName()); err != nil {
		return nil, err
	}
	role, err := g.Roles.Create(ctx, c, r.GetDisplayName(), roles.Role{Kind: r.GetKind(), Template: r.GetTemplate()}, r.GetPermissions())
	if err != nil {
		return nil, err
	}
	return customMessage(role), nil
}

// ListCustomRoles implements GovernanceService.
func (g *Governance) ListCustomRoles(ctx context.Context, _ *authv1.ListCustomRolesRequest) (*authv1.ListCustomRolesResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	list, err := g.Roles.List(ctx, c)
	response := &authv1.ListCustomRolesResponse{}
	for _, role := range list {
		response.Roles = append(response.Roles, customMessage(role))
	}
	return response, err
}

// UpdateCustomRole implements GovernanceService.
func (g *Governance) UpdateCustomRole(ctx context.Context, r *authv1.UpdateCustomRoleRequest) (*authv1.CustomRole, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "customRoles")
	if err != nil {
		return nil, err
	}
	if err := line("display_name", r.GetDisplayName()); err != nil {
		return nil, err
	}
	version, err := versionOf("etag", r.GetEtag())
	if err != nil {
		return nil, err
	}
	role, err := g.Roles.Update(ctx, c, id, version, r.GetDisplayName(), r.GetPermissions())
	if err != nil {
		return nil, err
	}
	return customMessage(role), nil
}

// DeleteCustomRole implements GovernanceService.
func (g *Governance) DeleteCustomRole(ctx context.Context, r *authv1.DeleteCustomRoleRequest) (*authv1.DeleteCustomRoleResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "customRoles")
	if err != nil {
		return nil, err
	}
	return &authv1.DeleteCustomRoleResponse{}, g.Roles.Delete(ctx, c, id)
}

// SetUserRole implements GovernanceService.
func (g *Governance) SetUserRole(ctx context.Context, r *authv1.SetUserRoleRequest) (*authv1.SetUserRoleResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	target, err := idOf("name", r.GetName(), "users")
	if err != nil {
		return nil, err
	}
	role := store.Platform
	if r.GetRole() != "" {
		if role, err = idOf("role", r.GetRole(), "customRoles"); err != nil {
			return nil, err
		}
	}
	return &authv1.SetUserRoleResponse{}, g.Roles.Assign(ctx, c, target, role)
}

// RequestGrant implements GovernanceService.
func (g *Governance) RequestGrant(ctx context.Context, r *authv1.RequestGrantRequest) (*authv1.Grant, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := line("reason", r.GetReason()); err != nil {
		return nil, err
	}
	return grantMessage(g.Grants.Request(ctx, c, r.GetPermission(), r.GetReason(), r.GetHours()))
}

// ListGrants implements GovernanceService.
func (g *Governance) ListGrants(ctx context.Context, _ *authv1.ListGrantsRequest) (*authv1.ListGrantsResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	list, err := g.Grants.List(ctx, c)
	response := &authv1.ListGrantsResponse{}
	for _, row := range list {
		m, _ := grantMessage(row, nil)
		response.Grants = append(response.Grants, m)
	}
	return response, err
}

// DecideGrant implements GovernanceService.
func (g *Governance) DecideGrant(ctx context.Context, r *authv1.DecideGrantRequest) (*authv1.Grant, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "grants")
	if err != nil {
		return nil, err
	}
	return grantMessage(g.Grants.Decide(ctx, c, id, r.GetApprove()))
}

// RevokeGrant implements GovernanceService.
func (g *Governance) RevokeGrant(ctx context.Context, r *authv1.RevokeGrantRequest) (*authv1.Grant, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "grants")
	if err != nil {
		return nil, err
	}
	return grantMessage(g.Grants.Revoke(ctx, c, id))
}

func customMessage(r custom.Role) *authv1.CustomRole {
	return &authv1.CustomRole{
		Name: custom.Name(r.ID), DisplayName: r.DisplayName, Kind: r.Kind, Template: r.Template,
		Permissions: r.Holds.List(), Etag: etag(r.Version),
	}
}

func grantMessage(g store.Grant, err error) (*authv1.Grant, error) {
	if err != nil {
		return nil, err
	}
	m := &authv1.Grant{
		Name: grant.Name(g.ID), User: user.Name(g.User), Permission: g.Permission, Reason: g.Reason, Hours: g.Hours,
		State: grant.State(g), RequestTime: timestamppb.New(g.Requested),
	}
	if g.DecidedBy != nil {
		m.DecidedBy = user.Name(*g.DecidedBy)
	}
	if g.Expires != nil {
		m.ExpireTime = timestamppb.New(*g.Expires)
	}
	return m, nil
}
