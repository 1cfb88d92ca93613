// Package custom keeps a practice's own roles. A custom role holds some of what
// its kind and template may hold at most, never more (claims DC-03, DC-04), and
// counts from its holder's next request on.
package custom

import (
	"context"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// Roles works on the roles of the caller's practice.
type Roles struct{ Store *store.Store }

// most bounds the roles of a practice.
const most = 200

// Role is a custom role with its permissions.
type Role struct {
	store.CustomRole
	Holds access.Permissions
}

var (
	errBase = errs.New(errs.KindInvalid, "ROLE_INVALID", "choose ADMIN, DOCTOR, or STAFF with the template nurse or receptionist").
		WithField("kind", "with this template there is no role to start from")
	errCeiling = errs.New(errs.KindDenied, "ROLE_EXCEEDS_CEILING", "the role would hold more than its kind and template ever may").
			WithField("permissions", "hold one that is out of reach for this kind and template")
	errRefused = errs.New(errs.KindExists, "ROLE_NAME_TAKEN", "a role has that name, or there are 200 roles already").
			WithField("display_name", "is taken")
	errNotFound = errs.New(errs.KindNotFound, "ROLE_NOT_FOUND", "there is no such custom role")
	errHeld     = errs.New(errs.KindPrecondition, "ROLE_HELD", "somebody holds the role; give them another one first")
	errMismatch = errs.New(errs.KindPrecondition, "ROLE_MISMATCH",
		"the custom role is made from another kind or template than the user's, or the user is disabled")
)

// Name is the resource name of a custom role.
func Name(id uuid.UUID) string { return "customRoles/" + id.String() }

// within refuses what is beyond the ceiling, and adds what every role holds.
func within(base roles.Role, list []accessv1.Permission) (access.Permissions, error) {
	if !roles.Known(base) || base.Kind == accessv1.RoleKind_ROLE_KIND_SUPERADMIN {
		return access.Permissions{}, errBase
	}
	held := access.NewPermissions(list...)
	if !roles.Ceiling(base).HasAll(held) {
		return access.Permissions{}, errCeiling
	}
	return held.Or(roles.Floor()), nil
}

// Create makes a role.
func (r *Roles) Create(ctx context.Context, c *caller.Caller, name string, base roles.Role, list []accessv1.Permission) (Role, error) {
	held, err := within(base, list)
	if err != nil {
		return Role{}, err
	}
	id := uuid.Must(uuid.NewV7())
	tx := r.Store.In(c.Practice)
	created := tx.InsertCustomRole(store.CustomRole{
		ID: id, DisplayName: name, Kind: base.Kind, Template: base.Template, Permissions: held.Bytes(),
	}, c.User, most)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !created.Found() {
			return nil, errRefused
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 1))}, nil
	})
	row, _ := created.One()
	return Role{CustomRole: row, Holds: held}, err
}

// List reads the practice's roles.
func (r *Roles) List(ctx context.Context, c *caller.Caller) ([]Role, error) {
	tx := r.Store.In(c.Practice)
	rows := tx.CustomRoles()
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("customRoles", 0), evidence.Count(len(rows.All())))}, nil
	})
	if err != nil {
		return nil, err
	}
	list := make([]Role, len(rows.All()))
	for i, row := range rows.All() {
		held, err := access.FromBytes(row.Permissions)
		if err != nil {
			return nil, err
		}
		list[i] = Role{CustomRole: row, Holds: held}
	}
	return list, nil
}

// Update changes name and permissions, if the role is still the version that the
// caller read. A doctor who loses something opens it to no member any more. Nobody changes the role that they hold.
func (r *Roles) Update(ctx context.Context, c *caller.Caller, id uuid.UUID, version int64, name string, list []accessv1.Permission) (Role, error) {
	read := r.Store.In(c.Practice)
	found, own := read.CustomRole(id), read.HoldsRole(c.User, id)
	if err := read.Read(ctx); err != nil {
		return Role{}, err
	}
	before, ok := found.One()
	switch {
	case !ok:
		return Role{}, errNotFound
	case own.Found():
		return Role{}, user.ErrSelf
	}
	held, err := within(before.Role(), list)
	if err != nil {
		return Role{}, err
	}
	tx := r.Store.In(c.Practice)
	changed := tx.UpdateCustomRole(store.CustomRole{ID: id, DisplayName: name, Permissions: held.Bytes(), Version: version})
	narrow(tx, id, before.Kind, held)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		after, ok := changed.One()
		switch {
		case !ok && before.Version == version:
			return nil, errRefused
		case !ok:
			return nil, user.ErrStale
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), after.Version))}, nil
	})
	row, _ := changed.One()
	return Role{CustomRole: row, Holds: held}, err
}

// Delete deletes a role that nobody holds.
func (r *Roles) Delete(ctx context.Context, c *caller.Caller, id uuid.UUID) error {
	tx := r.Store.In(c.Practice)
	found, deleted := tx.CustomRole(id), tx.DeleteCustomRole(id)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		switch {
		case !found.Found():
			return nil, errNotFound
		case !deleted.Found():
			return nil, errHeld
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 0))}, nil
	})
}

// Assign gives a user a custom role; uuid.Nil takes it back. Grants and training of the old role end.
func (r *Roles) Assign(ctx context.Context, c *caller.Caller, target, id uuid.UUID) error {
	if target == c.User {
		return user.ErrSelf
	}
	read := r.Store.In(c.Practice)
	foundUser, found := read.User(target), read.CustomRole(id)
	if err := read.Read(ctx); err != nil {
		return err
	}
	who, known := foundUser.One()
	role, ok := found.One()
	switch {
	case !known:
		return user.ErrNotFound
	case id != uuid.Nil && !ok:
		return errNotFound
	}
	tx := r.Store.In(c.Practice)
	var set *uuid.UUID
	held := roles.Of(who.Role())
	if id != uuid.Nil {
		set = &id
		var err error
		if held, err = access.FromBytes(role.Permissions); err != nil {
			return err
		}
	}
	changed := tx.SetUserRole(target, set)
	tx.EndGrants(target)
	narrow(tx, target, who.Kind, held)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !changed.Found() {
			return nil, errMismatch
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(user.Name(target)+"/"+Name(id), 0))}, nil
	})
}

func narrow(tx *store.Tx, doctorOrRole uuid.UUID, kind accessv1.RoleKind, held access.Permissions) {
	if kind != accessv1.RoleKind_ROLE_KIND_DOCTOR {
		return
	}
	for _, template := range []string{roles.Nurse, roles.Receptionist} {
		member := roles.Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF, Template: template}
		tx.NarrowStaff(doctorOrRole, template, roles.Openable(held, member))
	}
}
