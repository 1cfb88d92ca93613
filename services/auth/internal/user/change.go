package user

import (
	"context"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/invite"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Change is what Update may change; nil leaves a value alone. Kind and Template
// may come alone: the other one then stays as it is.
type Change struct {
	Version int64
	// Username is what the caller believes the sign-in name to be; it never changes.
	Username    *string
	DisplayName *string
	Email       *string
	Kind        *accessv1.RoleKind
	Template    *string
}

// Update changes a user of the caller's practice, if it is still the version
// that the caller read. A new role counts from the next request on. Who has not
// accepted the invitation yet gets a new one when the mail address changes.
func (u *Users) Update(ctx context.Context, c *caller.Caller, id uuid.UUID, change Change) (User, error) {
	before, err := u.read(ctx, c, id)
	switch {
	case err != nil:
		return User{}, err
	case before.Disabled:
		return User{}, errDisabled
	case before.Version != change.Version:
		return User{}, ErrStale
	case change.Username != nil && *change.Username != before.Username:
		return User{}, errRename
	}
	write := store.UserChange{DisplayName: change.DisplayName}
	if write.Role, err = newRole(c, before, change); err != nil {
		return User{}, err
	}
	tx := u.Store.In(c.Practice)
	tx.LockRoles()
	var invitation *invite.Invitation
	var mods []func(*auditv1.Event)
	if change.Email != nil {
		if write.NewMailbox = before.HasPassword; write.NewMailbox {
			if err := u.moveMailbox(ctx, c, tx, before); err != nil {
				return User{}, err
			}
			mods = append(mods, evidence.Reason("EMAIL_CHANGED"), evidence.Risk(auditv1.Risk_RISK_HIGH))
		}
		if write.EmailSealed, invitation, err = u.newEmail(ctx, before, *change.Email); err != nil {
			return User{}, err
		}
	}
	changed := tx.UpdateUser(id, change.Version, write)
	if invitation != nil {
		invitation.Queue(tx)
	}
	if write.Role != nil {
		tx.UnassignAll(id)
		tx.EndGrants(id)
	}
	after, err := u.commit(ctx, c, tx, before, changed, mods...)
	if err == nil && change.Email != nil {
		u.Invites.Queued()
	}
	return after, err
}

// moveMailbox adds what the change of the mail address of somebody who has a password takes, for
// resets and codes go there: the caller proves anew who they are, the old address is told, and
// what was sent to it opens nothing any more.
func (u *Users) moveMailbox(ctx context.Context, c *caller.Caller, tx *store.Tx, before store.User) error {
	if err := session.Fresh(c, u.Now()); err != nil {
		return err
	}
	old, err := u.Sealer.Open(ctx, seal.Email, before.ID, before.EmailSealed)
	if err != nil {
		return err
	}
	told, err := u.Notices.To(ctx, before.ID, string(old), before.Username, notice.EmailChanged, notice.Details{})
	if err != nil {
		return err
	}
	told.Queue(tx)
	tx.EndResets(before.ID)
	tx.EndMailedCodes(before.ID)
	return nil
}

// newRole is the role that results, nil where it stays the same.
func newRole(c *caller.Caller, before store.User, change Change) (*roles.Role, error) {
	role := before.Role()
	if change.Kind != nil {
		role.Kind = *change.Kind
	}
	if change.Template != nil {
		role.Template = *change.Template
	} else if role.Kind != accessv1.RoleKind_ROLE_KIND_STAFF {
		role.Template = ""
	}
	if role == before.Role() {
		return nil, nil
	}
	if before.ID == c.User {
		return nil, ErrSelf // an administrator reads no chart, and could make themself a doctor
	}
	if err := grantable(c.Practice, role); err != nil {
		return nil, err
	}
	return &role, nil
}

func (u *Users) newEmail(ctx context.Context, before store.User, email string) (*string, *invite.Invitation, error) {
	sealed, err := u.Sealer.Seal(ctx, seal.Email, before.ID, []byte(email))
	if err != nil || before.HasPassword {
		return &sealed, nil, err
	}
	invitation, err := u.Invites.Prepare(ctx, before.ID, before.Username, email)
	return &sealed, &invitation, err
}

// commit sends a change of a user, unless it would leave nobody to administer.
func (u *Users) commit(ctx context.Context, c *caller.Caller, tx *store.Tx, before store.User,
	changed *store.Rows[store.User], mods ...func(*auditv1.Event),
) (User, error) {
	administrators := tx.Administrators(accessv1.RoleKind_ROLE_KIND_SUPERADMIN, accessv1.RoleKind_ROLE_KIND_ADMIN)
	wasOne := before.Kind == accessv1.RoleKind_ROLE_KIND_SUPERADMIN || before.Kind == accessv1.RoleKind_ROLE_KIND_ADMIN
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		after, ok := changed.One()
		if !ok {
			return nil, ErrStale
		}
		if left, _ := administrators.One(); wasOne && left == 0 {
			return nil, errLast
		}
		return []*auditv1.Event{evidence.From(ctx).Event(append(mods, evidence.Resource(Name(after.ID), after.Version))...)}, nil
	})
	if err != nil {
		return User{}, err
	}
	after, _ := changed.One()
	return u.open(ctx, c, after)
}
