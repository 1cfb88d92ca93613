package admit

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
)

const (
	// reuse is how long a signed token is handed out again for the same caller. It
	// is short of the token's 60 seconds by enough for any RPC to begin. A caller
	// whose rights changed is another caller here, and Admit itself checks every
	// request, so nothing is allowed for longer. What it saves is a signature here and,
	// because the token is the same, its verification in the services.
	reuse = 20 * time.Second
	// maxTokens bounds the memory for tokens, of 1 kB or so each.
	maxTokens = 50_000
)

// identity is everything that a token says, in a form that can be compared.
type identity struct {
	user, practice              uuid.UUID
	session, device             uuid.UUID
	username, template, address string
	doctors                     string
	role                        accessv1.RoleKind
	assurance                   accessv1.Assurance
	purpose                     accessv1.Purpose
	audience                    accessv1.Service
	permissions, withheld       access.Permissions
	gates                       access.Gates
	authenticated               int64
}

type signed struct {
	token string
	at    time.Time
}

// tokens signs caller tokens, and remembers them for a moment.
type tokens struct {
	signer Signer
	now    func() time.Time
	recent *otter.Cache[identity, signed]
}

func newTokens(signer Signer, now func() time.Time) (*tokens, error) {
	recent, err := otter.New(&otter.Options[identity, signed]{
		MaximumSize: maxTokens, ExpiryCalculator: otter.ExpiryWriting[identity, signed](reuse),
	})
	if err != nil {
		return nil, fmt.Errorf("admit: token cache: %w", err)
	}
	return &tokens{signer: signer, now: now, recent: recent}, nil
}

func (t *tokens) close() { t.recent.StopAllGoroutines() }

func (t *tokens) of(c caller.Caller) (string, error) {
	now := t.now()
	key := identityOf(&c)
	if hit, ok := t.recent.GetIfPresent(key); ok && !now.Before(hit.at) && now.Sub(hit.at) < reuse {
		return hit.token, nil
	}
	token, err := t.signer.Sign(c, now)
	if err != nil {
		return "", err
	}
	t.recent.Set(key, signed{token: token, at: now})
	return token, nil
}

func identityOf(c *caller.Caller) identity {
	var doctors strings.Builder
	for _, id := range c.ActsFor {
		doctors.Write(id[:])
	}
	return identity{
		user: c.User, practice: c.Practice, session: c.Session, device: c.Device, username: c.Username, template: c.Template,
		address: c.Address, doctors: doctors.String(), role: c.Role, assurance: c.Assurance, purpose: c.Purpose,
		audience: c.Audience, permissions: c.Permissions, withheld: c.Withheld, gates: c.Gates,
		authenticated: c.Authenticated.Unix(),
	}
}
