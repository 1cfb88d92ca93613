// Package user creates, reads, changes and disables users inside one practice.
// An id or a sign-in name is never given twice, users are never deleted, and
// nobody here chooses anybody's password.
package user

import (
	"context"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/invite"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Users works on the users of a practice, or of the platform.
type Users struct {
	Store   *store.Store
	Sealer  *seal.Sealer
	Invites *invite.Invites
	Notices *notice.Notices
	Now     func() time.Time
}

// User is a user with the mail address opened, where the caller may see it.
type User struct {
	store.User
	Email string
}

// Errors that other packages give for the same reasons.
var (
	ErrNotFound = errs.New(errs.KindNotFound, "USER_NOT_FOUND", "there is no such user")
	ErrStale    = errs.New(errs.KindConflict, "ETAG_STALE", "it was changed since it was read; read it again and repeat the change")
	ErrSelf     = errs.New(errs.KindDenied, "SELF_ASSIGNMENT", "nobody changes their own role; ask another administrator")
)

var (
	errName = errs.New(errs.KindExists, "USERNAME_TAKEN", "the sign-in name is or was in use; choose another").
		WithField("username", "is taken")
	errRole = errs.New(errs.KindInvalid, "ROLE_INVALID", "choose one of the roles that ListRoles shows").
		WithField("role", "STAFF needs the template nurse or receptionist; other roles have none")
	errRoleHere = errs.New(errs.KindDenied, "ROLE_NOT_GRANTABLE",
		"superadmins exist on the platform only, all other roles in a practice only")
	errRename = errs.New(errs.KindInvalid, "USERNAME_FIXED", "a sign-in name never changes; create another user").
			WithField("user.username", "cannot be changed")
	errLast = errs.New(errs.KindPrecondition, "LAST_ADMINISTRATOR",
		"this is the last enabled administrator; make another one first")
	errDisabled = errs.New(errs.KindPrecondition, "USER_DISABLED", "the user is disabled for good; create a new one")
)

// Name is the resource name of a user.
func Name(id uuid.UUID) string { return "users/" + id.String() }

// New is what it takes to create a user.
type New struct {
	Username    string
	DisplayName string
	Email       string
	Role        roles.Role
	Request     *uuid.UUID
}

// Create makes a user in the caller's practice and queues the invitation. A
// request id that the caller used before gives the user of that time.
func (u *Users) Create(ctx context.Context, c *caller.Caller, n New) (User, error) {
	if err := grantable(c.Practice, n.Role); err != nil {
		return User{}, err
	}
	if n.Request != nil {
		if found, done, err := u.repeated(ctx, c, n); done || err != nil {
			return found, err
		}
	}
	id := uuid.Must(uuid.NewV7())
	insert, err := u.prepare(ctx, c.User, id, n)
	if err != nil {
		return User{}, err
	}
	tx := u.Store.In(c.Practice)
	created := insert(tx)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !created.Found() {
			return nil, errName
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 1))}, nil
	})
	if errs.ReasonOf(err) == errName.Reason() && n.Request != nil {
		// The same call may have come in twice at the same moment.
		if found, done, again := u.repeated(ctx, c, n); done || again != nil {
			return found, again
		}
	}
	if err != nil {
		return User{}, err
	}
	u.Invites.Queued()
	row, _ := created.One()
	return User{User: row, Email: n.Email}, nil
}

// prepare seals what the user needs; the returned function adds user,
// invitation and mail to a transaction.
func (u *Users) prepare(ctx context.Context, creator, id uuid.UUID, n New) (func(*store.Tx) *store.Rows[store.User], error) {
	sealed, err := u.Sealer.Seal(ctx, seal.Email, id, []byte(n.Email))
	if err != nil {
		return nil, err
	}
	invitation, err := u.Invites.Prepare(ctx, id, n.Username, n.Email)
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) *store.Rows[store.User] {
		created := tx.InsertUser(store.NewUser{
			ID: id, Username: n.Username, DisplayName: n.DisplayName, EmailSealed: sealed, Role: n.Role,
			Creator: creator, Request: n.Request,
		})
		invitation.Queue(tx)
		return created
	}, nil
}

// First adds the first administrator of a new practice to the transaction that creates it.
func (u *Users) First(ctx context.Context, creator uuid.UUID, n New) (func(*store.Tx) *store.Rows[store.User], error) {
	return u.prepare(ctx, creator, uuid.Must(uuid.NewV7()), n)
}

