package admit

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
)

// counting stands for a signature, which must not be the same twice.
type counting struct{ n int }

func (s *counting) Sign(caller.Caller, time.Time) (string, error) {
	s.n++
	return fmt.Sprint(s.n), nil
}

func TestTokensAreHandedOutAgainForTheSameCallerOnly(t *testing.T) {
	t.Parallel()
	now := time.Now()
	signer := &counting{}
	tokens, err := newTokens(signer, func() time.Time { return now })
	require.NoError(t, err)
	defer tokens.close()
	base := caller.Caller{User: uuid.New(), Session: uuid.New(), ActsFor: []uuid.UUID{uuid.New()}, Username: "nancy"}
	of := func(c caller.Caller) string {
		token, err := tokens.of(c)
		require.NoError(t, err)
		return token
	}
	first := of(base)
	require.Equal(t, first, of(base))

	changes := map[string]func(*caller.Caller){
		"User": func(c *caller.Caller) { c.User = uuid.New() }, "Practice": func(c *caller.Caller) { c.Practice = uuid.New() },
		"Session":   func(c *caller.Caller) { c.Session = uuid.New() },
		"Username":  func(c *caller.Caller) { c.Username = "rita" },
		"Role":      func(c *caller.Caller) { c.Role = accessv1.RoleKind_ROLE_KIND_STAFF },
		"Template":  func(c *caller.Caller) { c.Template = "nurse" },
		"Assurance": func(c *caller.Caller) { c.Assurance = accessv1.Assurance_ASSURANCE_AAL2 },
		"Permissions": func(c *caller.Caller) {
			c.Permissions = access.NewPermissions(accessv1.Permission_PERMISSION_NOTES_READ)
		},
		"Purpose": func(c *caller.Caller) { c.Purpose = accessv1.Purpose_PURPOSE_PAYMENT },
		"Withheld": func(c *caller.Caller) {
			c.Withheld = access.NewPermissions(accessv1.Permission_PERMISSION_NOTES_READ)
		},
		"Gates":         func(c *caller.Caller) { c.Gates = 1 },
		"Authenticated": func(c *caller.Caller) { c.Authenticated = now },
		"ActsFor":       func(c *caller.Caller) { c.ActsFor = append(c.ActsFor, uuid.New()) },
		"Address":       func(c *caller.Caller) { c.Address = "192.0.2.1" },
		"Device":        func(c *caller.Caller) { c.Device = uuid.New() },
		"Audience":      func(c *caller.Caller) { c.Audience = accessv1.Service_SERVICE_AUDIT },
	}
	fields := reflect.TypeFor[caller.Caller]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		if name == "Expires" { // set by Sign
			continue
		}
		require.Contains(t, changes, name, "a field of the caller that the cache does not compare")
		other := base
		changes[name](&other)
		require.NotEqual(t, first, of(other), name)
	}

	now = now.Add(reuse - time.Nanosecond)
	require.Equal(t, first, of(base))
	now = now.Add(time.Nanosecond)
	require.NotEqual(t, first, of(base))
}
