// Package practice creates, reads and changes practices and their billing
// settings. A superadmin works on all practices and on no billing settings; an
// administrator on the one they belong to.
package practice

import (
	"context"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// Practices works on practices.
type Practices struct {
	Store  *store.Store
	Sealer *seal.Sealer
	Users  *user.Users
}

var (
	errNotFound = errs.New(errs.KindNotFound, "PRACTICE_NOT_FOUND", "there is no such practice")
	errRequest  = errs.New(errs.KindConflict, "REQUEST_ID_USED", "this request id was used at the same moment; try again")
	errDisable  = errs.New(errs.KindDenied, "PERMISSION_MISSING", "only a superadmin disables or enables a practice")
)

// Name is the resource name of a practice.
func Name(id uuid.UUID) string { return "practices/" + id.String() }

// New is what it takes to create a practice and its first administrator.
type New struct {
	DisplayName   string
	AdminUsername string
	AdminEmail    string
	Request       *uuid.UUID
}

// Create makes a practice, its first administrator and the invitation. A request
// id that the caller used before gives the practice of that time.
func (p *Practices) Create(ctx context.Context, c *caller.Caller, n New) (store.Practice, error) {
	if n.Request != nil {
		if found, done, err := p.repeated(ctx, c, n); done || err != nil {
			return found, err
		}
	}
	insert, err := p.Users.First(ctx, c.User, user.New{
		Username: n.AdminUsername, DisplayName: n.AdminUsername, Email: n.AdminEmail,
		Role: roles.Role{Kind: accessv1.RoleKind_ROLE_KIND_ADMIN},
	})
	if err != nil {
		return store.Practice{}, err
	}
	id := uuid.Must(uuid.NewV7())
	tx := p.Store.In(id)
	created := tx.InsertPractice(id, n.DisplayName, c.User, n.Request)
	admin := insert(tx)
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !created.Found() {
			return nil, errRequest
		}
		if !admin.Found() {
			return nil, user.ErrNameTaken("admin_username")
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 1))}, nil
	})
	if err != nil {
		return store.Practice{}, err
	}
	p.Users.Invites.Queued()
	row, _ := created.One()
	return row, nil
}

func (p *Practices) repeated(ctx context.Context, c *caller.Caller, n New) (store.Practice, bool, error) {
	tx := p.Store.In(store.Platform)
	found := tx.PracticeOfRequest(c.User, *n.Request)
	if err := tx.Read(ctx); err != nil {
		return store.Practice{}, false, err
	}
	row, ok := found.One()
	return row, ok, nil
}

// Get reads a practice: a superadmin any, everybody else their own.
func (p *Practices) Get(ctx context.Context, c *caller.Caller, id uuid.UUID) (store.Practice, error) {
	tx := p.Store.In(c.Practice)
	found := tx.Practice(id)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !found.Found() {
			return nil, errNotFound
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 0))}, nil
	})
	if err != nil {
		return store.Practice{}, err
	}
	row, _ := found.One()
	return row, nil
}

// List reads a page of practices, and whether there are more.
func (p *Practices) List(ctx context.Context, c *caller.Caller, after uuid.UUID, size int) ([]store.Practice, bool, error) {
	tx := p.Store.In(c.Practice)
	page := tx.Practices(after, size+1)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(min(size, len(page.All()))))}, nil
	})
	rows := page.All()
	return rows[:min(size, len(rows))], len(rows) > size, err
}

// Change is what Update may change; nil leaves a value alone.
type Change struct {
	Version     int64
	DisplayName *string
	Disabled    *bool
}

// Update changes a practice, if it is still the version that the caller read.
// Disabling one shuts its users out from the next request on.
func (p *Practices) Update(ctx context.Context, c *caller.Caller, id uuid.UUID, change Change) (store.Practice, error) {
	if change.Disabled != nil && c.Role != accessv1.RoleKind_ROLE_KIND_SUPERADMIN {
		return store.Practice{}, errDisable
	}
	tx := p.Store.In(c.Practice)
	found := tx.Practice(id)
	changed := tx.UpdatePractice(id, change.Version, change.DisplayName, change.Disabled)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !found.Found() {
			return nil, errNotFound
		}
		after, ok := changed.One()
		if !ok {
			return nil, user.ErrStale
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), after.Version))}, nil
	})
	if err != nil {
		return store.Practice{}, err
	}
	row, _ := changed.One()
	return row, nil
}
