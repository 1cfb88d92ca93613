// Package staff assigns staff members to doctors and narrows what they may do.
// A doctor works on their own staff only and grants nothing that the doctor or
// the member's template lacks (claims DH-15, DH-30).
package staff

import (
	"context"
	"fmt"

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

// Staff works on assignments.
type Staff struct {
	Store *store.Store
	Users *user.Users
}

// maxDoctors bounds the doctors whom a member acts for: all of them stand in each caller token.
const maxDoctors = 100

// Member is a staff member as assigned to one doctor.
type Member struct {
	Doctor      uuid.UUID
	User        user.User
	Permissions access.Permissions
}

var (
	errNotOwn   = errs.New(errs.KindDenied, "NOT_OWN_STAFF", "a doctor works on their own staff only")
	errAssigned = errs.New(errs.KindNotFound, "STAFF_NOT_FOUND", "there is no such assignment")
	errDoctor   = errs.New(errs.KindNotFound, "USER_NOT_FOUND", "there is no such doctor")
	errMember   = errs.New(errs.KindInvalid, "NOT_STAFF", "only a user whose role is STAFF can be assigned").
			WithField("user", "is not a staff member")
	errMany = errs.New(errs.KindPrecondition, "TOO_MANY_DOCTORS",
		fmt.Sprintf("a staff member acts for at most %d doctors; end another assignment first", maxDoctors))
	errDisabled = errs.New(errs.KindPrecondition, "USER_DISABLED", "a disabled user cannot be assigned")
)

// Name is the resource name of an assignment.
func Name(doctor, member uuid.UUID) string { return user.Name(doctor) + "/staff/" + member.String() }

// List reads who is assigned to a doctor.
func (s *Staff) List(ctx context.Context, c *caller.Caller, doctor uuid.UUID) ([]Member, error) {
	if err := own(c, doctor); err != nil {
		return nil, err
	}
	tx := s.Store.In(c.Practice)
	found, assigned, rows := tx.User(doctor), tx.Assignments(doctor), tx.Members(doctor)
	custom := tx.MasksOfStaff(doctor)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !isDoctor(found) {
			return nil, errDoctor
		}
		return []*auditv1.Event{evidence.From(ctx).Event(
			evidence.Resource(user.Name(doctor)+"/staff", 0), evidence.Count(len(rows.All())))}, nil
	})
	if err != nil {
		return nil, err
	}
	users, err := s.Users.OpenAll(ctx, c, rows.All())
	if err != nil {
		return nil, err
	}
	modules := map[uuid.UUID]roles.Modules{}
	for _, a := range assigned.All() {
		modules[a.Staff] = a.Modules
	}
	held, err := masksOf(custom)
	if err != nil {
		return nil, err
	}
	members := make([]Member, len(users))
	for i, u := range users {
		members[i] = member(doctor, u, held, modules[u.ID])
	}
	return members, nil
}

// Assign makes the member act for the doctor, with every module of the member's
// template. One who is assigned already stays as they are.
func (s *Staff) Assign(ctx context.Context, c *caller.Caller, doctor, staff uuid.UUID) (Member, error) {
	if err := own(c, doctor); err != nil {
		return Member{}, err
	}
	before, masks, err := s.read(ctx, c, doctor, staff)
	switch {
	case err != nil:
		return Member{}, err
	case before.Kind != accessv1.RoleKind_ROLE_KIND_STAFF:
		return Member{}, errMember
	case before.Disabled:
		return Member{}, errDisabled
	}
	tx := s.Store.In(c.Practice)
	assigned := tx.Assign(doctor, staff, roles.Openable(masks.of(doctor, doctorRole), before.Role()), maxDoctors)
	return s.finish(ctx, c, tx, doctor, staff, assigned, errMany)
}

// Unassign ends an assignment.
func (s *Staff) Unassign(ctx context.Context, c *caller.Caller, doctor, staff uuid.UUID) error {
	if err := own(c, doctor); err != nil {
		return err
	}
	tx := s.Store.In(c.Practice)
	ended := tx.Unassign(doctor, staff)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !ended.Found() {
			return nil, errAssigned
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(doctor, staff), 0))}, nil
	})
}

