// Package mesh speaks gRPC to the services of a local stack as any identity and
// for any caller, for tests and benchmarks that go past the gateway.
package mesh

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/carekeep/carekeep/deploy/local/stack"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
)

// Dial connects to a service with the certificate of an identity.
func Dial(place *stack.Place, identity string, service accessv1.Service) (*grpc.ClientConn, error) {
	source, err := place.Source(identity)
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	return source.Dial(place.Address(access.ServiceName(service)), service)
}

// Signer makes caller tokens as the stack's auth service does.
func Signer(place *stack.Place) (*caller.Signer, error) {
	return caller.NewSigner(filepath.Join(place.Dir, "keys", "caller.pem"))
}

// Doctor is a doctor of a practice with every permission there is, at AAL2:
// rules are tested by taking something away.
func Doctor(practice uuid.UUID, audience accessv1.Service) caller.Caller {
	return caller.Caller{
		User: uuid.Must(uuid.NewV7()), Practice: practice, Session: uuid.Must(uuid.NewV7()), Username: "dr.test",
		Role: accessv1.RoleKind_ROLE_KIND_DOCTOR, Assurance: accessv1.Assurance_ASSURANCE_AAL2,
		Permissions: access.NewPermissions(AllPermissions()...), Purpose: accessv1.Purpose_PURPOSE_TREATMENT,
		Address: "127.0.0.1", Audience: audience,
	}
}

// AllPermissions lists the whole enum, apart from UNSPECIFIED.
func AllPermissions() []accessv1.Permission {
	values := accessv1.Permission(0).Descriptor().Values()
	all := make([]accessv1.Permission, 0, values.Len())
	for i := range values.Len() {
		if number := values.Get(i).Number(); number != protoreflect.EnumNumber(0) {
			all = append(all, accessv1.Permission(number))
		}
	}
	return all
}

// With returns a context whose calls carry a fresh token for the caller.
func With(ctx context.Context, signer *caller.Signer, c caller.Caller) (context.Context, error) {
	token, err := signer.Sign(c, time.Now())
	if err != nil {
		return nil, err
	}
	return caller.Attach(ctx, token), nil
}
