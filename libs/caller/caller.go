// Package caller carries who is calling: the caller token that auth signs and
// every service verifies for itself. It decides nothing; rules live in the proto
// files and libs/server applies them.
package caller

import (
	"context"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
)

// MetadataKey is the gRPC metadata key under which a caller token travels.
const MetadataKey = "carekeep-caller"

// Caller is who a request acts for, as auth admitted it. A Caller from the
// context is shared by everything that serves the request: do not change it.
type Caller struct {
	User     uuid.UUID
	Practice uuid.UUID // uuid.Nil for a superadmin, who belongs to no practice
	Session  uuid.UUID
	Username string
	Role     accessv1.RoleKind
	// Template is the name of the role that the user was given, such as "nurse".
	Template    string
	Assurance   accessv1.Assurance
	Permissions access.Permissions
	// Withheld are permissions that the role would give and that Gates take away
	// until they are mended; Permissions does not hold them.
	Withheld access.Permissions
	Gates    access.Gates
	// Authenticated is when the user last proved who they are with two factors in this
	// session, in whole seconds; zero where never.
	Authenticated time.Time
	// Purpose is what the data is for; unspecified where the request touches no patient data.
	Purpose accessv1.Purpose
	// ActsFor lists the doctors whom a staff member is assigned to.
	ActsFor []uuid.UUID
	// Address is the client's network address as the gateway saw it.
	Address string
	// Device is the one that the client proved with its device token; uuid.Nil where it showed none.
	Device uuid.UUID
	// Audience is the one service that the token is for.
	Audience accessv1.Service
	// Expires is when the token ends; Sign sets it, whatever it was.
	Expires time.Time
}

// Subjects returns the users whose care teams open patients to the caller: a
// doctor's own id, for staff the doctors they act for, nobody for other roles.
func (c *Caller) Subjects() []uuid.UUID {
	switch c.Role {
	case accessv1.RoleKind_ROLE_KIND_DOCTOR:
		return []uuid.UUID{c.User}
	case accessv1.RoleKind_ROLE_KIND_STAFF:
		return c.ActsFor
	default:
		return nil
	}
}

// View is through whose eyes the caller's answers are seen; nobody's where c is nil.
func (c *Caller) View() access.View {
	if c == nil {
		return access.View{}
	}
	return access.View{Held: c.Permissions, Purpose: c.Purpose}
}

type contextKey struct{}

// From returns the verified caller of the request; false in anonymous RPCs and jobs.
func From(ctx context.Context) (*Caller, bool) {
	c, ok := ctx.Value(contextKey{}).(*Caller)
	return c, ok
}

// ViewOf is the View of the request's caller, nobody's where there is none.
func ViewOf(ctx context.Context) access.View {
	c, _ := From(ctx)
	return c.View()
}

// With returns a context that carries a verified caller.
func With(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// Attach returns a context whose outgoing calls carry the token.
func Attach(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, MetadataKey, token)
}
