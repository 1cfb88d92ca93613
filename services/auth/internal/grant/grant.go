// Package grant gives permissions for some hours: one person asks, another one
// decides, and the database's clock ends it (claims DH-09, DC-05, DC-29, DX-07).
// Nobody is granted what their kind and template can never hold.
package grant

import (
	"context"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Grants works on the grants of the caller's practice.
type Grants struct{ Store *store.Store }

const (
	// lapse is how long a request waits for a decision.
	lapse = 24 * time.Hour
	// waiting is how many requests of one user may wait.
	waiting = 10
	// listed is how many a list shows.
	listed = 500
)

var (
	errCeiling = errs.New(errs.KindDenied, "GRANT_EXCEEDS_CEILING", "the role can never hold this permission").
			WithField("permission", "is out of reach for the role")
	errHeld = errs.New(errs.KindPrecondition, "PERMISSION_HELD", "the role holds this permission already")
	errMany = errs.New(errs.KindPrecondition, "GRANTS_WAITING", "ten requests wait for a decision; have them decided first")
	errNone = errs.New(errs.KindNotFound, "GRANT_NOT_FOUND", "there is no such request or grant")
	errSelf = errs.New(errs.KindDenied, "SELF_APPROVAL", "nobody decides their own request; ask another administrator")
	errOver = errs.New(errs.KindPrecondition, "GRANT_DECIDED", "it was decided, has ended, or waited for more than a day")
)

// Name is the resource name of a grant.
func Name(id uuid.UUID) string { return "grants/" + id.String() }

// Request asks for a permission.
func (g *Grants) Request(ctx context.Context, c *caller.Caller, p accessv1.Permission, reason string, hours int32) (store.Grant, error) {
	switch {
	case !roles.Ceiling(roles.Role{Kind: c.Role, Template: c.Template}).Has(p):
		return store.Grant{}, errCeiling
	case c.Permissions.Has(p), c.Withheld.Has(p):
		return store.Grant{}, errHeld
	}
	id := uuid.Must(uuid.NewV7())
	tx := g.Store.In(c.Practice)
	created := tx.InsertGrant(store.Grant{ID: id, User: c.User, Permission: p, Reason: reason, Hours: hours}, waiting, lapse)
	return finish(ctx, tx, id, created, errMany, "GRANT_REQUESTED")
}

// List reads requests and grants.
func (g *Grants) List(ctx context.Context, c *caller.Caller) ([]store.Grant, error) {
	tx := g.Store.In(c.Practice)
	rows := tx.Grants(listed)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("grants", 0), evidence.Count(len(rows.All())))}, nil
	})
	return rows.All(), err
}

// Decide approves or refuses a request of somebody else.
func (g *Grants) Decide(ctx context.Context, c *caller.Caller, id uuid.UUID, approve bool) (store.Grant, error) {
	read := g.Store.In(c.Practice)
	found := read.Grant(id)
	asker := read.UserOfGrant(id)
	if err := read.Read(ctx); err != nil {
		return store.Grant{}, err
	}
	before, ok := found.One()
	who, known := asker.One()
	switch {
	case !ok || !known:
		return store.Grant{}, errNone
	case before.User == c.User:
		return store.Grant{}, errSelf
	case approve && !roles.Ceiling(who.Role()).Has(before.Permission):
		return store.Grant{}, errCeiling // the role changed since
	}
	tx := g.Store.In(c.Practice)
	decided := tx.DecideGrant(id, c.User, approve, lapse)
	after := tx.Grant(id)
	reason := "GRANT_REFUSED"
	if approve {
		reason = "GRANT_APPROVED"
	}
	return finish(ctx, tx, id, changed(decided, after), errOver, reason)
}

// Revoke ends a request or a grant at once.
func (g *Grants) Revoke(ctx context.Context, c *caller.Caller, id uuid.UUID) (store.Grant, error) {
	read := g.Store.In(c.Practice)
	found := read.Grant(id)
	if err := read.Read(ctx); err != nil {
		return store.Grant{}, err
	}
	if !found.Found() {
		return store.Grant{}, errNone
	}
	tx := g.Store.In(c.Practice)
	ended := tx.EndGrant(id)
	after := tx.Grant(id)
	return finish(ctx, tx, id, changed(ended, after), errOver, "GRANT_REVOKED")
}

// result is a row that is there only where the change was made.
type result interface{ One() (store.Grant, bool) }

type change struct {
	made  *store.Rows[uuid.UUID]
	after *store.Rows[store.Grant]
}

func changed(made *store.Rows[uuid.UUID], after *store.Rows[store.Grant]) result {
	return change{made, after}
}

func (c change) One() (store.Grant, bool) {
	row, ok := c.after.One()
	return row, ok && c.made.Found()
}

func finish(ctx context.Context, tx *store.Tx, id uuid.UUID, r result, missing error, reason string) (store.Grant, error) {
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if _, ok := r.One(); !ok {
			return nil, missing
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 0), evidence.Reason(reason))}, nil
	})
	row, _ := r.One()
	return row, err
}

// State is where a request or grant stands, by the database's clock.
func State(g store.Grant) authv1.GrantState {
	switch {
	case g.Ended != nil:
		return authv1.GrantState_GRANT_STATE_REVOKED
	case g.Approved && g.Now.Before(*g.Expires):
		return authv1.GrantState_GRANT_STATE_ACTIVE
	case g.Approved:
		return authv1.GrantState_GRANT_STATE_EXPIRED
	case g.DecidedBy != nil:
		return authv1.GrantState_GRANT_STATE_REFUSED
	case g.Now.Sub(g.Requested) < lapse:
		return authv1.GrantState_GRANT_STATE_REQUESTED
	default:
		return authv1.GrantState_GRANT_STATE_EXPIRED
	}
}
