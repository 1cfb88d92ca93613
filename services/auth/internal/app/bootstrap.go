package app

import (
	"context"
	"regexp"
	"strings"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/invite"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

var usernameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,62}[a-z0-9]$`) // as in CreateUserRequest

var (
	errBootstrapped = errs.New(errs.KindPrecondition, "SUPERADMIN_EXISTS",
		"there is a superadmin already; superadmins invite further ones with CreateUser")
	errUsername = errs.New(errs.KindInvalid, "USERNAME_INVALID",
		"the sign-in name must be 3 to 64 of a-z, 0-9, dot, dash and underscore, with a letter or digit at both ends")
)

// Bootstrap creates the first superadmin and returns the invitation token. It is
// refused once a superadmin exists, with one exception: the same sign-in name
// gets a new token while its invitation was never accepted, for a token that
// was lost would otherwise lock the installation for good.
func Bootstrap(ctx context.Context, s Settings, o Options, username, email string) (string, error) {
	username = strings.ToLower(username)
	if !usernameForm.MatchString(username) {
		return "", errUsername
	}
	l, err := connect(ctx, s, o, func() {})
	if err != nil {
		return "", err
	}
	defer l.close()
	ctx = evidence.With(ctx, evidence.NewJob(accessv1.Service_SERVICE_AUTH, "jobs/Bootstrap", accessv1.Action_ACTION_CREATE))
	invites := &invite.Invites{Store: l.store, Sealer: l.sealer, PublicURL: s.PublicURL}

	read := l.store.In(store.Platform)
	existing := read.Superadmins()
	if err := read.Read(ctx); err != nil {
		return "", err
	}
	id := uuid.Must(uuid.NewV7())
	for _, admin := range existing.All() {
		if len(existing.All()) > 1 || admin.HasPassword || admin.Username != username {
			return "", errBootstrapped
		}
		id = admin.ID
	}
	sealed, err := l.sealer.Seal(ctx, seal.Email, id, []byte(email))
	if err != nil {
		return "", err
	}
	invitation, err := invites.Prepare(ctx, id, username, email)
	if err != nil {
		return "", err
	}
	return invitation.Token, bootstrap(ctx, l.store, invitation, len(existing.All()) == 0, store.NewUser{
		ID: id, Username: username, DisplayName: username, EmailSealed: sealed,
		Role: roles.Role{Kind: accessv1.RoleKind_ROLE_KIND_SUPERADMIN},
	})
}

// bootstrap looks again under a lock: two commands at the same time make one superadmin.
func bootstrap(ctx context.Context, s *store.Store, invitation invite.Invitation, create bool, n store.NewUser) error {
	tx := s.In(store.Platform)
	tx.LockRoles()
	before := tx.Superadmins()
	created := tx.User(n.ID)
	if create {
		created = tx.InsertUser(n)
	}
	invitation.QueueToken(tx)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		for _, admin := range before.All() {
			if admin.ID != n.ID || admin.HasPassword {
				return nil, errBootstrapped
			}
		}
		if !created.Found() {
			return nil, user.ErrNameTaken("username")
		}
		return []*auditv1.Event{evidence.From(ctx).Event(
			evidence.User(uuid.Nil, n.Username), evidence.Resource(user.Name(n.ID), 1),
			func(e *auditv1.Event) { e.Risk = auditv1.Risk_RISK_HIGH })}, nil
	})
}