// SetModules sets what the doctor opens to the member.
func (s *Staff) SetModules(ctx context.Context, c *caller.Caller, doctor, staff uuid.UUID, names []string) (Member, error) {
	if err := own(c, doctor); err != nil {
		return Member{}, err
	}
	modules, err := roles.ParseModules(names)
	if err != nil {
		return Member{}, errs.Wrap(err, errs.KindInvalid, "MODULE_UNKNOWN", "there is no such module").WithField("modules", err.Error())
	}
	before, masks, err := s.read(ctx, c, doctor, staff)
	if err != nil {
		return Member{}, err
	}
	if err := grantable(masks.of(doctor, doctorRole), before.Role(), modules); err != nil {
		return Member{}, err
	}
	tx := s.Store.In(c.Practice)
	changed := tx.SetModules(doctor, staff, modules)
	return s.finish(ctx, c, tx, doctor, staff, changed, errAssigned)
}

func grantable(doctor access.Permissions, member roles.Role, modules roles.Modules) error {
	switch module, refusal := roles.Grantable(doctor, member, modules); refusal {
	case roles.TemplateLacks:
		return errs.New(errs.KindInvalid, "MODULE_NOT_IN_TEMPLATE", "the member's template has nothing in this module").
			WithField("modules", fmt.Sprintf("%s is nothing for a %s", module, member.Template))
	case roles.DoctorLacks:
		return errs.New(errs.KindDenied, "GRANT_EXCEEDS_OWN", "a doctor cannot grant what the doctor lacks").
			WithField("modules", module+" holds more than the doctor does")
	}
	return nil
}

// read finds doctor and member in the caller's practice; who is elsewhere does not exist.
func (s *Staff) read(ctx context.Context, c *caller.Caller, doctor, staff uuid.UUID) (store.User, masks, error) {
	tx := s.Store.In(c.Practice)
	foundDoctor, foundStaff, custom := tx.User(doctor), tx.User(staff), tx.Masks(doctor)
	if err := tx.Read(ctx); err != nil {
		return store.User{}, nil, err
	}
	if !isDoctor(foundDoctor) {
		return store.User{}, nil, errDoctor
	}
	row, ok := foundStaff.One()
	if !ok {
		return store.User{}, nil, user.ErrNotFound
	}
	held, err := masksOf(custom)
	return row, held, err
}

var doctorRole = roles.Role{Kind: accessv1.RoleKind_ROLE_KIND_DOCTOR}

// masks are the custom roles of those who have one.
type masks map[uuid.UUID]access.Permissions

func masksOf(rows *store.Rows[store.Mask]) (masks, error) {
	m := masks{}
	for _, row := range rows.All() {
		held, err := access.FromBytes(row.Permissions)
		if err != nil {
			return nil, err
		}
		m[row.User] = held
	}
	return m, nil
}

// of is what a user with the role holds for good.
func (m masks) of(id uuid.UUID, role roles.Role) access.Permissions {
	if held, ok := m[id]; ok {
		return held
	}
	return roles.Of(role)
}

func (s *Staff) finish(ctx context.Context, c *caller.Caller, tx *store.Tx, doctor, staff uuid.UUID,
	result *store.Rows[store.Assignment], missing error,
) (Member, error) {
	row, custom := tx.User(staff), tx.Masks(staff)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !result.Found() || !row.Found() {
			return nil, missing
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(doctor, staff), 0))}, nil
	})
	if err != nil {
		return Member{}, err
	}
	users, err := s.Users.OpenAll(ctx, c, row.All())
	if err != nil {
		return Member{}, err
	}
	held, err := masksOf(custom)
	if err != nil {
		return Member{}, err
	}
	assignment, _ := result.One()
	return member(doctor, users[0], held, assignment.Modules), nil
}

// own: a doctor works on their own staff; the permission in the rule lets only
// doctors and administrators come this far.
func own(c *caller.Caller, doctor uuid.UUID) error {
	if c.Role != accessv1.RoleKind_ROLE_KIND_ADMIN && c.User != doctor {
		return errNotOwn
	}
	return nil
}

func isDoctor(rows *store.Rows[store.User]) bool {
	row, ok := rows.One()
	return ok && row.Kind == accessv1.RoleKind_ROLE_KIND_DOCTOR
}

func member(doctor uuid.UUID, u user.User, held masks, modules roles.Modules) Member {
	return Member{Doctor: doctor, User: u, Permissions: roles.Narrow(held.of(u.ID, u.Role()), modules)}
}