// ErrNameTaken is what a taken sign-in name answers.
func ErrNameTaken(field string) error {
	return errs.New(errs.KindExists, errName.Reason(), errName.Public()).WithField(field, "is taken")
}

func (u *Users) repeated(ctx context.Context, c *caller.Caller, n New) (User, bool, error) {
	tx := u.Store.In(c.Practice)
	found := tx.UserOfRequest(c.User, *n.Request)
	if err := tx.Read(ctx); err != nil {
		return User{}, false, err
	}
	row, ok := found.One()
	if !ok {
		return User{}, false, nil
	}
	if row.Username != n.Username {
		return User{}, false, errs.New(errs.KindInvalid, "REQUEST_ID_USED", "this request id belongs to another call; make a new one").
			WithField("request_id", "was used to create another user")
	}
	user, err := u.open(ctx, c, row)
	return user, true, err
}

// grantable: superadmins live on the platform, everybody else in a practice.
func grantable(practice uuid.UUID, role roles.Role) error {
	if !roles.Known(role) {
		return errRole
	}
	if (role.Kind == accessv1.RoleKind_ROLE_KIND_SUPERADMIN) != (practice == store.Platform) {
		return errRoleHere
	}
	return nil
}

// Get reads a user of the caller's practice.
func (u *Users) Get(ctx context.Context, c *caller.Caller, id uuid.UUID) (User, error) {
	tx := u.Store.In(c.Practice)
	found := tx.User(id)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !found.Found() {
			return nil, ErrNotFound
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 0))}, nil
	})
	if err != nil {
		return User{}, err
	}
	row, _ := found.One()
	return u.open(ctx, c, row)
}

// List reads a page of the practice's users, and whether there are more.
func (u *Users) List(ctx context.Context, c *caller.Caller, after uuid.UUID, size int) ([]User, bool, error) {
	tx := u.Store.In(c.Practice)
	page := tx.Users(after, size+1)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(min(size, len(page.All()))))}, nil
	})
	if err != nil {
		return nil, false, err
	}
	rows := page.All()
	more := len(rows) > size
	users, err := u.OpenAll(ctx, c, rows[:min(size, len(rows))])
	return users, more, err
}

// Disable disables a user for good and ends all of the user's sessions in the same transaction.
func (u *Users) Disable(ctx context.Context, c *caller.Caller, id uuid.UUID) (User, error) {
	before, err := u.read(ctx, c, id)
	if err != nil || before.Disabled {
		if err != nil {
			return User{}, err
		}
		return u.open(ctx, c, before)
	}
	yes := true
	tx := u.Store.In(c.Practice)
	tx.LockRoles()
	tx.LockUser(id)
	changed := tx.UpdateUser(id, before.Version, store.UserChange{Disabled: &yes})
	ended := tx.EndSessions(id, uuid.Nil, session.ReasonDisabled)
	tx.UnassignAll(id)
	return u.commit(ctx, c, tx, before, changed, func(e *auditv1.Event) { evidence.Count(len(ended.All()))(e) })
}

func (u *Users) read(ctx context.Context, c *caller.Caller, id uuid.UUID) (store.User, error) {
	tx := u.Store.In(c.Practice)
	found := tx.User(id)
	if err := tx.Read(ctx); err != nil {
		return store.User{}, err
	}
	row, ok := found.One()
	if !ok {
		return store.User{}, ErrNotFound
	}
	return row, nil
}

func (u *Users) open(ctx context.Context, c *caller.Caller, row store.User) (User, error) {
	all, err := u.OpenAll(ctx, c, []store.User{row})
	if err != nil {
		return User{}, err
	}
	return all[0], nil
}

// OpenAll opens mail addresses in one call, where the caller may see them at all.
func (u *Users) OpenAll(ctx context.Context, c *caller.Caller, rows []store.User) ([]User, error) {
	users := make([]User, len(rows))
	items := make([]seal.Item, len(rows))
	for i, row := range rows {
		users[i].User = row
		items[i] = seal.Item{Kind: seal.Email, Owner: row.ID, Sealed: row.EmailSealed}
	}
	if !c.Permissions.Has(accessv1.Permission_PERMISSION_USERS_CONTACT_READ) {
		return users, nil
	}
	opened, err := u.Sealer.OpenAll(ctx, items)
	if err != nil {
		return nil, err
	}
	for i := range users {
		users[i].Email = string(opened[i])
	}
	return users, nil
}
